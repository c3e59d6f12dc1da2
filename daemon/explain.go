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
	"antipode/daemon/prune"
	"antipode/daemon/retain"
	"antipode/daemon/status"
	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
)

// explained is what is told of one snapshot.
type explained = control.Explained[prune.Verdict]

// explain tells which rule keeps a snapshot, until when, who holds it, and which
// targets have it.
func (d *Daemon) explain(ctx context.Context, r control.ExplainRequest) (control.ExplainResponse[prune.Verdict], error) {
	answer := control.ExplainResponse[prune.Verdict]{Now: d.Now(), Snapshots: []explained{}}
	all, err := d.lookUp(ctx, r.Snapshot)
	if err != nil {
		return answer, err
	}
	surveys := map[string]retain.Survey{}
	for _, f := range all {
		one, err := d.explainOne(ctx, f, surveys)
		if err != nil {
			return answer, err
		}
		answer.Snapshots = append(answer.Snapshots, one)
	}
	return answer, ctx.Err()
}

func (d *Daemon) explainOne(ctx context.Context, f found, surveys map[string]retain.Survey) (explained, error) {
	out := explained{Kept: f.kept(f.snap), Holds: []control.HoldLine{}}
	keep, err := d.retentionOf(ctx, f.shelf)
	if err != nil {
		return out, err
	}
	s, known := surveys[keep.Object()]
	if !known {
		s = keep.Survey(ctx, false)
		surveys[keep.Object()] = s
	}
	out.Brake = s.Brake
	verdicts, err := keep.Judge(ctx, f.path)
	if err != nil {
		return out, fmt.Errorf("list snapshots of %s: %w", f.path, err)
	}
	if s.Groups != nil {
		s.Groups.Apply(verdicts)
	}
	at := slices.IndexFunc(verdicts, func(v prune.Verdict) bool { return v.Snapshot.ID == f.snap.ID })
	if at < 0 {
		return out, fmt.Errorf("%s of %s: %w", f.snap.Name, f.path, dataset.ErrNotFound)
	}
	out.Verdict = verdicts[at]
	loc, ticks := f.rhythm()
	end := forecast.Of(out.Verdict, verdicts[len(verdicts)-1].Snapshot, d.Now(), loc, ticks)
	out.Until, out.Open = end.At, end.Open
	lines, err := d.holdLines(ctx, f.shelf, d.site().tags())
	if err != nil {
		return out, fmt.Errorf("list holds of %s: %w", f.path, err)
	}
	for _, l := range lines {
		if l.Snapshot == f.snap.Name {
			out.Holds = append(out.Holds, l)
		}
	}
	if f.job != nil {
		out.Targets = d.presences(ctx, f)
	}
	return out, nil
}

// retentionOf is the policy that a dataset on this node is under.
func (d *Daemon) retentionOf(ctx context.Context, s shelf) (*retain.Retention, error) {
	if s.job == nil {
		return d.targetRetention(ctx, s.from, s.room)
	}
	paths, err := d.find(ctx, s.job)
	if err != nil {
		return nil, err
	}
	return d.sourceRetention(s.job, paths), nil
}

// rhythm is when points come, and where days begin. On a target it is that of the
// points that came: the source's schedule is not known.
func (f found) rhythm() (*time.Location, forecast.Ticks) {
	if f.job != nil {
		return f.job.job.Location, ticksOf(f.job.job)
	}
	loc := f.room.Accept().Location
	n := len(f.list)
	if n < 2 {
		return loc, func(time.Time) time.Time { return time.Time{} }
	}
	some := f.list[max(0, n-10):]
	step := some[len(some)-1].Retain.Sub(some[0].Retain) / time.Duration(len(some)-1)
	every := policy.Schedule{Every: max(step.Round(time.Second), time.Second)}
	return loc, func(after time.Time) time.Time { return every.Next(after, loc) }
}

// ticksOf is the schedule of a job's snapshots.
func ticksOf(j policy.Job) forecast.Ticks {
	return func(after time.Time) time.Time {
		if j.Schedule.IsZero() {
			return time.Time{}
		}
		return j.Schedule.Next(after, j.Location)
	}
}

// presences asks every target whether it has the snapshot.
func (d *Daemon) presences(ctx context.Context, f found) []control.Presence {
	var all []control.Presence
	for _, name := range slices.Sorted(slices.Values(f.job.job.ReplicateTo)) {
		p := control.Presence{Peer: name, State: "not known"}
		p.Pulls, p.When = d.pulledHow(f.job, name)
		has, err := d.ask(ctx, f, name)
		switch {
		case err != nil:
			p.Why = err.Error()
		case has:
			p.State = "has it"
		default:
			p.State = "has it not"
		}
		all = append(all, p)
	}
	return all
}

// ask asks one target what it holds of a dataset.
func (d *Daemon) ask(ctx context.Context, f found, name string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	p := previewer{d: d, w: f.job}
	side, err := p.read(ctx, f.path)
	if err != nil {
		return false, err
	}
	r, err := p.ask(ctx, name, side)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(r.Snapshots, func(s dataset.Snapshot) bool { return s.ID == f.snap.ID }), nil
}

// askPatience bounds the question to a target that may be away.
const askPatience = 10 * time.Second

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
	ticks := ticksOf(j)
	s := forecast.Settle(j.Keep, j.Location, c.d.Now(), ticks)
	bound := ""
	if s.Bounded {
		bound = "more than "
	}
	c.add(control.Good, object, fmt.Sprintf("each of its %d datasets settles at %s%d snapshots, the oldest %s old, in %s",
		datasets, bound, s.Snapshots, days(s.Oldest), days(s.Newest.Sub(c.d.Now()))), "")
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

func days(d time.Duration) string {
	if d < 2*policy.Day {
		return policy.FormatDuration(d.Round(time.Hour))
	}
	return fmt.Sprintf("%d days", d/policy.Day)
}

// firstCopies tells what is still to be sent in whole to a target.
func (c *checker) firstCopies(ctx context.Context, w *work, name string, paths []dataset.Path) {
	var sum int64
	var unknown []string
	count, about := 0, "about"
	for _, path := range paths {
		list, err := w.source.Snapshots(ctx, path)
		if err != nil || mayHaveBase(list, w.job.ID, name) {
			continue
		}
		count++
		size := c.d.sizeOf(ctx, w, path, list)
		switch size.Kind {
		case control.Unknown:
			unknown = append(unknown, string(path))
		case control.UpperBound:
			about = "at most"
		}
		sum += size.Bytes
	}
	if count == 0 {
		return
	}
	what := fmt.Sprintf("first copies of %d datasets to %s send %s %s", count, name, about, status.Bytes(sum))
	if t := takes(sum, c.d.rateOf(w.job)); t > 0 {
		what += fmt.Sprintf(", which takes about %s at the configured rate of %s", policy.FormatDuration(t), c.d.rateOf(w.job))
	} else {
		what += "; no rate_limit is set, so that the link decides how long"
	}
	if len(unknown) > 0 {
		what += "; not known of " + strings.Join(unknown, ", ")
	}
	c.add(control.Good, "job "+w.job.ID, what, "")
}

// sizeOf is about what a first copy sends: of the newest snapshot, or, before there
// is one, at most what is used of the file system.
func (d *Daemon) sizeOf(ctx context.Context, w *work, path dataset.Path, list []dataset.Snapshot) control.Estimate {
	if len(list) > 0 {
		newest := slices.MaxFunc(list, func(a, b dataset.Snapshot) int { return cmp.Compare(a.Order, b.Order) })
		e, _ := d.fullCopy(ctx, w, path, newest)
		return e
	}
	usage, err := w.source.Space(ctx, path)
	if err != nil {
		return control.Estimate{Kind: control.Unknown}
	}
	return control.Estimate{Bytes: usage.Size - usage.Free, Kind: control.UpperBound}
}
