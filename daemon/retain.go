package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"antipode/daemon/control"
	"antipode/daemon/ledger"
	"antipode/daemon/policy"
	"antipode/daemon/prune"
	"antipode/daemon/send"
	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
)

// maxDoomed bounds the verdicts that wait between the two passes of a retention;
// what is beyond that is decided on again in the second.
const maxDoomed = 100_000

// retention is one side's policy over all datasets that it holds of a job, or of
// one peer. It looks at one dataset at a time, twice: groups and the brake need to
// have seen all before anything is destroyed.
type retention struct {
	d      *Daemon
	side   ledger.Side
	name   string // the job, or the peer
	bounds policy.Retention
	paths  []dataset.Path
	// judge lists one dataset and decides; what it returns may be kept.
	judge func(ctx context.Context, path dataset.Path) ([]prune.Verdict, error)
	by    prune.Destroyer
}

// judgement is what is known between the passes.
type judgement struct {
	path    dataset.Path
	total   int
	doomed  []prune.Verdict // before groups are applied; nil if they were too many to keep
	dropped bool            // doomed are to be decided on again
	all     []prune.Verdict // only where they are to be shown
}

// survey is the first pass.
type survey struct {
	judged []judgement
	groups *prune.Groups // nil: each dataset by itself
	brake  string        // why nothing may be destroyed; "" is none
	err    error
}

func (r *retention) survey(ctx context.Context, whole bool) survey {
	var s survey
	var errs []error
	if r.bounds.Groups {
		s.groups = prune.NewGroups()
	}
	kept := 0
	for _, path := range r.paths {
		verdicts, err := r.judge(ctx, path)
		if err != nil {
			errs = append(errs, fmt.Errorf("list snapshots of %s: %w", path, err))
			continue
		}
		if s.groups != nil {
			s.groups.Note(path, verdicts)
		}
		j := judgement{path: path, total: len(verdicts), doomed: prune.Doomed(verdicts)}
		if whole {
			j.all = verdicts
		} else if kept += len(j.doomed); kept > maxDoomed {
			j.doomed, j.dropped = nil, true
		}
		s.judged = append(s.judged, j)
	}
	s.err = errors.Join(errs...)
	s.brake = r.stops(ctx, &s)
	return s
}

// stops applies the groups, counts, and asks the brake.
func (r *retention) stops(ctx context.Context, s *survey) string {
	doomed, total := 0, 0
	for i := range s.judged {
		j := &s.judged[i]
		if s.groups != nil {
			s.groups.Apply(j.all)
			s.groups.Apply(j.doomed)
			j.doomed = prune.Doomed(j.doomed)
		}
		total += j.total
		doomed += len(j.doomed)
		if j.dropped {
			doomed += len(r.again(ctx, s, j.path))
		}
	}
	return prune.Brake(r.bounds.Brake).Stops(doomed, total)
}

// again decides on a dataset once more, with what the groups keep. One that cannot
// be read any more destroys nothing.
func (r *retention) again(ctx context.Context, s *survey, path dataset.Path) []prune.Verdict {
	verdicts, err := r.judge(ctx, path)
	if err != nil {
		return nil
	}
	if s.groups != nil {
		s.groups.Apply(verdicts)
	}
	return prune.Doomed(verdicts)
}

// run carries the policy out. With release, the brake stops nothing.
func (r *retention) run(ctx context.Context, release bool) (destroyed int, err error) {
	s := r.survey(ctx, false)
	errs := []error{s.err}
	object := r.object()
	if s.brake != "" && !release {
		err := &brakeError{object, s.brake}
		r.d.watch.Alarm(alarmBrake, object, err.Error()+"; "+err.Next())
		return 0, errors.Join(s.err, err)
	}
	r.d.watch.Settle(alarmBrake, object)
	for _, j := range s.judged {
		if j.dropped {
			j.doomed = r.again(ctx, &s, j.path)
		}
		if len(j.doomed) == 0 {
			continue
		}
		done, err := prune.Execute(ctx, j.path, j.doomed, r.by)
		r.d.remember(r.side, r.name, j.path, done)
		destroyed += len(done)
		if err != nil {
			errs = append(errs, fmt.Errorf("prune %s: %w", j.path, err))
		}
	}
	return destroyed, errors.Join(errs...)
}

// preview is the very value that run executes.
func (r *retention) preview(ctx context.Context) ([]control.PrunePreview[prune.Verdict], string, error) {
	s := r.survey(ctx, true)
	all := []control.PrunePreview[prune.Verdict]{}
	for _, j := range s.judged {
		all = append(all, control.PrunePreview[prune.Verdict]{
			Dataset: j.path, Verdicts: j.all, Frees: frees(ctx, r.by, j.path, j.doomed),
		})
	}
	return all, s.brake, s.err
}

func (r *retention) object() string {
	if r.side == ledger.Source {
		return "job " + r.name
	}
	return "accept from " + r.name
}

// frees asks a driver that can tell; Btrfs knows it only with quotas.
func frees(ctx context.Context, by any, path dataset.Path, doomed []prune.Verdict) control.Estimate {
	if len(doomed) == 0 {
		return control.Estimate{Kind: control.About}
	}
	can, ok := by.(fsdrivers.Freer)
	if !ok {
		return control.Estimate{Kind: control.Unknown}
	}
	list := make([]dataset.Snapshot, len(doomed))
	for i, v := range doomed {
		list[i] = v.Snapshot
	}
	bytes, err := can.Frees(ctx, path, list)
	if err != nil {
		return control.Estimate{Kind: control.Unknown}
	}
	return control.Estimate{Bytes: bytes, Kind: control.About}
}

// alarmBrake is the event of a retention that was stopped.
const alarmBrake = "brake"

// brakeError is why a retention destroyed nothing.
type brakeError struct{ object, why string }

// Error names whose retention it is.
func (e *brakeError) Error() string { return e.object + ": " + e.why }

// Next tells how to let it go.
func (e *brakeError) Next() string {
	kind, name := "", e.object[len("job "):]
	if e.object[0] == 'a' {
		kind, name = "--from ", e.object[len("accept from "):]
	}
	return fmt.Sprintf("look with `antipode prune %s%s --dry-run`; if it is meant, `antipode prune %s%s --release-brake`", kind, name, kind, name)
}

// sourceRetention is the policy of a job over datasets that this node is primary
// of. What a target still needs carries a durable hold.
func (d *Daemon) sourceRetention(w *work, paths []dataset.Path) *retention {
	return &retention{
		d: d, side: ledger.Source, name: w.job.ID, bounds: w.job.Retention, paths: paths, by: w.source,
		judge: func(ctx context.Context, path dataset.Path) ([]prune.Verdict, error) {
			points, err := w.source.Snapshots(ctx, path)
			if err != nil {
				return nil, err
			}
			return prune.Decide(d.sourceInput(w, points)), nil
		},
	}
}

// sourceInput is what retention on the source depends on.
func (d *Daemon) sourceInput(w *work, points []dataset.Snapshot) prune.Input {
	in := prune.Input{
		Side: prune.Source, Points: points, Keep: w.job.Keep, Backlog: w.job.Backlog, Location: w.job.Location, Now: d.Now(),
	}
	_, in.Bookmarks = w.source.(fsdrivers.Bookmarker)
	for _, name := range w.job.ReplicateTo {
		in.Peers = append(in.Peers, prune.Peer{Name: name, Base: heldBase(points, w.job.ID, name), Hold: send.BaseTag(w.job.ID, name)})
	}
	return in
}

// heldBase is the newest point with the durable hold of a common base.
func heldBase(points []dataset.Snapshot, job, peer string) dataset.ID {
	for _, s := range slices.Backward(points) {
		if slices.Contains(s.Holds, send.BaseTag(job, peer)) {
			return s.ID
		}
	}
	return ""
}

// mayHaveBase reports whether a peer may have a point of the list: one that is held
// for it, or a bookmark, of which nothing tells whose it is.
func mayHaveBase(points []dataset.Snapshot, job, peer string) bool {
	return heldBase(points, job, peer) != "" || slices.ContainsFunc(points, func(s dataset.Snapshot) bool { return s.Bookmark })
}

// remember writes what retention destroyed into history.
func (d *Daemon) remember(side ledger.Side, job string, p dataset.Path, destroyed []prune.Verdict) {
	var batch ledger.Batch
	for _, v := range destroyed {
		why := ""
		if len(v.Reasons) > 0 {
			why = v.Reasons[0].Text()
		}
		batch.Destructions = append(batch.Destructions, ledger.Destruction{
			Side: side, Job: job, Dataset: p, Snapshot: v.Snapshot.Name, ID: v.Snapshot.ID, Why: why, At: d.Now(),
		})
		d.Log.Info().Str("job", job).Stringer("dataset", p).Str("snapshot", v.Snapshot.Name).Str("why", why).Msg("destroyed")
	}
	d.ledger.Record(batch)
}

// asBrake finds the brake among the errors of a run.
func asBrake(err error) (*brakeError, bool) {
	return errors.AsType[*brakeError](err)
}
