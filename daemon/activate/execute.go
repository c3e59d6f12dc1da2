package activate

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
)

// Lister reads the complete recovery points of a replica.
type Lister interface {
	Snapshots(ctx context.Context, d dataset.Path) ([]dataset.Snapshot, error)
}

// Marker reads and durably replaces the mark of a replica. SwapMark answers
// dataset.ErrChanged when the mark is not old any more.
type Marker interface {
	Mark(ctx context.Context, d dataset.Path) (dataset.Mark, error)
	SwapMark(ctx context.Context, d dataset.Path, old, next dataset.Mark) error
}

// Activator makes a writable copy of a point at the replica's live path and
// sets aside what was there. The same snapshot and aside again is success.
type Activator interface {
	Activate(ctx context.Context, d dataset.Path, s dataset.Snapshot, aside string) (fsdrivers.Activated, error)
}

// InPlacer makes the replica itself live, and says before that what stands against
// it. The same snapshot again is success.
type InPlacer interface {
	MayActivateInPlace(ctx context.Context, d dataset.Path, s dataset.Snapshot) error
	ActivateInPlace(ctx context.Context, d dataset.Path, s dataset.Snapshot) (fsdrivers.Activated, error)
}

// Parts are what a promotion is carried out with.
type Parts struct {
	Lister    Lister
	Marker    Marker
	Activator Activator
	InPlacer  InPlacer // nil where the file system cannot
	// EndReceives ends every receive into the replica and returns when none is
	// left, so that the newest point is final.
	EndReceives func(ctx context.Context, d dataset.Path) error
	Now         func() time.Time
}

// Promotion is what an operator asked for.
type Promotion struct {
	Dataset dataset.Path
	State   State
	ID      dataset.ActivationID // drawn for this promotion; unused when one is finished
	Force   bool
	InPlace bool // the replica itself goes live; one that is finished goes the way of its mark
}

// Facts are what a promotion came to.
type Facts struct {
	State State `json:"state"` // the state to go on with
	// Point is the recovery point that is live now; zero for a primary that
	// goes on with its own live data.
	Point    dataset.Snapshot `json:"point,omitzero"`
	Age      time.Duration    `json:"age"` // of the point when the promotion began: what is lost
	Live     string           `json:"live,omitempty"`
	SetAside string           `json:"set_aside,omitempty"`
	Took     time.Duration    `json:"took"`
	Resumed  bool             `json:"resumed"` // an earlier promotion was finished, or had been
}

// AsideName is the name under which a promotion sets aside what was live. It
// depends on nothing but the generation, so that a repeated one finds it. It has
// not the prefix of snapshots, which no driver takes for anything else.
func AsideName(generation uint64) string {
	return fmt.Sprintf("diverged-%d", generation)
}

// Execute promotes. Its order: receives are ended, so that no point appears
// any more; the newest complete point is chosen; the mark that names it is written
// durably; only then does the live copy appear. From the mark on this node
// refuses to be received into (G3), so a live copy is never without its fence. The
// mark says too whether a copy or the replica itself goes live; what stands against
// the latter is found before it is written.
//
// Cut off at any point and called again it has the same result: a mark on the
// disk that names this node is the promotion that was begun, with its activation
// id, its way and its recovery point, whatever was received since. Errors: those of Step
// for Asked; dataset.ErrChanged if somebody else changed the mark;
// dataset.ErrNotFound if the point that the mark names is gone.
func Execute(ctx context.Context, p Promotion, parts Parts) (Facts, error) {
	r := run{Promotion: p, parts: parts, began: parts.Now()}
	facts, err := r.promote(ctx)
	if err != nil {
		return Facts{}, fmt.Errorf("promote %s on %s: %w", p.Dataset, p.State.Node, err)
	}
	return facts, nil
}

// run is one promotion under way.
type run struct {
	Promotion
	parts  Parts
	began  time.Time
	disk   dataset.Mark       // the mark as it was found
	points []dataset.Snapshot // complete ones, oldest first
}

func (r *run) promote(ctx context.Context) (Facts, error) {
	if err := r.precheck(); err != nil {
		return Facts{}, err
	}
	if err := r.parts.EndReceives(ctx, r.Dataset); err != nil {
		return Facts{}, fmt.Errorf("end receives: %w", err)
	}
	if err := r.look(ctx); err != nil {
		return Facts{}, err
	}
	next, effects, err := Step(r.State, Asked{Base: r.newest().ID, ID: r.ID, Force: r.Force, InPlace: r.InPlace})
	if err == nil && slices.Contains(effects, WriteMark) && slices.Contains(effects, MakeLive) {
		err = r.mayGoLive(ctx, next.Mark)
	}
	if err != nil {
		return Facts{}, err
	}
	facts := Facts{State: next, Resumed: !slices.Contains(effects, WriteMark)}
	if err := r.carryOut(ctx, effects, &facts); err != nil {
		return Facts{}, err
	}
	facts.Took = r.parts.Now().Sub(r.began)
	return facts, nil
}

// precheck refuses what cannot succeed before a receive is ended for it. Which
// point is newest is not known yet, so any base will do.
func (r *run) precheck() error {
	if r.State.Role == Seeding {
		return nil // the last receive may have completed the first point: the list decides
	}
	const someBase = dataset.ID("0")
	_, _, err := Step(r.State, Asked{Base: someBase, ID: r.ID, Force: r.Force})
	return err
}

// look reads the disk and corrects what the caller believed by it.
func (r *run) look(ctx context.Context) error {
	var err error
	if r.disk, err = r.parts.Marker.Mark(ctx, r.Dataset); err != nil {
		return fmt.Errorf("read the mark: %w", err)
	}
	if r.points, err = r.parts.Lister.Snapshots(ctx, r.Dataset); err != nil {
		return fmt.Errorf("list recovery points: %w", err)
	}
	slices.SortFunc(r.points, func(a, b dataset.Snapshot) int {
		return cmp.Or(cmp.Compare(a.Order, b.Order), cmp.Compare(a.ID, b.ID))
	})
	switch {
	case r.disk.Same(r.State.Mark):
	case r.disk.Node == r.State.Node && r.disk.Generation > r.State.Mark.Generation:
		r.State.Role, r.State.Mark = Primary, r.disk
	default:
		return fmt.Errorf("the mark on the disk is of generation %d, not %d: %w", r.disk.Generation, r.State.Mark.Generation, dataset.ErrChanged)
	}
	if len(r.points) > 0 && r.State.Role == Seeding {
		r.State.Role = Standby
	}
	return nil
}

func (r *run) newest() dataset.Snapshot {
	if len(r.points) == 0 {
		return dataset.Snapshot{}
	}
	return r.points[len(r.points)-1]
}

func (r *run) carryOut(ctx context.Context, effects []Effect, facts *Facts) error {
	for _, e := range effects {
		switch e {
		case WriteMark:
			if err := r.parts.Marker.SwapMark(ctx, r.Dataset, r.disk, facts.State.Mark); err != nil {
				return fmt.Errorf("write the mark of generation %d: %w", facts.State.Mark.Generation, err)
			}
		case MakeLive:
			if err := r.makeLive(ctx, facts); err != nil {
				return err
			}
		}
	}
	return nil
}

// mayGoLive refuses before the mark is written what could not be finished after it.
func (r *run) mayGoLive(ctx context.Context, m dataset.Mark) error {
	switch {
	case !m.InPlace:
		return nil
	case r.parts.InPlacer == nil:
		return errNoInPlace
	}
	return r.parts.InPlacer.MayActivateInPlace(ctx, r.Dataset, r.newest())
}

func (r *run) makeLive(ctx context.Context, facts *Facts) error {
	m := facts.State.Mark
	i := slices.IndexFunc(r.points, func(s dataset.Snapshot) bool { return s.ID == m.Base })
	if i < 0 {
		return fmt.Errorf("recovery point %s of generation %d is not in the replica, so what is live stays as it is: %w", m.Base, m.Generation, dataset.ErrNotFound)
	}
	point := r.points[i]
	at, err := r.activate(ctx, m, point)
	if err != nil {
		return fmt.Errorf("make %s live: %w", point.Name, err)
	}
	facts.Point, facts.Age = point, max(0, r.began.Sub(point.Retain))
	facts.Live, facts.SetAside = at.Live, at.SetAside
	return nil
}

// activate goes the way that the mark says.
func (r *run) activate(ctx context.Context, m dataset.Mark, point dataset.Snapshot) (fsdrivers.Activated, error) {
	switch {
	case !m.InPlace:
		return r.parts.Activator.Activate(ctx, r.Dataset, point, AsideName(m.Generation))
	case r.parts.InPlacer == nil:
		return fsdrivers.Activated{}, errNoInPlace
	}
	return r.parts.InPlacer.ActivateInPlace(ctx, r.Dataset, point)
}
