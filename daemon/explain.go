package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"antipode/daemon/control"
	"antipode/daemon/forecast"
	"antipode/daemon/ledger"
	"antipode/daemon/policy"
	"antipode/daemon/prune"
	"antipode/daemon/retain"
	"antipode/fsdrivers/dataset"
)

// explained is what is told of one snapshot.
type explained = control.Explained[prune.Verdict]

// explain tells which rule keeps a snapshot, until when, who holds it, and which
// targets have it; and when and why it was destroyed, as far back as history goes.
func (d *Daemon) explain(ctx context.Context, r control.ExplainRequest) (control.ExplainResponse[prune.Verdict], error) {
	answer := control.ExplainResponse[prune.Verdict]{Now: d.Now(), Snapshots: []explained{}}
	all, problems, err := d.lookUp(ctx, r.Snapshot)
	if err != nil && control.ErrorOf(err).Kind == control.KindUsage {
		return answer, err
	}
	answer.Problems = problems
	var historyErr error
	if answer.Gone, historyErr = d.gone(ctx, r.Snapshot); historyErr != nil { // what is there is explained without it
		d.Log.Warn().Err(historyErr).Msg("cannot look for what was destroyed")
	}
	switch {
	case err != nil && len(answer.Gone) == 0:
		return answer, err
	case err != nil && control.ErrorOf(err).Kind != control.KindNotFound:
		answer.Problems = d.problems(err)
	}
	known := map[shelf]*ruled{}
	var errs []error
	for _, f := range all {
		one, err := d.explainOne(ctx, f, known)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		answer.Snapshots = append(answer.Snapshots, one)
	}
	if len(errs) > 0 && len(answer.Snapshots)+len(answer.Gone) == 0 {
		return answer, errors.Join(errs...)
	}
	answer.Problems = append(answer.Problems, d.problems(errors.Join(errs...))...)
	return answer, ctx.Err()
}

// gone finds in history where a snapshot of this name was destroyed, newest first.
func (d *Daemon) gone(ctx context.Context, ref string) ([]control.Gone, error) {
	path, name, err := parseRef(ref)
	if err != nil {
		return nil, err
	}
	r, err := d.history(ctx, ledger.Query{Kind: ledger.EntryDestruction, Dataset: path})
	var all []control.Gone
	for _, e := range r.Entries {
		if e.Snapshot != name || e.Error != "" {
			continue
		}
		kept := control.Kept{Job: e.Job, Dataset: e.Dataset, Snapshot: name}
		if e.Side == ledger.Target {
			kept.Job, kept.From = "", e.Job
		}
		all = append(all, control.Gone{Kept: kept, At: e.At, Why: e.Text})
	}
	return all, err
}

func (d *Daemon) explainOne(ctx context.Context, f found, known map[shelf]*ruled) (explained, error) {
	out := explained{Kept: f.kept(f.snap), Holds: []control.HoldLine{}}
	by, err := d.ruledBy(ctx, f.shelf, known)
	if err != nil {
		return out, err
	}
	primary := by.elsewhere(f.path, d.node())
	switch {
	case primary != "":
		out.Verdict = prune.Verdict{Snapshot: f.snap, Reasons: []prune.Reason{{Kind: prune.Frozen, Ref: primary + " is primary of its dataset, and no run here destroys any of it"}}}
		out.Open = "until this node is primary again"
	case !slices.Contains(by.keep.Paths, f.path):
		return out, cmp.Or(by.unseen, fmt.Errorf("%s: %w", f.path, dataset.ErrNotFound))
	default:
		if err := d.foretell(ctx, f, by, &out); err != nil {
			return out, err
		}
	}
	lines, err := d.holdLines(ctx, f.shelf, d.site().tags())
	if err != nil {
		return out, fmt.Errorf("list holds of %s: %w", f.path, err)
	}
	for _, l := range lines {
		if l.Snapshot == f.snap.Name {
			out.Holds = append(out.Holds, l)
		}
	}
	if f.job != nil && primary == "" { // which sends it
		out.Targets = d.presences(ctx, f)
	}
	return out, nil
}

// foretell is what the next run would find, and when another destroys the snapshot.
func (d *Daemon) foretell(ctx context.Context, f found, by *ruled, out *explained) error {
	out.Brake = by.survey.Brake
	verdicts, err := by.keep.Judge(ctx, f.path)
	if err != nil {
		return fmt.Errorf("list snapshots of %s: %w", f.path, err)
	}
	if by.survey.Groups != nil {
		by.survey.Groups.Apply(verdicts)
	}
	at := slices.IndexFunc(verdicts, func(v prune.Verdict) bool { return v.Snapshot.ID == f.snap.ID })
	if at < 0 {
		return fmt.Errorf("%s of %s: %w", f.snap.Name, f.path, dataset.ErrNotFound)
	}
	out.Verdict = verdicts[at]
	loc, ticks := d.rhythm(f)
	end := forecast.Of(out.Verdict, verdicts[len(verdicts)-1].Snapshot, d.Now(), loc, ticks)
	out.Until, out.Open = end.At, end.Open
	return nil
}

// ruled is the policy that some datasets of this node are under, as a run sees them.
type ruled struct {
	keep   *retain.Retention
	survey retain.Survey
	marks  map[dataset.Path]dataset.Mark // of a job's
	unseen error                         // why some of a job's may be missing
}

// elsewhere is the node that is primary of a job's dataset, where that is not this one.
func (r *ruled) elsewhere(p dataset.Path, node string) string {
	if mark := r.marks[p]; mark.IsForeign(node) {
		return mark.Node
	}
	return ""
}

// ruledBy looks at all that is under a policy, once for all datasets that it is asked
// of. A run goes on without what is missing, and so does this.
func (d *Daemon) ruledBy(ctx context.Context, s shelf, known map[shelf]*ruled) (by *ruled, err error) {
	key := shelf{job: s.job, room: s.room}
	if by = known[key]; by != nil {
		return by, nil
	}
	by = &ruled{}
	if s.job == nil {
		if by.keep, err = d.targetRetention(ctx, s.from, s.room); err != nil {
			return nil, err
		}
	} else {
		by.keep, by.marks, by.unseen = d.jobRetention(ctx, s.job)
	}
	by.survey = by.keep.Survey(ctx, false)
	known[key] = by
	return by, nil
}

// rhythm is when points come, and where days begin. On a target it is that of the
// points that came: the source's schedule is not known.
func (d *Daemon) rhythm(f found) (*time.Location, forecast.Ticks) {
	if f.job != nil {
		return f.job.job.Location, d.ticksOf(f.job.job)
	}
	loc, step := f.room.Accept().Location, pace(f.list)
	if step == 0 {
		return loc, func(time.Time) time.Time { return time.Time{} }
	}
	return loc, ticksEvery(step, loc)
}

// pace is how often points came lately; 0 where that is not known yet. It is the
// median of the newest gaps, and the shorter of two: retention has made the older
// ones wider.
func pace(points []dataset.Snapshot) time.Duration {
	some := points[max(0, len(points)-5):]
	if len(some) < 2 {
		return 0
	}
	var gaps []time.Duration
	for i, p := range some[1:] {
		gaps = append(gaps, p.Retain.Sub(some[i].Retain))
	}
	slices.Sort(gaps)
	return max(gaps[(len(gaps)-1)/2].Round(time.Second), time.Second)
}

func ticksEvery(step time.Duration, loc *time.Location) forecast.Ticks {
	every := policy.Schedule{Every: step}
	return func(after time.Time) time.Time { return every.Next(after, loc) }
}

// ticksOf is when a job's snapshots are made: within its window, and later by the job's
// share of the jitter.
func (d *Daemon) ticksOf(j policy.Job) forecast.Ticks {
	if j.Schedule.IsZero() {
		return func(time.Time) time.Time { return time.Time{} }
	}
	return j.Calendar(d.node()).Next
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
