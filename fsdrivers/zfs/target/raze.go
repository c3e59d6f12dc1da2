package target

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/cli"
	"antipode/fsdrivers/zfs/naming"
	"antipode/fsdrivers/zfs/pool"
	"antipode/fsdrivers/zfs/prop"
	"antipode/fsdrivers/zfs/standby"
)

var (
	_ fsdrivers.ManyDestroyer = (*Target)(nil)
	_ fsdrivers.Freer         = (*Target)(nil)
)

// Destroy implements fsdrivers.Destroyer.
func (t *Target) Destroy(ctx context.Context, d dataset.Path, snap dataset.Snapshot) error {
	return t.DestroyAll(ctx, d, []dataset.Snapshot{snap})[0]
}

// DestroyAll implements fsdrivers.ManyDestroyer, in one lineage after the other.
func (t *Target) DestroyAll(ctx context.Context, d dataset.Path, list []dataset.Snapshot) []error {
	release, err := t.into.Claim(d)
	if errors.Is(err, dataset.ErrBusy) {
		release = func() {} // a receive runs: its base is kept by the kernel
	}
	defer release()
	t.into.Places.RLock()
	defer t.into.Places.RUnlock()
	defer t.into.Changed(d)()
	r, err := t.into.Replica(ctx, d)
	if err == nil {
		err = t.into.ListAll(ctx, r)
	}
	if err != nil {
		return pool.AnswerAll(list, cli.Unless(err, dataset.ErrNotFound))
	}
	places, answers := placesOf(r, list)
	var stop error
	for _, l := range r.Lineages {
		at := places[l]
		some := make([]dataset.Snapshot, len(at))
		for n, i := range at {
			some[n] = list[i]
		}
		got := pool.AnswerAll(some, stop)
		if stop == nil {
			got = t.destroyIn(ctx, l, some)
		}
		for n, i := range at {
			if answers[i] = got[n]; got[n] != nil && !pool.ConcernsOne(got[n]) {
				stop = got[n]
			}
		}
	}
	return answers
}

// placesOf tells which of a list each lineage has, and answers for what has another
// identity. A name that is not ours ends the list.
func placesOf(r *standby.Replica, list []dataset.Snapshot) (map[*standby.Lineage][]int, []error) {
	ids := make(map[*standby.Lineage]map[string]dataset.ID)
	for _, l := range r.Lineages {
		ids[l] = make(map[string]dataset.ID)
		for _, e := range l.Snapshots() {
			ids[l][e.Short()] = e.ID()
		}
	}
	places, answers := make(map[*standby.Lineage][]int), make([]error, len(list))
	for i, snap := range list {
		if err := naming.Own(snap.Name); err != nil {
			copy(answers[i:], pool.AnswerAll(list[i:], err))
			break
		}
		for _, l := range r.Lineages {
			id, taken := ids[l][snap.Name]
			if taken && id == snap.ID {
				places[l], answers[i] = append(places[l], i), nil
				break
			}
			if taken {
				answers[i] = fmt.Errorf("%s@%s is %s, not the snapshot %s: %w", l.Name, snap.Name, id, snap.ID, dataset.ErrChanged)
			}
		}
	}
	return places, answers
}

// destroyIn destroys points of one lineage. Its newest goes last, and by itself.
func (t *Target) destroyIn(ctx context.Context, l *standby.Lineage, some []dataset.Snapshot) []error {
	all := l.Snapshots()
	isNewest := func(s dataset.Snapshot) bool { return s.ID == all[len(all)-1].ID() }
	at := slices.IndexFunc(some, isNewest)
	if at < 0 || l.Prop("written") != "0" || l.Token() != "" || l.Prop(prop.Live) != "" {
		return t.zfs.Raze(ctx, l.Name, some)
	}
	newest, older := some[at], slices.Delete(slices.Clone(some), at, at+1)
	answers := t.zfs.Raze(ctx, l.Name, older)
	gone := make(map[dataset.ID]bool)
	for n, err := range answers {
		if gone[older[n].ID] = err == nil; err != nil && !pool.ConcernsOne(err) {
			return slices.Insert(answers, at, err)
		}
	}
	all = slices.DeleteFunc(all[:len(all)-1], func(e pool.Entry) bool { return gone[e.ID()] })
	return slices.Insert(answers, at, t.destroyNewest(ctx, l, newest, all))
}

// destroyNewest destroys the newest point of a lineage in which nothing was written
// since. The head goes back to the newest of those that are left, or no increment
// would fit; without any the lineage goes too, unless something else needs it.
func (t *Target) destroyNewest(ctx context.Context, l *standby.Lineage, newest dataset.Snapshot, left []pool.Entry) error {
	back := ""
	if len(left) > 0 {
		back = string(left[len(left)-1].ID())
		if err := t.zfs.Set(ctx, l.Name, prop.Rewind, back); err != nil {
			return err
		}
	}
	err := t.zfs.Raze(ctx, l.Name, []dataset.Snapshot{newest})[0]
	switch {
	case err != nil && back != "":
		return errors.Join(err, t.zfs.Unset(ctx, l.Name, prop.Rewind))
	case err != nil:
		return err
	case back != "":
		return t.zfs.Rewind(ctx, l.Name, back)
	}
	return t.destroyEmpty(ctx, l)
}

// destroyEmpty destroys a lineage without a point, if nothing else needs it. What has its
// name by now may be another dataset, or have got a mark.
func (t *Target) destroyEmpty(ctx context.Context, l *standby.Lineage) error {
	f, err := t.zfs.Get(ctx, prop.List("guid", prop.Mark, prop.Activation), []string{l.Name})
	if err != nil {
		return cli.Unless(err, dataset.ErrNotFound)
	}
	is := f[l.Name]
	if is["guid"] != l.Prop("guid") || is[prop.Mark] != "" || is[prop.Activation] != "" {
		return nil
	}
	// Without -r or -f: what has something below it stays.
	_, err = t.zfs.Run(ctx, l.Name, "destroy", l.Name)
	return cli.Unless(err, dataset.ErrHeld, dataset.ErrBusy, dataset.ErrNotFound)
}

// Frees implements fsdrivers.Freer.
func (t *Target) Frees(ctx context.Context, d dataset.Path, list []dataset.Snapshot) (sum int64, err error) {
	t.into.Places.RLock()
	defer t.into.Places.RUnlock()
	r, err := t.into.Known(ctx, d)
	if err != nil {
		return 0, fmt.Errorf("ask what goes with points of %s: %w", d, err)
	}
	for _, l := range r.Lineages {
		if l.IsPartial() {
			continue
		}
		bytes, err := t.zfs.Frees(ctx, l.Name, list)
		if err != nil {
			return 0, err
		}
		sum += bytes
	}
	return sum, nil
}
