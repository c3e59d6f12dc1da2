package target

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/cli"
	"antipode/fsdrivers/zfs/naming"
	"antipode/fsdrivers/zfs/pool"
	"antipode/fsdrivers/zfs/prop"
	"antipode/fsdrivers/zfs/stream"
)

// lineage is one dataset that holds points of a replica: a full copy and what was
// received on top of it.
type lineage struct {
	name   string
	path   dataset.Path
	source dataset.ID // of the live dataset on the source
	facts  pool.Facts
	seen   time.Time    // when the facts were read; zero unless for many at once
	list   []pool.Entry // what listAll read; none of a partial one
}

// snapshots are all of the lineage's, anybody's, in order.
func (l *lineage) snapshots() []pool.Entry {
	return slices.DeleteFunc(slices.Clone(l.list), func(e pool.Entry) bool { return !e.IsSnapshot() })
}

// replica is all lineages of a path. The one at its own place comes first.
type replica struct {
	path     dataset.Path
	home     string
	lineages []*lineage
}

// lineageProps is what is known of a lineage.
var lineageProps = prop.List("guid", "type", "receive_resume_token", "inconsistent", "written", "snapshots_changed", "encryption",
	prop.Path, prop.Source, prop.Incoming, prop.Key, prop.Rewind, prop.Mark, prop.Activation, prop.Live, prop.Move, prop.Placeholder)

// incoming is the step that a lineage takes in or took in last.
type incoming struct {
	Step    dataset.StepID `json:"step"`
	To      dataset.ID     `json:"to"`
	From    dataset.ID     `json:"from,omitzero"`
	Name    string         `json:"name"`
	Created time.Time      `json:"created"`
	Begun   time.Time      `json:"begun"` // by this host's clock
	Retain  time.Time      `json:"retain"`
}

func (in incoming) text() string {
	text, _ := json.Marshal(in) // of texts and times only: it cannot fail
	return string(text)
}

// incoming is zero where nothing was ever received, or by somebody else.
func (l *lineage) incoming() (in incoming) {
	if json.Unmarshal([]byte(l.facts[l.name][prop.Incoming]), &in) != nil {
		return incoming{}
	}
	return in
}

func (l *lineage) prop(name string) string { return l.facts[l.name][name] }

func (l *lineage) token() string { return l.prop("receive_resume_token") }

// isPartial reports whether the lineage's first point is not complete.
func (l *lineage) isPartial() bool { return l.prop("inconsistent") == "1" }

func (l *lineage) kind() stream.Kind {
	if l.prop("type") == "volume" {
		return stream.Volume
	}
	return stream.Filesystem
}

// lineages reads those below Into; with home those of one replica, and what is at
// its place.
func (t *Target) lineages(ctx context.Context, home string) ([]*lineage, error) {
	if err := t.ensurePrepared(ctx); err != nil {
		return nil, err
	}
	roots, depth := []string{t.opts.Into}, []string{"-r"}
	if home != "" {
		roots, depth = []string{home, t.own()}, []string{"-d", "1"}
	}
	f, err := t.zfs.Get(ctx, lineageProps, roots, append(depth, "-t", "filesystem,volume")...)
	if err != nil {
		return nil, err
	}
	all := lineagesOf(f)
	if home != "" {
		return all, nil
	}
	return slices.DeleteFunc(all, (*lineage).isForeign), nil
}

// lineagesOf makes one of each dataset, sorted by name.
func lineagesOf(f pool.Facts) []*lineage {
	all := make([]*lineage, 0, len(f))
	for name := range f {
		all = append(all, &lineage{name: name, path: dataset.Path(f[name][prop.Path]), source: dataset.ID(f[name][prop.Source]), facts: f})
	}
	slices.SortFunc(all, func(a, b *lineage) int { return cmp.Compare(a.name, b.name) })
	return all
}

// isForeign reports whether the dataset is none of a replica's: a placeholder, or
// somebody else's.
func (l *lineage) isForeign() bool {
	_, err := naming.GUIDOf(l.source)
	_, perr := dataset.ParsePath(string(l.path))
	return err != nil || perr != nil
}

// replica reads the lineages of d. One of which nothing was received has none.
func (t *Target) replica(ctx context.Context, d dataset.Path) (*replica, error) {
	home, err := t.targetName(d)
	if err != nil {
		return nil, err
	}
	all, err := t.lineages(ctx, home)
	if err != nil {
		return nil, err
	}
	return newReplica(d, home, all), nil
}

// newReplica picks its lineages.
func newReplica(d dataset.Path, home string, all []*lineage) *replica {
	r := &replica{path: d, home: home}
	for _, l := range all {
		switch {
		case l.isForeign() || l.path != d:
		case l.name == home:
			r.lineages = slices.Insert(r.lineages, 0, l)
		default:
			r.lineages = append(r.lineages, l)
		}
	}
	return r
}

// listAll lists the complete lineages.
func (t *Target) listAll(ctx context.Context, r *replica) error {
	for _, l := range r.lineages {
		if l.isPartial() {
			continue
		}
		list, err := t.zfs.List(ctx, l.name)
		if cli.Unless(err, dataset.ErrNotFound) != nil {
			return err
		}
		l.list = list
	}
	return nil
}

// points lists what is complete, in all lineages, sorted by Order.
func (t *Target) points(ctx context.Context, r *replica) ([]dataset.Snapshot, error) {
	var all []dataset.Snapshot
	for _, l := range r.lineages {
		if l.isPartial() {
			continue
		}
		list, err := t.lists.Snapshots(ctx, t.zfs, t.clock, r.path, l.name, l.guard(), nil)
		if cli.Unless(err, dataset.ErrNotFound) != nil {
			return nil, fmt.Errorf("snapshots of %s: %w", r.path, err)
		}
		for i := range list {
			l.complete(&list[i])
		}
		all = append(all, list...)
	}
	slices.SortStableFunc(all, func(a, b dataset.Snapshot) int { return cmp.Compare(a.Order, b.Order) })
	return all, nil
}

// complete fills in the times of a point whose own were not written, because the
// daemon died right after the receive.
func (l *lineage) complete(s *dataset.Snapshot) {
	in := l.incoming()
	if !s.Received.IsZero() || in.To != s.ID {
		return
	}
	s.Created, s.Received, s.Retain = in.Created.UTC(), in.Begun.UTC(), in.Retain.UTC()
}

// lineageOf finds the lineage that holds a point. Errors: ErrNotFound, ErrChanged
// where its name has another identity.
func (t *Target) lineageOf(ctx context.Context, d dataset.Path, s dataset.Snapshot) (*lineage, error) {
	r, err := t.replica(ctx, d)
	if err != nil {
		return nil, err
	}
	if err := naming.Own(s.Name); err != nil {
		return nil, err
	}
	if err := t.listAll(ctx, r); err != nil {
		return nil, err
	}
	var named *lineage
	for _, l := range r.lineages {
		for _, e := range l.snapshots() {
			switch {
			case e.ID() == s.ID && e.Short() == s.Name:
				return l, nil
			case e.Short() == s.Name:
				named = l
			}
		}
	}
	if named != nil {
		return nil, fmt.Errorf("%s@%s has another identity than %s: %w", named.name, s.Name, s.ID, dataset.ErrChanged)
	}
	return nil, fmt.Errorf("%s (%s) of %s: %w", s.Name, s.ID, d, dataset.ErrNotFound)
}
