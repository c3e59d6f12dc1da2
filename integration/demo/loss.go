package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"antipode/daemon/status"
	"antipode/fsdrivers/dataset"
	"antipode/integration/manifest"
	"antipode/integration/stage"
)

const (
	maxLastWords  = 4
	shownMismatch = 10
	detachTimeout = 2 * time.Second
)

// ours says what Antipode itself keeps in a dataset, which is never replicated.
func ours(path string) bool { return path == dataset.Dir }

// loseThePrimary kills fra1 in the middle of an increment and makes sin1 primary.
func (d *demo) loseThePrimary(ctx context.Context) error {
	d.chapter("The primary is lost")
	inFlight, err := d.dieSending(ctx)
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
	d.say("The increment was given up.")
	return nil
}

// dieSending kills fra1 while it sends, once the newest point that sin1 has is
// written down in a manifest. It returns what had arrived of the increment.
func (d *demo) dieSending(ctx context.Context) (int64, error) {
	var killed bool
	var inFlight int64
	for range maxLastWords {
		d.data.file("media/never arrives.mkv", d.ground.sizes().lastWords)
		if d.data.err != nil {
			return 0, d.data.err
		}
		written := time.Now()
		err := stage.Until(ctx, func() (bool, error) {
			p, err := d.line(ctx)
			if err != nil {
				return false, err
			}
			// On a slow machine it may have been pruned by now; then the next one.
			if err := d.describe(ctx, p.LastPoint.Name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return false, err
			}
			if m := p.Moving; m != nil {
				d.progress("sending %s: %s  %s/s", m.Snapshot, status.Bytes(m.Bytes), status.Bytes(m.Rate))
				if inFlight = m.Bytes; inFlight >= d.ground.sizes().killAfter && d.isDescribed(p.LastPoint.Name) {
					killed = true
					return true, d.fra1.Kill()
				}
			}
			return p.LastPoint.Time.After(written), nil // it slipped through
		})
		if killed || err != nil {
			return inFlight, err
		}
	}
	return 0, errors.New("every increment arrived before its daemon could be killed; the last file is too small for this machine")
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
