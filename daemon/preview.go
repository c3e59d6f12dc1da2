package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"antipode/daemon/control"
	"antipode/daemon/plan"
	"antipode/daemon/policy"
	"antipode/daemon/prune"
	"antipode/daemon/replicate"
	"antipode/daemon/send"
	"antipode/daemon/snapshot"
	"antipode/fsdrivers/dataset"
	"antipode/transport/wire"
)

// jobPreview is what the next run of one job would do.
type jobPreview = control.JobPreview[plan.Plan, prune.Verdict]

// previewer makes one job's preview. It reads and asks, and writes nothing.
type previewer struct {
	d   *Daemon
	w   *work
	out jobPreview
	// at is when the run is: what it makes is named for that time, and what it destroys
	// is judged by then.
	at time.Time
	// sides are both what exists and, as the newest, what the run would make.
	sides  map[dataset.Path]previewSide
	unseen error // why datasets may be missing among them
}

type previewSide struct {
	dataset   dataset.Dataset
	mark      dataset.Mark
	snapshots []dataset.Snapshot
}

func (d *Daemon) previewJob(ctx context.Context, w *work) jobPreview {
	p := previewer{d: d, w: w, sides: map[dataset.Path]previewSide{}, out: jobPreview{
		Job: w.job.ID, Next: d.schedule.Next(w.job.ID), Paused: d.pauses.Has(w.job.ID),
		Snapshots: []control.SnapshotPreview{}, Sends: []control.SendPreview[plan.Plan]{},
	}}
	p.at = d.Now()
	if p.out.Next.After(p.at) {
		p.at = p.out.Next
		p.out.NextReplication = d.replication.Next(w.job.ID)
	}
	paths, err := d.find(ctx, w)
	p.miss(err)
	p.snapshots(ctx, paths)
	for _, name := range slices.Sorted(maps.Keys(w.couriers)) {
		p.sends(ctx, name)
	}
	if p.w.job.Forward == "" {
		p.prunes(ctx)
	}
	return p.out
}

func (p *previewer) problem(err error) {
	p.out.Problems = append(p.out.Problems, p.d.problems(err)...)
}

// miss is a problem for which a dataset may not be among the sides.
func (p *previewer) miss(err error) {
	p.problem(err)
	p.unseen = errors.Join(p.unseen, err)
}

// snapshots reads every dataset and adds the snapshot that the run would make.
func (p *previewer) snapshots(ctx context.Context, paths []dataset.Path) {
	live, _, err := p.d.roles(ctx, p.w, paths)
	p.miss(err)
	var newest time.Time
	for _, path := range live {
		side, err := p.read(ctx, path)
		if err != nil {
			p.miss(err)
			continue
		}
		p.sides[path] = side
		for _, s := range side.snapshots {
			if s.Created.After(newest) {
				newest = s.Created
			}
		}
	}
	if p.w.job.Forward != "" {
		return // what there is was made elsewhere
	}
	at := policy.SnapshotTime(p.at, newest)
	may, full, _ := lookForRoom(ctx, p.w, slices.Sorted(maps.Keys(p.sides)))
	for _, err := range full {
		if err.stops {
			p.problem(err)
		}
	}
	for _, path := range slices.Sorted(maps.Keys(p.sides)) {
		side := p.sides[path]
		if _, has := slices.BinarySearch(may, path); !has {
			p.out.Snapshots = append(p.out.Snapshots, control.SnapshotPreview{Dataset: path, Why: "there is less room than min_free asks for"})
			continue
		}
		if last, still := p.isUnchanged(ctx, path, side); still {
			p.out.Snapshots = append(p.out.Snapshots, control.SnapshotPreview{
				Dataset: path, Why: "nothing was written since " + last.Name,
			})
			continue
		}
		made := dataset.Snapshot{Name: policy.SnapshotName(p.w.job.ID, at), ID: plan.Unborn, Created: at, Retain: at, Order: 1}
		if n := len(side.snapshots); n > 0 {
			made.Order = side.snapshots[n-1].Order + 1
		}
		side.snapshots = append(slices.Clone(side.snapshots), made)
		p.sides[path] = side
		p.out.Snapshots = append(p.out.Snapshots, control.SnapshotPreview{
			Dataset: path, Name: made.Name, Why: p.whySnapshot(side),
		})
	}
}

// isUnchanged asks as a run would, which makes no snapshot then.
func (p *previewer) isUnchanged(ctx context.Context, path dataset.Path, side previewSide) (last dataset.Snapshot, still bool) {
	if len(side.snapshots) == 0 {
		return last, false
	}
	last = side.snapshots[len(side.snapshots)-1]
	still, err := snapshot.IsUnchanged(ctx, p.w.source, path, last, p.w.job.Always)
	p.problem(err)
	return last, still
}

func (p *previewer) whySnapshot(side previewSide) string {
	why := "it was written to"
	switch {
	case p.w.job.Always:
		why = "every run of the job makes one"
	case len(side.snapshots) == 0:
		why = "there is none yet"
	}
	if !p.w.job.Hooks.IsZero() {
		why += "; hooks run around it"
	}
	return why
}

func (p *previewer) read(ctx context.Context, path dataset.Path) (previewSide, error) {
	found, err := p.w.source.Find(ctx, path, false)
	if err == nil && len(found) != 1 {
		err = dataset.ErrNotFound
	}
	if err != nil {
		return previewSide{}, fmt.Errorf("look at %s: %w", path, err)
	}
	mark, err := p.w.source.Mark(ctx, path)
	if err != nil {
		return previewSide{}, fmt.Errorf("read mark of %s: %w", path, err)
	}
	snapshots, err := p.w.source.Snapshots(ctx, path)
	if err != nil {
		return previewSide{}, fmt.Errorf("list snapshots of %s: %w", path, err)
	}
	return previewSide{dataset: found[0], mark: mark, snapshots: snapshots}, nil
}

// sends plans every dataset to one peer, by the peer's own word. What is sent before
// the run does not have its snapshots.
func (p *previewer) sends(ctx context.Context, name string) {
	paths := slices.Sorted(maps.Keys(p.sides))
	q := wire.InventoryRequest{Job: p.w.job.ID, Driver: string(p.w.job.Driver), MayPromote: p.w.job.MayPromote}
	for _, path := range paths {
		q.Datasets = append(q.Datasets, wire.InventoryAsk{Dataset: p.sides[path].dataset, Mark: p.sides[path].mark})
	}
	if len(paths) == 0 {
		return
	}
	inventory, err := p.w.couriers[name].client.Inventory(ctx, q)
	if err != nil {
		p.problem(fmt.Errorf("ask %s what it holds: %w", name, err))
		return
	}
	for i, path := range paths {
		side := p.sides[path]
		if at := p.out.NextReplication; !at.IsZero() && at.Before(p.at) {
			side.snapshots = slices.DeleteFunc(slices.Clone(side.snapshots), func(s dataset.Snapshot) bool { return s.ID == plan.Unborn })
		}
		p.out.Sends = append(p.out.Sends, p.send(ctx, name, side, inventory.Replicas[i]))
	}
}

// ask asks a peer what it holds of one dataset.
func (p *previewer) ask(ctx context.Context, name string, side previewSide) (wire.Replica, error) {
	c := p.w.couriers[name]
	if c == nil {
		return wire.Replica{}, fmt.Errorf("no address of %s is known", name)
	}
	inventory, err := c.client.Inventory(ctx, wire.InventoryRequest{
		Job: p.w.job.ID, Driver: string(p.w.job.Driver), MayPromote: p.w.job.MayPromote,
		Datasets: []wire.InventoryAsk{{Dataset: side.dataset, Mark: side.mark}},
	})
	if err != nil {
		return wire.Replica{}, fmt.Errorf("ask %s what it holds: %w", name, err)
	}
	if len(inventory.Replicas) != 1 {
		return wire.Replica{}, fmt.Errorf("%s answered for %d datasets, asked for one", name, len(inventory.Replicas))
	}
	if r := inventory.Replicas[0]; r.Problem != nil {
		return wire.Replica{}, r.Problem
	}
	return inventory.Replicas[0], nil
}

func (p *previewer) send(ctx context.Context, name string, side previewSide, r wire.Replica) control.SendPreview[plan.Plan] {
	out := control.SendPreview[plan.Plan]{Dataset: side.dataset.Path, Peer: name}
	if r.Path != side.dataset.Path {
		out.Conflict = control.ErrorOf(fmt.Errorf("%w: asked %s for %s, answered for %q", send.ErrMisanswered, name, side.dataset.Path, r.Path))
		return out
	}
	if r.Problem != nil {
		out.Conflict = control.ErrorOf(p.d.worded(r.Problem))
		return out
	}
	planned, err := replicate.Decide(ctx, p.w.source, replicate.Facts{
		Job: p.w.job, Dataset: side.dataset, Mark: side.mark, Snapshots: side.snapshots, Far: r,
		Asked: p.d.firstCopies.To(p.w.job.ID, name).Asked(side.dataset),
	})
	if err != nil {
		out.Conflict = control.ErrorOf(p.d.worded(err))
		return out
	}
	out.Plan = &planned
	for _, step := range planned.Steps {
		out.Estimates = append(out.Estimates, p.estimate(ctx, step.Step))
	}
	if len(planned.Steps) > 0 {
		out.Far = append(out.Far, fmt.Sprintf("%s receives into its own subtree of %s and prunes it by its own policy", name, p.d.node()))
	}
	if pulls, when := p.d.pulledHow(p.w, name); pulls && len(planned.Steps) > 0 {
		out.Far = append(out.Far, name+" pulls: it is sent when it asks, "+cmp.Or(when, "which it never did yet"))
	}
	if r.Note != "" {
		out.Far = append(out.Far, name+" "+r.Note)
	}
	if planned.Dropped != nil {
		out.Far = append(out.Far, name+" drops an unfinished receive: "+planned.Dropped.Why)
	}
	return out
}

// estimate asks the file system about snapshots that exist. Of one that is not made
// yet only a bound is known, and only of all that it holds.
func (p *previewer) estimate(ctx context.Context, step dataset.Step) control.Estimate {
	switch {
	case step.To.ID == plan.Unborn && step.IsFull():
		return p.d.allUsed(ctx, p.w, step.Dataset.Path)
	case step.To.ID == plan.Unborn, step.From.ID == plan.Unborn:
		return control.Estimate{Kind: control.Unknown}
	}
	bytes, err := p.w.source.Estimate(ctx, step)
	if err != nil {
		return control.Estimate{Kind: control.Unknown}
	}
	return control.Estimate{Bytes: bytes, Kind: control.About}
}

// prunes judges what the run would find, the new snapshot included.
func (p *previewer) prunes(ctx context.Context) {
	r := p.d.sourceRetention(p.w, slices.Sorted(maps.Keys(p.sides)), p.unseen)
	r.Judge = func(_ context.Context, path dataset.Path) ([]prune.Verdict, error) {
		return prune.Decide(sourceInput(p.w, p.sides[path].snapshots, p.at)), nil
	}
	var err error
	p.out.Prunes, p.out.Brake, err = r.Preview(ctx)
	p.problem(err)
}
