package standby

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
	"antipode/fsdrivers/zfs/token"
)

// Lineage is one dataset that holds points of a replica: a full copy and what was
// received on top of it.
type Lineage struct {
	Name   string
	Path   dataset.Path
	Source dataset.ID // of the live dataset on the source
	Facts  pool.Facts
	List   []pool.Entry // what ListAll read; none of a partial one

	seen time.Time // when the facts were read; zero where nothing is kept
}

// Snapshots are all of the lineage's, anybody's, in order.
func (l *Lineage) Snapshots() []pool.Entry {
	return slices.DeleteFunc(slices.Clone(l.List), func(e pool.Entry) bool { return !e.IsSnapshot() })
}

// Replica is all lineages of a path. The one at its own place comes first.
type Replica struct {
	Path     dataset.Path
	Home     string
	Lineages []*Lineage
	// Encrypts reports whether this host encrypts a new lineage that comes plain. Only
	// Into.Replica tells.
	Encrypts bool
}

// lineageProps is what is known of a lineage.
var lineageProps = prop.List("guid", "type", "receive_resume_token", "inconsistent", "written", "snapshots_changed", "encryption",
	prop.Path, prop.Source, prop.Incoming, prop.Key, prop.Rewind, prop.Mark, prop.Activation, prop.Live, prop.Move, prop.Placeholder)

// Incoming is the step that a lineage takes in or took in last.
type Incoming struct {
	Step    dataset.StepID `json:"step"`
	To      dataset.ID     `json:"to"`
	From    dataset.ID     `json:"from,omitzero"`
	Name    string         `json:"name"`
	Created time.Time      `json:"created"`
	Begun   time.Time      `json:"begun"` // by this host's clock
	Retain  time.Time      `json:"retain"`
}

// Text is the value of the property.
func (in Incoming) Text() string {
	text, _ := json.Marshal(in) // of texts and times only: it cannot fail
	return string(text)
}

// Incoming is zero where nothing was ever received, or by somebody else.
func (l *Lineage) Incoming() (in Incoming) {
	if json.Unmarshal([]byte(l.Facts[l.Name][prop.Incoming]), &in) != nil {
		return Incoming{}
	}
	return in
}

// Prop is a property of the lineage; "" if it has none.
func (l *Lineage) Prop(name string) string { return l.Facts[l.Name][name] }

// Token is the resume token of an unfinished receive.
func (l *Lineage) Token() string { return l.Prop("receive_resume_token") }

// IsPartial reports whether the lineage's first point is not complete.
func (l *Lineage) IsPartial() bool { return l.Prop("inconsistent") == "1" }

// Kind tells a volume from a filesystem.
func (l *Lineage) Kind() stream.Kind {
	if l.Prop("type") == "volume" {
		return stream.Volume
	}
	return stream.Filesystem
}

// Lineages reads those below Into; with home those of one replica, and what is at
// its place.
func (i *Into) Lineages(ctx context.Context, home string) ([]*Lineage, error) {
	if err := i.EnsurePrepared(ctx); err != nil {
		return nil, err
	}
	roots, depth := []string{i.Name}, []string{"-r"}
	if home != "" {
		roots, depth = []string{home, i.Own()}, []string{"-d", "1"}
	}
	f, err := i.zfs.Get(ctx, lineageProps, roots, append(depth, "-t", "filesystem,volume")...)
	if err != nil {
		return nil, err
	}
	all := lineagesOf(f)
	if home != "" {
		return all, nil
	}
	return slices.DeleteFunc(all, (*Lineage).isForeign), nil
}

// lineagesOf makes one of each dataset, sorted by name.
func lineagesOf(f pool.Facts) []*Lineage {
	all := make([]*Lineage, 0, len(f))
	for name := range f {
		all = append(all, &Lineage{Name: name, Path: dataset.Path(f[name][prop.Path]), Source: dataset.ID(f[name][prop.Source]), Facts: f})
	}
	slices.SortFunc(all, func(a, b *Lineage) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// isForeign reports whether the dataset is none of a replica's: a placeholder, or
// somebody else's.
func (l *Lineage) isForeign() bool {
	_, err := naming.GUIDOf(l.Source)
	_, perr := dataset.ParsePath(string(l.Path))
	return err != nil || perr != nil
}

// Replica reads the lineages of d. One of which nothing was received has none.
func (i *Into) Replica(ctx context.Context, d dataset.Path) (*Replica, error) {
	home, err := i.Home(d)
	if err != nil {
		return nil, err
	}
	all, err := i.Lineages(ctx, home)
	if err != nil {
		return nil, err
	}
	r := NewReplica(d, home, all)
	r.Encrypts = len(all) > 0 && all[0].Facts.IsEncrypted(i.Own())
	return r, nil
}

// NewReplica picks its lineages.
func NewReplica(d dataset.Path, home string, all []*Lineage) *Replica {
	r := &Replica{Path: d, Home: home}
	for _, l := range all {
		switch {
		case l.isForeign() || l.Path != d:
		case l.Name == home:
			r.Lineages = slices.Insert(r.Lineages, 0, l)
		default:
			r.Lineages = append(r.Lineages, l)
		}
	}
	return r
}

// ListAll lists the complete lineages.
func (i *Into) ListAll(ctx context.Context, r *Replica) error {
	for _, l := range r.Lineages {
		if l.IsPartial() {
			continue
		}
		list, err := i.zfs.List(ctx, l.Name)
		if cli.Unless(err, dataset.ErrNotFound) != nil {
			return err
		}
		l.List = list
	}
	return nil
}

// Points lists what is complete, in all lineages, sorted by Order.
func (i *Into) Points(ctx context.Context, r *Replica) ([]dataset.Snapshot, error) {
	var all []dataset.Snapshot
	for _, l := range r.Lineages {
		if l.IsPartial() {
			continue
		}
		list, err := i.lists.Snapshots(ctx, i.zfs, i.now, r.Path, l.Name, l.guard(), nil)
		if cli.Unless(err, dataset.ErrNotFound) != nil {
			return nil, fmt.Errorf("snapshots of %s: %w", r.Path, err)
		}
		for _, s := range list {
			if l.Complete(&s); l.Prop(prop.Live) != prop.On || !s.Received.IsZero() { // else a job made it on what is live
				all = append(all, s)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b dataset.Snapshot) int { return cmp.Compare(a.Order, b.Order) })
	return all, nil
}

// Complete fills in the times of a point whose own were not written, because the
// daemon died right after the receive.
func (l *Lineage) Complete(s *dataset.Snapshot) {
	in := l.Incoming()
	if !s.Received.IsZero() || in.To != s.ID {
		return
	}
	s.Created, s.Received, s.Retain = in.Created.UTC(), in.Begun.UTC(), in.Retain.UTC()
}

// LineageOf finds the lineage that holds a point. Errors: ErrNotFound, ErrChanged
// where its name has another identity.
func (i *Into) LineageOf(ctx context.Context, d dataset.Path, s dataset.Snapshot) (*Lineage, error) {
	r, err := i.Replica(ctx, d)
	if err != nil {
		return nil, err
	}
	if err := naming.Own(s.Name); err != nil {
		return nil, err
	}
	if err := i.ListAll(ctx, r); err != nil {
		return nil, err
	}
	var named *Lineage
	for _, l := range r.Lineages {
		for _, e := range l.Snapshots() {
			switch {
			case e.ID() == s.ID && e.Short() == s.Name:
				return l, nil
			case e.Short() == s.Name:
				named = l
			}
		}
	}
	if named != nil {
		return nil, fmt.Errorf("%s@%s has another identity than %s: %w", named.Name, s.Name, s.ID, dataset.ErrChanged)
	}
	return nil, fmt.Errorf("%s (%s) of %s: %w", s.Name, s.ID, d, dataset.ErrNotFound)
}

// Checkpoint is zero where there is no token, or one of another step than the
// lineage's: that state is good for nothing.
func (l *Lineage) Checkpoint() dataset.Checkpoint {
	in := l.Incoming()
	t, err := token.Parse(l.Token())
	if err != nil || naming.IDOf(t.ToGUID) != in.To || len(l.Token()) > dataset.MaxCheckpointBytes {
		return dataset.Checkpoint{}
	}
	if in.From.IsZero() != (t.FromGUID == 0) || t.FromGUID != 0 && naming.IDOf(t.FromGUID) != in.From {
		return dataset.Checkpoint{}
	}
	return dataset.Checkpoint{Kind: stream.CheckpointKind, Step: in.Step, Done: int64(min(t.Bytes, 1<<62)), Opaque: []byte(l.Token())}
}

// Live is the lineage that was activated in place, or nil.
func (r *Replica) Live() *Lineage {
	if r == nil {
		return nil
	}
	for _, l := range r.Lineages {
		if l.Prop(prop.Live) == prop.On {
			return l
		}
	}
	return nil
}

// Inert are the properties that keep a replica from acting by itself.
func Inert(kind stream.Kind) []string {
	if kind == stream.Volume {
		return []string{"readonly=on", "volmode=none", "snapdev=hidden"}
	}
	return []string{
		"readonly=on", "canmount=noauto", "mountpoint=none", "setuid=off", "devices=off", "exec=off",
		"sharenfs=off", "sharesmb=off", "snapdir=hidden",
	}
}
