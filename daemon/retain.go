package daemon

import (
	"context"
	"errors"
	"slices"
	"time"

	"antipode/daemon/ledger"
	"antipode/daemon/prune"
	"antipode/daemon/retain"
	"antipode/daemon/send"
	"antipode/daemon/status"
	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
)

// sourceRetention is the policy of a job over datasets that this node is primary
// of; unseen is why some may be missing among them. What a target still needs carries
// a durable hold.
func (d *Daemon) sourceRetention(w *work, paths []dataset.Path, unseen error) *retain.Retention {
	return &retain.Retention{
		Side: ledger.Source, Name: w.job.ID, Bounds: w.job.Retention, Paths: paths, Unseen: unseen, By: w.source, Alarm: d.watch,
		Remember: func(p dataset.Path, gone []prune.Verdict) { d.remember(ledger.Source, w.job.ID, p, gone) },
		Judge: func(ctx context.Context, path dataset.Path) ([]prune.Verdict, error) {
			points, err := w.source.Snapshots(ctx, path)
			if err != nil {
				return nil, err
			}
			verdicts := prune.Decide(sourceInput(w, points, d.Now()))
			problem := d.frozen(ledger.Source, w.job.ID, path, verdicts)
			d.Board.Dataset(w.job.ID, path, func(line *status.Dataset) { line.Problem = problem })
			return verdicts, nil
		},
	}
}

// jobRetention is the sourceRetention of a run now, which goes on without what is missing;
// marks are those of all datasets that are there.
func (d *Daemon) jobRetention(ctx context.Context, w *work) (keep *retain.Retention, marks map[dataset.Path]dataset.Mark, unseen error) {
	paths, err := d.find(ctx, w)
	live, marks, roleErr := d.roles(ctx, w, paths)
	unseen = errors.Join(err, roleErr)
	return d.sourceRetention(w, live, unseen), marks, unseen
}

// frozen is for the board why nothing of a dataset is destroyed until somebody looks;
// nil for nothing.
func (d *Daemon) frozen(side ledger.Side, name string, path dataset.Path, verdicts []prune.Verdict) *status.Problem {
	if why := retain.Frozen(side, name, path, verdicts); why != nil {
		return &status.Problem{Text: "retention destroys nothing: " + why.Why(), Next: why.Next(), At: d.Now()}
	}
	return nil
}

// sourceInput is what retention on the source depends on.
func sourceInput(w *work, points []dataset.Snapshot, now time.Time) prune.Input {
	in := prune.Input{
		Side: prune.Source, Points: sparing(points), Keep: w.job.Keep, Backlog: w.job.Backlog, Location: w.job.Location, Now: now,
	}
	_, in.Bookmarks = w.source.(fsdrivers.Bookmarker)
	for _, name := range w.job.ReplicateTo {
		in.Peers = append(in.Peers, prune.Peer{Name: name, Base: heldBase(points, w.job.ID, name), Hold: send.BaseTag(w.job.ID, name)})
	}
	return in
}

// sparing takes what was received out of a job's retention: it is on a replica that went
// live itself, and stays under the rules of that.
func sparing(points []dataset.Snapshot) []dataset.Snapshot {
	if !slices.ContainsFunc(points, wasReceived) {
		return points
	}
	points = slices.Clone(points)
	for i, p := range points {
		points[i].Foreign = p.Foreign || wasReceived(p)
	}
	return points
}

func wasReceived(s dataset.Snapshot) bool { return !s.Received.IsZero() && !s.Bookmark }

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
