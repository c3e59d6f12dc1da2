package daemon

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"antipode/daemon/control"
	"antipode/daemon/forecast"
	"antipode/daemon/policy"
	"antipode/daemon/replicate"
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
	object, goes, waits := "job "+w.job.ID, copies{}, copies{}
	for _, path := range paths {
		list, err := w.source.Snapshots(ctx, path)
		if err != nil || mayHaveBase(list, w.job.ID, name) {
			continue
		}
		size, more, asked := c.d.sizeOf(ctx, w, name, path, list)
		if w.job.Initial == policy.InitialFail && !asked {
			waits.add(path, size, more)
		} else {
			goes.add(path, size, more)
		}
	}
	if waits.count > 0 {
		c.add(control.Good, object, fmt.Sprintf("no first copy of %s to %s is made unasked (initial = \"fail\"); that would send %s", status.Count(waits.count, "dataset"), name, waits.sum()),
			"ask for each with `antipode resolve DATASET --peer "+name+" --with first-copy`")
	}
	if goes.count > 0 {
		c.add(control.Good, object, fmt.Sprintf("first copies of %s to %s send %s", status.Count(goes.count, "dataset"), name,
			goes.sum(c.d.firstCopiesTake(goes.known+goes.shared, goes.shared > 0, w.job))), "")
	}
}

// copies is what first copies send, added up.
type copies struct {
	count         int
	known, shared int64
	inUse         map[int64]bool // what file systems hold: equal is the same one
	more          bool           // known is not all
	unknown       []string
}

func (s *copies) add(path dataset.Path, size control.Estimate, more bool) {
	s.count++
	s.more = s.more || more
	switch size.Kind {
	case control.Unknown:
		s.unknown = append(s.unknown, string(path))
	case control.InUse:
		if !s.inUse[size.Bytes] {
			s.shared += size.Bytes
		}
		if s.inUse == nil {
			s.inUse = map[int64]bool{}
		}
		s.inUse[size.Bytes] = true
	case control.About:
		s.known += size.Bytes
	}
}

// sum says how much it is, with what is to be said of it, and of what that is not known.
func (s *copies) sum(about ...string) string {
	what := "about " + status.Bytes(s.known)
	switch {
	case s.more:
		what = "more than " + status.Bytes(s.known)
	case s.shared > 0:
		what = status.Bytes(s.known)
	}
	if s.shared > 0 {
		what += " and a share of the " + status.Bytes(s.shared) + " in use where there is no snapshot yet"
	}
	what += strings.Join(about, "")
	if len(s.unknown) > 0 {
		what += "; not known of " + strings.Join(s.unknown, ", ")
	}
	return what
}

// maxEstimates bounds how many steps of one first copy are estimated: on ZFS each costs
// a process.
const maxEstimates = 100

// sizeOf is about what a first copy to a peer sends, by the very plan of it, or, before
// there is a snapshot, what is used of the file system. With more, it is more than that.
// asked tells whether somebody asked for it.
func (d *Daemon) sizeOf(ctx context.Context, w *work, name string, path dataset.Path, list []dataset.Snapshot) (size control.Estimate, more, asked bool) {
	found, err := w.source.Find(ctx, path, false)
	if err != nil || len(found) != 1 {
		return control.Estimate{Kind: control.Unknown}, false, false
	}
	asked = d.firstCopies.To(w.job.ID, name).Asked(found[0])
	if len(list) == 0 {
		return d.allUsed(ctx, w, path), w.job.Initial == policy.InitialAll, asked
	}
	p, err := replicate.Decide(ctx, w.source, replicate.Facts{Job: w.job, Dataset: found[0], Snapshots: list, Asked: true})
	if err != nil {
		return control.Estimate{Kind: control.Unknown}, false, asked
	}
	size.Kind = control.About
	for i, step := range p.Steps {
		bytes, err := w.source.Estimate(ctx, step.Step)
		switch {
		case err != nil && i == 0:
			return control.Estimate{Kind: control.Unknown}, false, asked
		case err != nil || i == maxEstimates:
			return size, true, asked
		}
		size.Bytes += bytes
	}
	return size, false, asked
}

// allUsed is what all of a dataset's file system holds.
func (d *Daemon) allUsed(ctx context.Context, w *work, path dataset.Path) control.Estimate {
	usage, err := w.source.Space(ctx, path)
	if err != nil {
		return control.Estimate{Kind: control.Unknown}
	}
	return control.Estimate{Bytes: usage.Size - usage.Free, Kind: control.InUse}
}
