package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"antipode/daemon/status"
	"antipode/fsdrivers/dataset"
	"antipode/integration/manifest"
)

const (
	shownMismatch = 10
	detachTimeout = 2 * time.Second
)

// ours says what Antipode itself keeps in a dataset, which is never replicated.
func ours(path string) bool { return path == dataset.Dir }

// loseThePrimary kills fra1 in the middle of an increment and makes sin1 primary.
func (d *demo) loseThePrimary(ctx context.Context) error {
	d.chapter("The primary is lost")
	last, inFlight, err := d.dieSending(ctx)
	if err != nil {
		return err
	}
	how, err := d.ground.lose(ctx)
	if err != nil {
		return err
	}
	d.say("Before it, fra1 wrote down all that is in its newest snapshot on sin1: the manifest.")
	d.say("kill -9 %d: the daemon of fra1, with %s of an increment on the way.", d.fra1.PID(), status.Bytes(inFlight))
	d.say("%s", how)
	d.say("antipode promote %s --yes", d.Short(d.ground.dataset()))
	d.progress("promoting ...")
	began := time.Now()
	if err := d.sin1.Ask(ctx, &d.promoted, "promote", d.ground.dataset(), "--yes", "--reason", "the demo lost fra1"); err != nil {
		return err
	}
	d.took = time.Since(began)
	p := d.promoted
	d.good("sin1 is the primary after %.2f s, generation %d; the data are live below %s.", d.took.Seconds(), p.Generation, d.Short(d.ground.live()))
	d.say("Recovery point: %s, %s old. Only what was written later is lost.", p.Point, seconds(p.Age))
	if p.Point == last {
		d.say("All of the increment was there by then.")
	} else {
		d.say("The increment was given up.")
	}
	return nil
}

// dieSending kills fra1 while it sends, once what sin1 has, and could still complete, is
// written down in manifests. The link holds the increment meanwhile: however slow the
// machine is, it does not arrive whole. It returns the snapshot, and what sin1 had acknowledged of it.
func (d *demo) dieSending(ctx context.Context) (string, int64, error) {
	d.link.HoldAt(d.link.There() + d.ground.sizes().killAfter)
	if d.data.file("media/never arrives.mkv", d.ground.sizes().lastWords); d.data.err != nil {
		return "", 0, d.data.err
	}
	moving, err := d.stall(ctx, time.Now())
	if err != nil {
		return "", 0, err
	}
	there, err := d.ground.received(ctx)
	if err != nil {
		return "", 0, err
	}
	for _, name := range append(there[max(0, len(there)-1):], moving.Snapshot) {
		if err := d.describe(ctx, name); err != nil {
			return "", 0, err
		}
	}
	if err := d.fra1.Kill(); err != nil {
		return "", 0, err
	}
	d.link.Cut()
	return moving.Snapshot, moving.Bytes, nil
}

// stall lets the increment move, a little more at each look, until enough of it has
// been acknowledged. All that users wrote was written at a moment.
func (d *demo) stall(ctx context.Context, written time.Time) (moving status.Moving, err error) {
	enough := d.ground.sizes().killAfter
	slipped := false
	err = d.watch(ctx, func(p status.Pair) bool {
		if m := p.Moving; m != nil {
			d.progress("sending %s: %s  %s/s", m.Snapshot, status.Bytes(m.Bytes), status.Bytes(m.Rate))
			moving = *m
		}
		d.link.HoldAt(d.link.There() + enough/8)
		slipped = p.LastPoint.Time.After(written)
		return slipped || moving.Bytes >= enough
	})
	if err == nil && slipped {
		return moving, errors.New("the increment arrived before its daemon could be killed; its file is too small for this machine")
	}
	return moving, err
}

func (d *demo) isDescribed(name string) bool { return d.manifests[name] != nil }

// describe makes the manifest of a snapshot on the primary, unless there is one.
func (d *demo) describe(ctx context.Context, name string) (err error) {
	if d.isDescribed(name) {
		return nil
	}
	d.progress("making the manifest of %s ...", name)
	dir, done, err := d.ground.look(ctx, name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	entries, err := manifest.Of(dir, ours)
	if err != nil {
		return fmt.Errorf("manifest of %s on fra1: %w", name, err)
	}
	d.manifests[name] = entries
	return nil
}

// compare holds the live standby against the manifest that the primary left.
func (d *demo) compare(context.Context) error {
	d.chapter("Is it the same?")
	d.progress("reading every file on sin1 ...")
	want := d.manifests[d.promoted.Point]
	if len(want) == 0 {
		return fmt.Errorf("no manifest was made of %s", d.promoted.Point)
	}
	began := time.Now()
	got, err := manifest.Of(d.ground.liveDir(d.promoted.Live), ours)
	if err != nil {
		return err
	}
	var content int64
	for _, e := range got {
		for _, r := range e.Data {
			content += r.To - r.From
		}
	}
	if differences := manifest.Diff(want, got); len(differences) > 0 {
		for _, line := range differences[:min(len(differences), shownMismatch)] {
			d.bad("%s", line)
		}
		return fmt.Errorf("the standby differs from the manifest in %d places", len(differences))
	}
	d.entries = len(got)
	d.good("%d entries, %s of content read in %s: content, holes, owners, modes, times, links,", len(got), status.Bytes(content), seconds(time.Since(began)))
	d.say("  xattrs are those of the manifest that fra1 made of this snapshot, the root directory's too.")
	if err := os.WriteFile(filepath.Join(d.ground.liveDir(d.promoted.Live), "written-on-sin1"), []byte("life goes on\n"), 0o600); err != nil {
		return fmt.Errorf("the standby is not writable: %w", err)
	}
	d.good("It is writable: a file was written on sin1.")
	return nil
}

// sumUp is the table of figures.
func (d *demo) sumUp(context.Context) error {
	d.chapter("In figures")
	var sent int64
	for _, n := range d.increments {
		sent += n
	}
	runs := int64(len(d.increments))
	d.columns(
		[]string{"first copy", fmt.Sprintf("%s in %s at %s, with the link down for %s", status.Bytes(d.full), seconds(d.copied), d.rate(), seconds(outage))},
		[]string{"sent twice, TLS, framing", status.Bytes(d.extra)},
		[]string{fmt.Sprintf("%d increments", runs), fmt.Sprintf("%s, where full copies are %s: %d× less", status.Bytes(sent), status.Bytes(runs*d.full), runs*d.full/max(sent, 1))},
		[]string{"promotion", fmt.Sprintf("%.2f s, to a point %s old", d.took.Seconds(), seconds(d.promoted.Age))},
		[]string{"differences", fmt.Sprintf("none in %d entries", d.entries)},
	)
	d.write("\n")
	return nil
}
