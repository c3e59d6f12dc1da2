package main

import (
	"context"
	"fmt"
	"time"

	"antipode/daemon/status"
)

// firstCopy makes the data, lets the first copy begin, and cuts the link in the
// middle of it.
func (d *demo) firstCopy(ctx context.Context) error {
	d.chapter("The first copy")
	d.progress("making files ...")
	if err := d.ground.makeDataset(ctx); err != nil {
		return err
	}
	d.data = newMaker(d.ground.root(), d.ground.sizes())
	if err := d.data.fill(); err != nil {
		return err
	}
	d.say("%s: %d files, %s. Big and small, sparse, cloned, hard links, fifos, symlinks,",
		d.Short(d.ground.dataset()), d.data.files, status.Bytes(d.data.bytes))
	d.say("extended attributes, odd names, owners, modes and times. The rate limit is %s.", d.rate())
	if err := d.configureBoth(ctx); err != nil {
		return err
	}
	began := time.Now()
	var acked int64
	if err := d.watch(ctx, func(p status.Pair) bool {
		acked = d.showCopy(p)
		return acked*100 >= cutAt*d.data.bytes || !p.LastPoint.IsZero()
	}); err != nil {
		return err
	}
	if err := d.cutTheLink(ctx, acked); err != nil {
		return err
	}
	if err := d.watch(ctx, func(p status.Pair) bool {
		d.showCopy(p)
		return !p.LastPoint.IsZero()
	}); err != nil {
		return err
	}
	return d.countCopy(time.Since(began))
}

// showCopy draws the live line and returns the bytes that sin1 has acknowledged.
func (d *demo) showCopy(p status.Pair) int64 {
	m := p.Moving
	if m == nil {
		d.progress("waiting for the first snapshot ...")
		return 0
	}
	all := m.Estimate
	if all == 0 {
		all = d.data.bytes
	}
	pace := status.Bytes(m.Rate) + "/s"
	if m.ETA > 0 {
		pace += "  " + status.Duration(m.ETA.Round(time.Second)) + " to go"
	}
	if m.Waiting != "" {
		pace = "waits for the " + string(m.Waiting)
	}
	d.progress("%s  %s of %s  %s", bar(m.Bytes, all), status.Bytes(m.Bytes), status.Bytes(all), pace)
	return m.Bytes
}

// cutTheLink cuts it for a while, and shows that nothing that had arrived is lost.
func (d *demo) cutTheLink(ctx context.Context, acked int64) error {
	d.chapter("The link is cut")
	d.link.Cut()
	sent := d.link.There()
	d.atCut = sent
	d.say("Cut after %s, with %s acknowledged. Every connection is reset, new ones are refused.",
		status.Bytes(sent), status.Bytes(acked))
	down, cancel := context.WithTimeout(ctx, outage)
	defer cancel()
	var state status.Waiting
	_ = d.watch(down, func(p status.Pair) bool { // it ends by its time
		if d.showCopy(p); p.Moving != nil {
			state = p.Moving.Waiting
		}
		return false
	})
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	during := d.link.There() - sent
	d.link.Restore()
	restored := time.Now()
	if state != status.WaitingLink {
		return fmt.Errorf("after %s without a link, status says %q and not that the copy waits for the link", outage, state)
	}
	var resumed int64
	if err := d.watch(ctx, func(p status.Pair) bool {
		resumed = d.showCopy(p)
		return d.link.There()-sent-during > 1<<20 && resumed > 0 || !p.LastPoint.IsZero()
	}); err != nil {
		return err
	}
	if resumed > 0 && resumed < acked {
		return fmt.Errorf("the copy fell back from %s to %s when the link came back", status.Bytes(acked), status.Bytes(resumed))
	}
	d.good("Down for %s, then restored; %s later it moves again, on from %s.", seconds(outage), seconds(time.Since(restored)), status.Bytes(resumed))
	return nil
}

// countCopy compares what passed the link with the stream.
func (d *demo) countCopy(took time.Duration) error {
	done, err := d.fra1.Events("step is durable on the target")
	if err != nil {
		return err
	}
	if len(done) == 0 || done[0].Bytes == 0 {
		return fmt.Errorf("the log of %s has no first copy", d.fra1.Name)
	}
	d.full = done[0].Bytes
	passed := d.link.There()
	d.extra = passed - d.full
	d.copied = took
	d.good("Complete and durable on sin1 in %s: %s through the link for a stream of %s.",
		seconds(took), status.Bytes(passed), status.Bytes(d.full))
	d.say("So %s (%.1f %%) were sent again, or were TLS and framing; begun anew, %s would have been.",
		status.Bytes(d.extra), 100*float64(d.extra)/float64(d.full), status.Bytes(d.atCut))
	return nil
}
