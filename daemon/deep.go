package daemon

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"antipode/daemon/control"
	"antipode/daemon/forecast"
	"antipode/daemon/policy"
	"antipode/daemon/status"
	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
)

// deep tells what the policies lead to.
func (c *checker) deep(ctx context.Context) {
	ids := make([]string, 0, len(c.site.jobs))
	for id := range c.site.jobs {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		w := c.site.jobs[id]
		paths := c.d.Board.Datasets(id)
		if w.job.Forward == "" {
			c.settles(w, len(paths))
		}
		for _, name := range w.job.ReplicateTo {
			c.firstCopies(ctx, w, name, paths)
		}
	}
	for _, room := range c.site.rooms {
		c.fills(ctx, room)
	}
}

// settles tells how many snapshots each dataset of a job comes to, and what a week
// without a target does.
func (c *checker) settles(w *work, datasets int) {
	j, object := w.job, "job "+w.job.ID
	switch {
	case j.Keep.IsZero():
		c.add(control.Warning, object, "keeps every snapshot: their number grows for ever", "set keep")
		return
	case j.Schedule.IsZero():
		c.add(control.Good, object, "runs only when triggered, so that nothing can be foretold of its snapshots", "")
		return
	}
	ticks := c.d.ticksOf(j)
	s := forecast.Settle(j.Keep, j.Location, c.d.Now(), ticks)
	c.add(control.Good, object, fmt.Sprintf("each of its %d datasets settles at %s", datasets, c.settled(s, "snapshots")), "")
	if len(j.ReplicateTo) == 0 {
		return
	}
	n, unsent := s.Away(j.Keep, j.Backlog, j.Location, policy.Week, ticks)
	pins := "on Btrfs the base keeps what was overwritten since, which status and min_free watch"
	if _, can := w.source.(fsdrivers.Bookmarker); can {
		pins = "once no rule keeps it, as a bookmark, which keeps no data"
	}
	c.add(control.Good, object, fmt.Sprintf("if a target is away for a week, each dataset has %d snapshots then, %d of them not there yet (backlog %d); the base stays, and %s",
		n, unsent, j.Backlog, pins), "")
}

func (c *checker) settled(s forecast.Settled, what string) string {
	bound := ""
	if s.Bounded {
		bound = "more than "
	}
	return fmt.Sprintf("%s%d %s, the oldest %s old, within %s", bound, s.Snapshots, what, days(s.Oldest), days(s.Newest.Sub(c.d.Now())))
}

// fills tells how many points the replicas of a peer come to. Its schedule is not
// known here: the replica that gets points most often tells.
func (c *checker) fills(ctx context.Context, r *room) {
	a := r.Accept()
	object := "accept from " + a.From
	if a.Keep.IsZero() {
		c.add(control.Warning, object, "keeps every point: their number grows for ever", "set keep")
		return
	}
	replicas, err := r.driver.Find(ctx, "/", true)
	if err != nil {
		c.add(control.Warning, object, "cannot list its replicas: "+err.Error(), "")
		return
	}
	var often time.Duration
	for _, held := range replicas {
		points, err := r.driver.Snapshots(ctx, held.Path)
		if step := pace(points); err == nil && step > 0 && (often == 0 || step < often) {
			often = step
		}
	}
	if often == 0 {
		c.add(control.Good, object, "has no replica with two points yet, so that nothing can be foretold of their number", "")
		return
	}
	keep := a.Keep
	keep.Within = max(keep.Within, a.Protect)
	s := forecast.Settle(keep, a.Location, c.d.Now(), ticksEvery(often, a.Location))
	c.add(control.Good, object, fmt.Sprintf("points came every %s lately, where most often: with that a replica settles at %s",
		policy.FormatDuration(often), c.settled(s, "points")), "")
}

func days(d time.Duration) string {
	if d < 2*policy.Day {
		return policy.FormatDuration(d.Round(time.Hour))
	}
	return fmt.Sprintf("%d days", d/policy.Day)
}

// firstCopies tells what is still to be sent in whole to a target.
func (c *checker) firstCopies(ctx context.Context, w *work, name string, paths []dataset.Path) {
	var known, shared int64
	var unknown []string
	count, inUse := 0, map[int64]int{} // datasets by what their file system holds: equal is the same one
	for _, path := range paths {
		list, err := w.source.Snapshots(ctx, path)
		if err != nil || mayHaveBase(list, w.job.ID, name) {
			continue
		}
		count++
		switch size := c.d.sizeOf(ctx, w, path, list); size.Kind {
		case control.Unknown:
			unknown = append(unknown, string(path))
		case control.InUse:
			if inUse[size.Bytes]++; inUse[size.Bytes] == 1 {
				shared += size.Bytes
			}
		case control.About:
			known += size.Bytes
		}
	}
	if count == 0 {
		return
	}
	what := fmt.Sprintf("first copies of %s to %s send about %s", status.Count(count, "dataset"), name, status.Bytes(known))
	if shared > 0 {
		what = fmt.Sprintf("first copies of %s to %s send %s and a share of the %s in use where there is no snapshot yet", status.Count(count, "dataset"), name, status.Bytes(known), status.Bytes(shared))
	}
	if t := takes(known+shared, c.d.rateOf(w.job)); t > 0 {
		upTo := map[bool]string{true: "up to", false: "about"}[shared > 0]
		what += fmt.Sprintf(", which takes %s %s at the configured rate of %s", upTo, policy.FormatDuration(t), c.d.rateOf(w.job))
	} else {
		what += "; no rate_limit is set, so that the link decides how long"
	}
	if len(unknown) > 0 {
		what += "; not known of " + strings.Join(unknown, ", ")
	}
	c.add(control.Good, "job "+w.job.ID, what, "")
}

// sizeOf is about what a first copy sends: of the newest snapshot, or, before there
// is one, what is used of the file system.
func (d *Daemon) sizeOf(ctx context.Context, w *work, path dataset.Path, list []dataset.Snapshot) control.Estimate {
	if len(list) > 0 {
		newest := slices.MaxFunc(list, func(a, b dataset.Snapshot) int { return cmp.Compare(a.Order, b.Order) })
		e, _ := d.fullCopy(ctx, w, path, newest)
		return e
	}
	return d.allUsed(ctx, w, path)
}

// allUsed is what all of a dataset's file system holds.
func (d *Daemon) allUsed(ctx context.Context, w *work, path dataset.Path) control.Estimate {
	usage, err := w.source.Space(ctx, path)
	if err != nil {
		return control.Estimate{Kind: control.Unknown}
	}
	return control.Estimate{Bytes: usage.Size - usage.Free, Kind: control.InUse}
}
