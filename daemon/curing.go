package daemon

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"antipode/daemon/activate"
	"antipode/daemon/control"
	"antipode/daemon/cure"
	"antipode/daemon/ledger"
	"antipode/daemon/plan"
	"antipode/daemon/prune"
	"antipode/daemon/replicate"
	"antipode/daemon/status"
	"antipode/daemon/wish"
	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
)

// resolve tells of the conflicts of a dataset, or applies a cure to one of them.
func (d *Daemon) resolve(ctx context.Context, r control.ResolveRequest) (control.ResolveResponse, error) {
	answer := control.ResolveResponse{Conflicts: []control.ConflictLine{}}
	if r.With == "" {
		return d.conflicts(ctx, r)
	}
	with, err := cure.Parse(r.With)
	if err != nil {
		return answer, &control.Error{Kind: control.KindUsage, Object: string(r.Dataset), Text: err.Error(), Next: "`antipode resolve " + string(r.Dataset) + "` tells of its conflicts"}
	}
	sources := d.sourcesOf(r)
	switch {
	case with == cure.DropNewer:
		answer.Does, err = d.dropNewer(ctx, r)
	case with == cure.SetAside:
		answer.Does, err = d.setAside(ctx, r)
	case with == cure.GiveWay && (r.From != "" || len(sources) == 0):
		answer.Does, err = d.targetGivesWay(ctx, r)
	case len(sources) == 0:
		err = &control.Error{Kind: control.KindNotFound, Object: string(r.Dataset), Text: "no job of this node sends it to such a peer", Next: "ask where it is sent from"}
	case len(sources) > 1:
		err = &control.Error{Kind: control.KindUsage, Object: string(r.Dataset), Text: "it is sent to several peers", Next: "say which with --peer"}
	case with == cure.GiveWay:
		answer.Does, err = sources[0].giveWay(ctx, r)
	default:
		answer.Does, err = sources[0].firstCopy(ctx, r)
	}
	if err != nil {
		return answer, d.worded(err)
	}
	return answer, nil
}

// sending is a dataset of this node on its way to one peer.
type sending struct {
	d    *Daemon
	w    *work
	peer string
	path dataset.Path
}

// sourcesOf are the ways on which a dataset is sent that the request may mean.
func (d *Daemon) sourcesOf(r control.ResolveRequest) []sending {
	var all []sending
	jobs := d.site().jobs
	for _, id := range slices.Sorted(maps.Keys(jobs)) {
		if !slices.Contains(d.Board.Datasets(id), r.Dataset) {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(jobs[id].couriers)) {
			if r.Peer == "" || r.Peer == name {
				all = append(all, sending{d, jobs[id], name, r.Dataset})
			}
		}
	}
	return all
}

// facts asks both sides.
func (s sending) facts(ctx context.Context) (replicate.Facts, error) {
	p := previewer{d: s.d, w: s.w}
	side, err := p.read(ctx, s.path)
	if err != nil {
		return replicate.Facts{}, err
	}
	far, err := p.ask(ctx, s.peer, side)
	return replicate.Facts{
		Job: s.w.job, Dataset: side.dataset, Mark: side.mark, Snapshots: side.snapshots, Far: far,
		Asked: s.d.firstCopies.To(s.w.job.ID, s.peer).Asked(side.dataset),
	}, err
}

// conflicts asks every peer that the dataset is sent to.
func (d *Daemon) conflicts(ctx context.Context, r control.ResolveRequest) (control.ResolveResponse, error) {
	answer := control.ResolveResponse{Conflicts: []control.ConflictLine{}}
	sources := d.sourcesOf(r)
	for _, s := range sources {
		f, err := s.facts(ctx)
		if err == nil {
			_, err = replicate.Decide(ctx, s.w.source, f)
		}
		if err != nil {
			answer.Conflicts = append(answer.Conflicts, control.ConflictLine{Job: s.w.job.ID, Peer: s.peer, Conflict: *control.ErrorOf(d.worded(err))})
		}
	}
	if len(sources) > 0 {
		return answer, ctx.Err()
	}
	p, err := d.lookUpReplica(ctx, control.PromoteRequest{Dataset: r.Dataset, From: r.From})
	if err != nil {
		return answer, err
	}
	if rival := d.rival(p); !rival.IsZero() {
		err := &plan.SplitBrain{Evidence: plan.Evidence{Dataset: dataset.Dataset{Path: r.Dataset}}, Ours: p.mark, Theirs: rival}
		answer.Conflicts = append(answer.Conflicts, control.ConflictLine{Peer: p.key.From, Conflict: *control.ErrorOf(d.worded(err))})
	}
	return answer, ctx.Err()
}

// rival is the mark that the source shows against that of a replica; zero for none.
func (d *Daemon) rival(p promotion) dataset.Mark {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rivals[p.key]
}

// cured remembers that a cure was applied.
func (d *Daemon) cured(c cure.Cure, path dataset.Path, does []string) {
	text := strings.Join(does, "; ")
	d.ledger.Record(ledger.Batch{Events: []ledger.Event{{At: d.Now(), Kind: "resolved", Dataset: path, Text: string(c) + ": " + text}}})
	d.Log.Warn().Stringer("dataset", path).Str("cure", string(c)).Msg("a conflict was resolved by command: " + text)
}

// firstCopy sends one although the job says initial = "fail".
func (s sending) firstCopy(ctx context.Context, r control.ResolveRequest) ([]string, error) {
	f, err := s.facts(ctx)
	if err != nil {
		return nil, err
	}
	var fits *plan.NotSeeded
	if _, err := replicate.Decide(ctx, s.w.source, f); !errors.As(err, &fits) {
		why := "nothing keeps a first copy back"
		if err != nil {
			why = err.Error()
		}
		return nil, &cure.UnfitError{Cure: cure.FirstCopy, Why: why, Then: "see `antipode plan " + s.w.job.ID + "`"}
	}
	f.Asked = true
	p, err := replicate.Decide(ctx, s.w.source, f)
	if err != nil {
		return nil, err
	}
	does := []string{fmt.Sprintf("sends %s to %s in whole, and what comes after it as increments", p.Steps[0].To.Name, s.peer)}
	if r.Preview {
		return does, nil
	}
	if err := s.d.firstCopies.Ask(wish.FirstCopy{Job: s.w.job.ID, Peer: s.peer, Dataset: f.Dataset}); err != nil {
		return nil, err
	}
	if err := s.w.couriers[s.peer].Begin(ctx, p); err != nil {
		s.d.firstCopies.GiveUp(s.w.job.ID, s.peer, s.path)
		return nil, err
	}
	s.d.cured(cure.FirstCopy, s.path, does)
	return does, nil
}

// giveWay takes the target's mark for ours.
func (s sending) giveWay(ctx context.Context, r control.ResolveRequest) ([]string, error) {
	f, err := s.facts(ctx)
	if err != nil {
		return nil, err
	}
	theirs := f.Far.Mark
	if err := cure.MayGiveWay(s.d.node(), f.Mark, theirs); err != nil {
		return nil, err
	}
	does := []string{
		fmt.Sprintf("takes %s for the primary of %s, in generation %d", theirs.Node, s.path, theirs.Generation),
		"makes the dataset read-only here, and sends nothing of it any more; nothing is destroyed",
	}
	if r.Preview {
		return does, nil
	}
	if err := s.w.running.take(ctx); err != nil { // no snapshot is made meanwhile
		return nil, fmt.Errorf("wait for the run before: %w", err)
	}
	defer s.w.running.give()
	for _, c := range s.w.couriers {
		c.Abort(s.path, errAborted)
	}
	if err := cure.Fence(ctx, s.w.source, s.path, f.Mark, theirs); err != nil {
		return nil, err
	}
	s.d.Board.Dataset(s.w.job.ID, s.path, func(line *status.Dataset) { line.Role, line.Generation = activate.Fenced.String(), theirs.Generation })
	s.d.watch.Clear(string(s.path))
	s.d.cured(cure.GiveWay, s.path, does)
	return does, nil
}

// targetGivesWay takes the source's mark for that of a replica, whose promotion is
// void then.
func (d *Daemon) targetGivesWay(ctx context.Context, r control.ResolveRequest) ([]string, error) {
	p, err := d.lookUpReplica(ctx, control.PromoteRequest{Dataset: r.Dataset, From: r.From})
	if err != nil {
		return nil, err
	}
	theirs := d.rival(p)
	if err := cure.MayGiveWay(d.node(), p.mark, theirs); err != nil {
		return nil, err
	}
	does := []string{
		fmt.Sprintf("takes %s for the primary of %s, in generation %d", theirs.Node, r.Dataset, theirs.Generation),
		"receives from it again; what is live here stays as it is, and what is written to it goes nowhere",
	}
	if p.isLiveItself() {
		does[1] = "makes the replica, which is live itself, a standby again: it is unmounted, and receives; refused if something was written after its newest snapshot"
	}
	if r.Preview {
		return does, nil
	}
	if err := p.waitForRetention(ctx); err != nil {
		return nil, err
	}
	defer p.room.tending.give()
	if err := p.rest(ctx); err != nil {
		return nil, err
	}
	if err := p.room.driver.SwapMark(ctx, r.Dataset, p.mark, theirs); err != nil {
		return nil, fmt.Errorf("record the primary of %s: %w", r.Dataset, err)
	}
	d.mu.Lock()
	delete(d.rivals, p.key)
	d.mu.Unlock()
	d.watch.Clear(string(r.Dataset))
	d.cured(cure.GiveWay, r.Dataset, does)
	d.background(func(ctx context.Context) { d.tendReplica(ctx, p.key.From, p.key.Dataset, p.room) })
	return does, nil
}

// dropNewer destroys the points of a replica that are newer than one.
func (d *Daemon) dropNewer(ctx context.Context, r control.ResolveRequest) ([]string, error) {
	p, err := d.lookUpReplica(ctx, control.PromoteRequest{Dataset: r.Dataset, From: r.From})
	if err != nil {
		return nil, err
	}
	if !r.Preview {
		if err := p.waitForRetention(ctx); err != nil {
			return nil, err
		}
		defer p.room.tending.give()
		if p, err = d.readReplica(ctx, p.key, p.room); err != nil {
			return nil, err
		}
	}
	if p.role == activate.Primary {
		return nil, &cure.UnfitError{Cure: cure.DropNewer, Why: "this node is primary of it", Then: "see `antipode status`"}
	}
	doomed, err := cure.Newer(p.points, r.After, p.room.input(p.points, p.mark, d))
	if err != nil {
		return nil, err
	}
	var does []string
	for _, v := range doomed {
		does = append(does, "destroys "+v.Snapshot.Name)
	}
	if r.Preview {
		return does, nil
	}
	done, err := prune.Execute(ctx, r.Dataset, doomed, p.room.driver)
	d.remember(ledger.Target, p.key.From, r.Dataset, done)
	if err != nil {
		return nil, err
	}
	d.cured(cure.DropNewer, r.Dataset, does)
	d.background(func(ctx context.Context) { d.tendReplica(ctx, p.key.From, p.key.Dataset, p.room) })
	return does, nil
}

// setAside makes a replica one of nobody's. The next round of its source finds another
// dataset's replica under the path, and sets that aside as it always does.
func (d *Daemon) setAside(ctx context.Context, r control.ResolveRequest) ([]string, error) {
	p, err := d.lookUpReplica(ctx, control.PromoteRequest{Dataset: r.Dataset, From: r.From})
	if err != nil {
		return nil, err
	}
	unfit := func(why, then string) error { return &cure.UnfitError{Cure: cure.SetAside, Why: why, Then: then} }
	driver, can := p.room.driver.(fsdrivers.Disowner)
	switch {
	case !can:
		return nil, unfit("its driver cannot", "rename the replica by hand to outside of `into`")
	case p.role == activate.Primary:
		return nil, unfit("this node is primary of it: its mark keeps it from being received into, and without it nobody would tell "+p.key.From+" to stop",
			fmt.Sprintf("leave it, and send what is live the other way by a job of its own; if %s was promoted too, let this side give way first (`antipode resolve %s --with give-way`): a standby can be set aside", p.key.From, r.Dataset))
	case len(p.points) == 0:
		return nil, unfit("it has no points", "nothing keeps a first copy back")
	}
	ids, err := p.room.held(ctx)
	if err != nil {
		return nil, err
	}
	does := []string{
		fmt.Sprintf("keeps the replica with its %d points for nobody, under retention; with the source's next run it is called %s.was-...", len(p.points), r.Dataset),
		"has the dataset sent in whole by that run, where its job says so",
	}
	if !p.mark.IsZero() {
		does = append(does, "keeps what was live of a former promotion as it is; on Btrfs, without `live`, it lies in the replica's directory and is called as that")
	}
	if r.Preview {
		return does, nil
	}
	if err := p.waitForRetention(ctx); err != nil {
		return nil, err
	}
	defer p.room.tending.give()
	if _, err := driver.Disown(ctx, dataset.Dataset{Path: r.Dataset, ID: ids[r.Dataset]}); err != nil {
		return nil, err
	}
	d.cured(cure.SetAside, r.Dataset, does)
	return does, nil
}
