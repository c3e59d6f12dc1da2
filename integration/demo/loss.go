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
	lastWords     = 120 << 20 // a file whose way takes longer than killing a daemon
	killAfter     = 8 << 20   // of its increment have arrived
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
	if err := d.disk.unmount(ctx); err != nil {
		return err
	}
	d.say("Before it, fra1 wrote down all that is in its newest snapshot on sin1: the manifest.")
	d.say("kill -9 %d: the daemon of fra1, with %s of an increment on the way.", d.fra1.pid(), status.Bytes(inFlight))
	d.say("Its file system is unmounted.")
	d.say("antipode promote %s --yes", d.short(d.source()))
	d.progress("promoting ...")
	began := time.Now()
	if err := d.sin1.ask(ctx, &d.promoted, "promote", d.source(), "--yes", "--reason", "the demo lost fra1"); err != nil {
		return err
	}
	d.took = time.Since(began)
	device := "the loop device of fra1 is detached"
	if !d.detached(ctx) {
		device = "other programs' mount namespaces still hold the loop device of fra1"
	}
	p := d.promoted
	d.good("sin1 is the primary after %.2f s, generation %d; the data are live below %s.", d.took.Seconds(), p.Generation, d.short(filepath.Join(d.far.dir, "live")))
	d.say("Recovery point: %s, %s old. Only what was written later is lost.", p.Point, seconds(p.Age))
	d.say("The increment was given up, and %s.", device)
	return nil
}

// detached waits a little for the kernel to let go of the lost file system. A
// receive of sin1 has a mount namespace of its own, which names it too, and so may
// any service of this machine that was started in the meantime.
func (d *demo) detached(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, detachTimeout)
	defer cancel()
	return until(ctx, func() (bool, error) { return !d.disk.isAttached(ctx), nil }) == nil
}

// dieSending kills fra1 while it sends, once the newest point that sin1 has is
// written down in a manifest. It returns what had arrived of the increment.
func (d *demo) dieSending(ctx context.Context) (int64, error) {
	var killed bool
	var inFlight int64
	for range maxLastWords {
		d.data.file("media/never arrives.mkv", lastWords)
		if d.data.err != nil {
			return 0, d.data.err
		}
		written := time.Now()
		err := until(ctx, func() (bool, error) {
			p, err := d.line(ctx)
			if err != nil {
				return false, err
			}
			if err := d.describe(p.LastPoint.Name); err != nil {
				return false, err
			}
			if m := p.Moving; m != nil {
				d.progress("sending %s: %s  %s/s", m.Snapshot, status.Bytes(m.Bytes), status.Bytes(m.Rate))
				if inFlight = m.Bytes; inFlight >= killAfter && d.isDescribed(p.LastPoint.Name) {
					killed = true
					return true, d.fra1.kill()
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
func (d *demo) describe(name string) error {
	if d.isDescribed(name) {
		return nil
	}
	d.progress("making the manifest of %s ...", name)
	entries, err := manifest.Of(d.point(name), ours)
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
	got, err := manifest.Of(d.promoted.Live, ours)
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
	if err := os.WriteFile(filepath.Join(d.promoted.Live, "written-on-sin1"), []byte("life goes on\n"), 0o600); err != nil {
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
