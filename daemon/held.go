package daemon

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"antipode/daemon/control"
	"antipode/daemon/ledger"
	"antipode/daemon/policy"
	"antipode/daemon/prune"
	"antipode/daemon/send"
	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
)

// keeper is what a driver can do for what is kept, on either side.
type keeper interface {
	fsdrivers.Lister
	fsdrivers.Holder
	fsdrivers.HoldLister
	fsdrivers.Pinner
}

// shelf is one dataset on this node, on either side.
type shelf struct {
	job    *work // nil on a target
	room   *room // nil on a source
	from   string
	path   dataset.Path
	driver keeper
}

// kept names a snapshot of the shelf.
func (s shelf) kept(snap dataset.Snapshot) control.Kept {
	k := control.Kept{From: s.from, Dataset: s.path, Snapshot: snap.Name, Pin: snap.Pin}
	if s.job != nil {
		k.Job = s.job.job.ID
	}
	return k
}

// shelves are all datasets of this node, or those of one path. What could not be
// looked at, and may be meant, is in the error.
func (d *Daemon) shelves(ctx context.Context, path dataset.Path) ([]shelf, error) {
	var all []shelf
	var errs []error
	s := d.site()
	for _, id := range slices.Sorted(maps.Keys(s.jobs)) {
		w := s.jobs[id]
		if w.job.Forward != "" {
			continue // they are a room's
		}
		if path != "" && !w.job.Datasets.Match(path) {
			continue
		}
		paths, err := d.find(ctx, w)
		errs = append(errs, slices.DeleteFunc(apart(err), func(err error) bool {
			root, is := errors.AsType[*rootError](err)
			return errors.Is(err, errSelectNone) || path != "" && is && !root.holds(path)
		})...)
		for _, p := range paths {
			all = append(all, shelf{job: w, path: p, driver: w.source})
		}
	}
	for key, r := range s.rooms {
		if path != "" && string(policy.DriverOf(path)) != key.driver {
			continue
		}
		held, err := r.driver.Find(ctx, "/", true)
		if err != nil {
			errs = append(errs, fmt.Errorf("list the replicas of %s: %w", key.from, err))
		}
		for _, h := range held {
			all = append(all, shelf{room: r, from: key.from, path: h.Path, driver: r.driver})
		}
	}
	if path != "" {
		all = slices.DeleteFunc(all, func(s shelf) bool { return s.path != path })
	}
	slices.SortStableFunc(all, func(a, b shelf) int { return strings.Compare(a.from, b.from) })
	return all, errors.Join(errs...)
}

// names lists what a user may name. What cannot be listed has none.
func (d *Daemon) names(ctx context.Context, r control.NamesRequest) (control.NamesResponse, error) {
	answer := control.NamesResponse{Names: []string{}}
	shelves, _ := d.shelves(ctx, r.Dataset)
	for _, s := range shelves {
		if r.Dataset == "" {
			answer.Names = append(answer.Names, string(s.path))
			continue
		}
		list, err := s.driver.Snapshots(ctx, s.path)
		if err != nil {
			continue
		}
		for _, snap := range list {
			answer.Names = append(answer.Names, snap.Name)
		}
	}
	slices.Sort(answer.Names)
	answer.Names = slices.Compact(answer.Names)
	return answer, ctx.Err()
}

// found is a snapshot that a user named.
type found struct {
	shelf
	snap dataset.Snapshot
	list []dataset.Snapshot // all of its dataset
}

// parseRef reads DATASET@NAME or NAME, which has no path.
func parseRef(ref string) (path dataset.Path, name string, err error) {
	i := strings.LastIndexByte(ref, '@')
	if i < 0 {
		return "", ref, nil
	}
	if path, err = dataset.ParsePath(ref[:i]); err != nil {
		return "", "", &control.Error{Kind: control.KindUsage, Object: ref, Text: err.Error(), Next: "name it as DATASET@NAME, or as NAME"}
	}
	return path, ref[i+1:], nil
}

// lookUp finds what DATASET@NAME or NAME names on this node, on either side. Where some
// was found, problems tell what could not be looked at: there may be more.
func (d *Daemon) lookUp(ctx context.Context, ref string) (all []found, problems []control.Error, err error) {
	path, name, err := parseRef(ref)
	if err != nil {
		return nil, nil, err
	}
	shelves, listErr := d.shelves(ctx, path)
	for _, s := range shelves {
		list, err := s.driver.Snapshots(ctx, s.path)
		if err != nil {
			listErr = errors.Join(listErr, fmt.Errorf("list snapshots of %s: %w", s.path, err))
			continue
		}
		for _, snap := range list {
			if snap.Name == name {
				all = append(all, found{s, snap, list})
			}
		}
	}
	if len(all) > 0 {
		return all, d.problems(listErr), nil
	}
	if listErr != nil {
		return nil, nil, fmt.Errorf("look for %s: %w", ref, listErr)
	}
	return nil, nil, &control.Error{
		Kind: control.KindNotFound, Object: "snapshot " + ref, Text: "no dataset of this node has it",
		Next: "`antipode prune --dry-run --all` lists all snapshots of this node",
	}
}

// pin keeps snapshots until a time, or until they are unpinned.
func (d *Daemon) pin(ctx context.Context, r control.PinRequest) (control.PinResponse, error) {
	now := d.Now().UTC()
	p := dataset.Pin{Until: r.Until.UTC(), Why: r.Why, At: now}
	if r.Until.IsZero() {
		p.Until = time.Time{}
	}
	err := p.Validate()
	if err == nil && !p.Holds(now) {
		err = fmt.Errorf("the pin would have ended at %s, and this clock says %s", p.Until.Format(time.RFC3339), now.Format(time.RFC3339))
	}
	if err != nil {
		return control.PinResponse{}, &control.Error{Kind: control.KindUsage, Object: r.Snapshot, Text: err.Error(), Next: "see `antipode pin --help`"}
	}
	return d.setPins(ctx, r.Snapshot, &p)
}

// unpin takes pins off.
func (d *Daemon) unpin(ctx context.Context, r control.PinRequest) (control.PinResponse, error) {
	return d.setPins(ctx, r.Snapshot, nil)
}

func (d *Daemon) setPins(ctx context.Context, ref string, p *dataset.Pin) (control.PinResponse, error) {
	answer := control.PinResponse{Snapshots: []control.Kept{}}
	all, problems, err := d.lookUp(ctx, ref)
	if err != nil {
		return answer, err
	}
	answer.Problems = problems
	var errs []error
	for _, f := range all {
		kind, text := "unpinned", f.snap.Name
		if p != nil {
			kind, text = "pinned", text+" "+pinWords(*p)
			err = f.driver.Pin(ctx, f.path, f.snap, *p)
		} else {
			err = f.driver.Unpin(ctx, f.path, f.snap)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s of %s: %w", f.snap.Name, f.path, err))
			continue
		}
		f.snap.Pin = p
		answer.Snapshots = append(answer.Snapshots, f.kept(f.snap))
		d.ledger.Record(ledger.Batch{Events: []ledger.Event{{At: d.Now(), Kind: kind, Dataset: f.path, Text: text}}})
	}
	if len(answer.Snapshots) == 0 {
		return answer, errors.Join(errs...)
	}
	answer.Problems = append(answer.Problems, d.problems(errors.Join(errs...))...)
	return answer, nil
}

// pinWords tells until when a snapshot is pinned, and why.
func pinWords(p dataset.Pin) string {
	text := "until it is unpinned"
	if !p.Until.IsZero() {
		text = "until " + p.Until.UTC().Format("2006-01-02 15:04:05 UTC")
	}
	if p.Why != "" {
		text += ": " + p.Why
	}
	return text
}

// tags are all tags that the configuration can give a use, with what for.
func (s *site) tags() map[string]string {
	all := map[string]string{}
	for id, w := range s.jobs {
		for _, peer := range w.job.ReplicateTo {
			all[string(send.BaseTag(id, peer))] = "newest common point with " + peer
			all[string(send.StepTag(id, peer))] = "a step to " + peer + " needs it"
		}
	}
	return all
}

// holds lists what keeps snapshots, and first takes off what belongs to nothing any
// more, if that is asked for.
func (d *Daemon) holds(ctx context.Context, r control.HoldsRequest) (control.HoldsResponse, error) {
	answer := control.HoldsResponse{Now: d.Now(), Holds: []control.HoldLine{}}
	used := d.site().tags()
	shelves, err := d.shelves(ctx, "")
	answer.Problems = d.problems(err)
	if r.Release != "" {
		if answer.Released, err = d.releaseTag(ctx, r.Release, used, shelves); err != nil {
			return answer, err
		}
	}
	for _, s := range shelves {
		lines, err := d.holdLines(ctx, s, used)
		if err != nil {
			answer.Problems = append(answer.Problems, *control.ErrorOf(d.worded(fmt.Errorf("list holds of %s: %w", s.path, err))))
		}
		answer.Holds = append(answer.Holds, lines...)
	}
	return answer, ctx.Err()
}

func (d *Daemon) releaseTag(ctx context.Context, text string, used map[string]string, shelves []shelf) (int, error) {
	tag, err := dataset.ParseTag(text)
	if err != nil {
		return 0, &control.Error{Kind: control.KindUsage, Object: text, Text: err.Error(), Next: "`antipode holds` lists the tags"}
	}
	if why, is := used[text]; is {
		return 0, &control.Error{
			Kind: control.KindRefused, Object: "hold " + text, Text: "is in use: " + why,
			Next: "take the target out of replicate_to and reload, or give its base up with `antipode abandon`",
		}
	}
	released := 0
	for _, s := range shelves {
		before, err := s.driver.Holds(ctx, s.path)
		if err == nil && slices.ContainsFunc(before, func(h fsdrivers.Hold) bool { return h.Ours && h.Tag == text }) {
			if err = s.driver.Release(ctx, s.path, tag); err == nil {
				released++
				d.ledger.Record(ledger.Batch{Events: []ledger.Event{{At: d.Now(), Kind: "hold-released", Dataset: s.path, Text: text}}})
			}
		}
		if err != nil {
			return released, fmt.Errorf("release %s of %s: %w", text, s.path, err)
		}
	}
	if released == 0 {
		return 0, &control.Error{Kind: control.KindNotFound, Object: "hold " + text, Text: "keeps nothing on this node", Next: "`antipode holds` lists the tags"}
	}
	return released, nil
}

func (d *Daemon) holdLines(ctx context.Context, s shelf, used map[string]string) ([]control.HoldLine, error) {
	var lines []control.HoldLine
	holds, err := s.driver.Holds(ctx, s.path)
	for _, h := range holds {
		line := control.HoldLine{Kept: s.kept(dataset.Snapshot{Name: h.Snapshot}), Tag: h.Tag, Since: h.Since, Owner: control.OwnerOther, Why: "held by somebody else"}
		if h.Ours {
			line.Owner, line.Why = control.OwnerDaemon, used[h.Tag]
			if line.Why == "" && s.job != nil && isBaseOrStep(h.Tag) {
				line.Owner, line.Why = control.OwnerLeft, "of a job or a target that left the configuration; `antipode holds --release "+h.Tag+"` lets it go"
			}
		}
		lines = append(lines, line)
	}
	list, listErr := s.driver.Snapshots(ctx, s.path)
	for _, snap := range list {
		if snap.Pin == nil {
			continue
		}
		line := control.HoldLine{Kept: s.kept(snap), Owner: control.OwnerUser, Since: snap.Pin.At, Why: prune.Reason{Kind: prune.Pinned, Ref: snap.Pin.Why, At: snap.Pin.Until}.Text()}
		if !snap.Pin.Holds(d.Now()) {
			line.Why = "ended; was " + line.Why
		}
		lines = append(lines, line)
	}
	return lines, errors.Join(err, listErr)
}

func isBaseOrStep(tag string) bool {
	return strings.HasPrefix(tag, "base.") || strings.HasPrefix(tag, "step.")
}

// abandon gives up the common base with a peer that will not come back, or not
// before the disk is full.
func (d *Daemon) abandon(ctx context.Context, r control.AbandonRequest) (control.AbandonResponse, error) {
	w, err := d.job(r.Job)
	if err != nil {
		return control.AbandonResponse{}, err
	}
	c := w.couriers[r.Peer]
	if c == nil {
		return control.AbandonResponse{}, &control.Error{
			Kind: control.KindNotFound, Object: "peer " + r.Peer, Text: "job " + r.Job + " does not replicate to it",
			Next: fmt.Sprintf("it replicates to %v; holds of a target that left are released with `antipode holds --release`", w.job.ReplicateTo),
		}
	}
	list, err := w.source.Snapshots(ctx, r.Dataset)
	if err != nil {
		return control.AbandonResponse{}, fmt.Errorf("list snapshots of %s: %w", r.Dataset, err)
	}
	answer := control.AbandonResponse{FullCopy: control.Estimate{Kind: control.Unknown}}
	base := heldBase(list, r.Job, r.Peer)
	for _, s := range list {
		if s.ID == base {
			answer.Base, answer.BaseTime = s.Name, s.Created
		}
	}
	if len(list) > 0 {
		answer.FullCopy, answer.Takes = d.fullCopy(ctx, w, r.Dataset, list[len(list)-1])
	}
	if r.Preview {
		return answer, nil
	}
	d.firstCopies.GiveUp(r.Job, r.Peer, r.Dataset)
	c.Abort(r.Dataset, errAborted)
	for _, tag := range []dataset.Tag{send.StepTag(r.Job, r.Peer), send.BaseTag(r.Job, r.Peer)} {
		if err := w.source.Release(ctx, r.Dataset, tag); err != nil {
			return answer, fmt.Errorf("release %s of %s: %w", tag, r.Dataset, err)
		}
	}
	d.ledger.Record(ledger.Batch{Events: []ledger.Event{{
		At: d.Now(), Kind: "base-abandoned", Job: r.Job, Dataset: r.Dataset, Peer: r.Peer, Text: fmt.Sprintf("%s is no longer held as the base of %s", answer.Base, r.Peer),
	}}})
	return answer, nil
}

// fullCopy estimates what a first copy sends, and how long it takes.
func (d *Daemon) fullCopy(ctx context.Context, w *work, path dataset.Path, snap dataset.Snapshot) (control.Estimate, time.Duration) {
	found, err := w.source.Find(ctx, path, false)
	if err != nil || len(found) != 1 {
		return control.Estimate{Kind: control.Unknown}, 0
	}
	bytes, err := w.source.Estimate(ctx, dataset.Step{Job: w.job.ID, Dataset: found[0], To: snap})
	if err != nil {
		return control.Estimate{Kind: control.Unknown}, 0
	}
	p := d.passageOf(bytes, w.job)
	if p.open {
		p.takes = 0 // the link decides
	}
	return control.Estimate{Bytes: bytes, Kind: control.About}, p.takes
}
