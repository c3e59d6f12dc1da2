package activate

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
)

var errKilled = errors.New("killed")

// disk is a replica in memory. It is killed at the call number killAt, before
// or after the call has its effect.
type disk struct {
	mark   dataset.Mark
	points []dataset.Snapshot
	live   dataset.ID // what the live copy was made of; "" for none
	asides []string
	log    []string
	now    time.Time

	killAt int
	after  bool
	calls  int
}

func newDisk(points ...dataset.ID) *disk {
	d := &disk{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), killAt: -1}
	for _, id := range points {
		d.receive(id)
	}
	return d
}

func (d *disk) receive(id dataset.ID) {
	n := len(d.points) + 1
	d.points = append(d.points, dataset.Snapshot{
		Name: "antipode_db_" + string(id), ID: id, Order: uint64(n), Retain: d.now.Add(time.Duration(n-10) * time.Minute),
	})
}

// call runs effect unless the process is killed around it.
func (d *disk) call(name string, effect func() error) error {
	killed := d.calls == d.killAt
	d.calls++
	if killed && !d.after {
		return errKilled
	}
	d.log = append(d.log, name)
	if err := effect(); err != nil {
		return err
	}
	if killed {
		return errKilled
	}
	return nil
}

func (d *disk) EndReceives(context.Context, dataset.Path) error {
	return d.call("end-receives", func() error { return nil })
}

func (d *disk) Mark(context.Context, dataset.Path) (m dataset.Mark, err error) {
	err = d.call("mark", func() error { m = d.mark; return nil })
	return m, err
}

func (d *disk) Snapshots(context.Context, dataset.Path) (list []dataset.Snapshot, err error) {
	err = d.call("snapshots", func() error { list = append(list, d.points...); return nil })
	return list, err
}

func (d *disk) SwapMark(_ context.Context, _ dataset.Path, old, next dataset.Mark) error {
	return d.call(fmt.Sprintf("swap-mark %d", next.Generation), func() error {
		if !reflect.DeepEqual(d.mark, old) {
			return dataset.ErrChanged
		}
		d.mark = next
		return nil
	})
}

func (d *disk) Activate(_ context.Context, _ dataset.Path, s dataset.Snapshot, aside string) (at fsdrivers.Activated, err error) {
	err = d.call("activate "+string(s.ID), func() error {
		if d.mark.Base != s.ID {
			return fmt.Errorf("the live copy of %s appears before a mark that names it", s.ID)
		}
		d.set(s.ID, aside)
		at = fsdrivers.Activated{Live: "/live", SetAside: strings.Join(d.asides, " ")}
		return nil
	})
	return at, err
}

func (d *disk) set(live dataset.ID, aside string) {
	if d.live == live {
		return
	}
	if d.live != "" {
		d.asides = append(d.asides, aside)
	}
	d.live = live
}

func (d *disk) parts() Parts {
	return Parts{Lister: d, Marker: d, Activator: d, EndReceives: d.EndReceives, Now: func() time.Time { return d.now }}
}

// promote asks as the daemon does after a start: the role comes from the disk.
func (d *disk) promote(ctx context.Context, id string, force bool) (Facts, error) {
	s, _, err := Step(State{Node: "sin1"}, Restarted{Mark: d.mark, Points: len(d.points) > 0, Live: d.live != ""})
	if err != nil {
		return Facts{}, err
	}
	return Execute(ctx, Promotion{Dataset: "/data/db", State: s, ID: activation(id), Force: force}, d.parts())
}

func TestExecutePromotesTheNewestPoint(t *testing.T) {
	d := newDisk("a", "b", "c")
	d.points[0], d.points[2] = d.points[2], d.points[0] // a listing in any order
	facts, err := d.promote(t.Context(), "x", false)
	if err != nil {
		t.Fatal(err)
	}
	wantLog := "end-receives, mark, snapshots, swap-mark 1, activate c"
	if got := strings.Join(d.log, ", "); got != wantLog {
		t.Errorf("did %s, want %s", got, wantLog)
	}
	if facts.Point.ID != "c" || facts.Age != 7*time.Minute || facts.Live != "/live" || facts.Resumed {
		t.Errorf("facts %+v, want point c of 7 minutes ago at /live", facts)
	}
	want := dataset.Activation{Generation: 1, ID: activation("x"), Node: "sin1", Base: "c"}
	if d.mark.Activation != want || facts.State.Role != Primary || !facts.State.Mark.Same(d.mark) {
		t.Errorf("mark %+v and state %+v, want %+v and primary", d.mark, facts.State, want)
	}
}

func TestExecuteSetsAsideWhatWasLive(t *testing.T) {
	d := newDisk("a", "b")
	d.mark, d.live = line("sin1 fra1"), "former"
	if _, err := d.promote(t.Context(), "x", false); !errors.Is(err, dataset.ErrRefused) {
		t.Fatalf("an outdated node: %v, want refused without force", err)
	}
	if d.log != nil {
		t.Errorf("did %v before it refused, want nothing", d.log)
	}
	facts, err := d.promote(t.Context(), "x", true)
	if err != nil {
		t.Fatal(err)
	}
	if facts.SetAside != "diverged-3" || d.live != "b" || d.mark.Generation != 3 {
		t.Errorf("live %s of generation %d, set aside %q; want b, 3, diverged-3", d.live, d.mark.Generation, facts.SetAside)
	}
}

// Killed at every call, before and after its effect, and asked again with
// another activation id, by a daemon that only knows the disk.
func TestExecuteKilledAnywhereAndRepeated(t *testing.T) {
	for _, after := range []bool{false, true} {
		for at := range 9 {
			d := newDisk("a", "b")
			d.killAt, d.after = at, after
			_, err := d.promote(t.Context(), "first", false)
			if err == nil {
				if at != 5 {
					t.Errorf("a promotion has %d calls, want 5", at)
				}
				break
			}
			t.Run(fmt.Sprintf("killed at call %d, after its effect %v", at, after), func(t *testing.T) {
				if !errors.Is(err, errKilled) {
					t.Fatalf("error %v, want killed", err)
				}
				begun := d.mark
				for range 2 {
					if _, err := d.promote(t.Context(), "second", false); err != nil {
						t.Fatalf("repeated: %v", err)
					}
				}
				if d.live != "b" || d.mark.Generation != 1 || len(d.asides) != 0 {
					t.Errorf("live %q, generation %d, aside %v; want b, 1 and nothing", d.live, d.mark.Generation, d.asides)
				}
				if !begun.IsZero() && !d.mark.Same(begun) {
					t.Errorf("activation %s was begun and %s finished", begun.ID, d.mark.ID)
				}
			})
		}
	}
}

func TestAPromotionUnderWayIsFinishedFromTheMark(t *testing.T) {
	d := newDisk("a", "b")
	d.killAt = 4 // before the live copy
	if _, err := d.promote(t.Context(), "first", false); !errors.Is(err, errKilled) {
		t.Fatal(err)
	}
	d.receive("c") // what a restored replica may hold beyond the mark changes nothing
	stale := State{Role: Standby, Node: "sin1"}
	facts, err := Execute(t.Context(), Promotion{Dataset: "/data/db", State: stale, ID: activation("second")}, d.parts())
	if err != nil {
		t.Fatal(err)
	}
	if !facts.Resumed || facts.Point.ID != "b" || d.mark.ID != activation("first") {
		t.Errorf("resumed %v with %s in activation %s; want b in the first", facts.Resumed, facts.Point.ID, d.mark.ID)
	}
}

func TestExecuteRefuses(t *testing.T) {
	tests := []struct {
		name  string
		disk  func() *disk
		state State
		is    error
		log   string
	}{
		{
			name: "a replica without a complete point", disk: func() *disk { return newDisk() },
			state: State{Role: Seeding, Node: "sin1"}, is: dataset.ErrRefused, log: "end-receives, mark, snapshots",
		},
		{
			name: "a standby whose points are gone", disk: func() *disk { return newDisk() },
			state: State{Role: Standby, Node: "sin1"}, is: dataset.ErrRefused, log: "end-receives, mark, snapshots",
		},
		{
			name: "somebody else was promoted meanwhile", disk: func() *disk { d := newDisk("a"); d.mark = line("fra1"); return d },
			state: State{Role: Standby, Node: "sin1"}, is: dataset.ErrChanged, log: "end-receives, mark, snapshots",
		},
		{
			name: "the point of the mark is gone", disk: func() *disk { d := newDisk("a"); d.mark = line("sin1"); return d },
			state: State{Role: Primary, Node: "sin1", Mark: line("sin1")}, is: dataset.ErrNotFound, log: "end-receives, mark, snapshots",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := tt.disk()
			before := d.mark
			_, err := Execute(t.Context(), Promotion{Dataset: "/data/db", State: tt.state, ID: activation("x"), Force: true}, d.parts())
			if !errors.Is(err, tt.is) || !strings.Contains(err.Error(), "/data/db") {
				t.Errorf("error %v, want %v and the dataset", err, tt.is)
			}
			if got := strings.Join(d.log, ", "); got != tt.log {
				t.Errorf("did %s, want %s", got, tt.log)
			}
			if !reflect.DeepEqual(d.mark, before) || d.live != "" {
				t.Errorf("mark %+v and live %q changed", d.mark, d.live)
			}
		})
	}
}

// The last receive completed while the request was on its way.
func TestASeedingReplicaThatJustGotItsPointIsPromoted(t *testing.T) {
	d := newDisk("a")
	facts, err := Execute(t.Context(), Promotion{Dataset: "/data/db", State: State{Role: Seeding, Node: "sin1"}, ID: activation("x")}, d.parts())
	if err != nil || facts.Point.ID != "a" {
		t.Errorf("point %q, %v; want a", facts.Point.ID, err)
	}
}

func TestTwoPromotionsAtOnceMakeOneActivation(t *testing.T) {
	d := newDisk("a")
	parts := d.parts()
	parts.EndReceives = func(ctx context.Context, _ dataset.Path) error {
		parts.EndReceives = d.EndReceives
		_, err := d.promote(ctx, "other", false)
		return err
	}
	facts, err := Execute(t.Context(), Promotion{Dataset: "/data/db", State: State{Role: Standby, Node: "sin1"}, ID: activation("ours")}, parts)
	if err != nil || !facts.Resumed || d.mark.Generation != 1 || d.mark.ID != activation("other") {
		t.Errorf("facts %+v, %v, mark %+v; want to join the other promotion", facts, err, d.mark)
	}
}
