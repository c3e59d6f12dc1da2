package forward_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/fake"
	"antipode/fsdrivers/forward"
)

// received is a disk that has received two points of two datasets from another.
func received(t *testing.T) (target *fake.Target, db dataset.Dataset, points []dataset.Snapshot) {
	t.Helper()
	from, to := fake.NewDisk("fra1", 1<<30), fake.NewDisk("sin1", 1<<30)
	source := from.Source()
	target = to.Target("/backup/fra1", time.Now)
	for _, path := range []dataset.Path{"/data/db", "/data/db/deep", "/data/other"} {
		d := from.Make(path)
		var last dataset.Snapshot
		for i, name := range []string{"antipode_a", "antipode_b"} {
			if err := from.Write(path, "file", []byte(name)); err != nil {
				t.Fatal(err)
			}
			taken, err := source.Snapshot(t.Context(), name, time.Unix(int64(i+1), 0), []dataset.Path{path})
			if err != nil {
				t.Fatal(err)
			}
			step := dataset.Step{Job: "db", Dataset: d, From: last, To: taken[0]}
			r, err := source.Send(t.Context(), step, dataset.Checkpoint{})
			if err != nil {
				t.Fatal(err)
			}
			got, err := target.Receive(t.Context(), dataset.Incoming{Step: step}, r)
			if err != nil {
				t.Fatal(err)
			}
			r.Close()
			if last = taken[0]; path == "/data/db" {
				db, points = d, append(points, got)
			}
		}
	}
	return target, db, points
}

func TestWhatWasReceivedIsSentOnAsItIs(t *testing.T) {
	target, db, points := received(t)
	s, ok := forward.New(target)
	if !ok || !s.Of(target) {
		t.Fatal("the fake target cannot send on")
	}
	list, err := s.Snapshots(t.Context(), db.Path)
	if err != nil || len(list) != 2 || list[1].ID != points[1].ID {
		t.Fatalf("Snapshots: %v, %v; want the two points", list, err)
	}
	far := fake.NewDisk("syd1", 1<<30).Target("/backup/sin1", time.Now)
	for i, step := range []dataset.Step{{Job: "on", Dataset: db, To: list[0]}, {Job: "on", Dataset: db, From: list[0], To: list[1]}} {
		if n, err := s.Estimate(t.Context(), step); err != nil || n <= 0 {
			t.Errorf("Estimate: %d, %v", n, err)
		}
		r, err := s.SendAgain(t.Context(), step, dataset.Checkpoint{}, func(int64, int64) {})
		if err != nil {
			t.Fatal(err)
		}
		got, err := far.Receive(t.Context(), dataset.Incoming{Step: step}, r)
		r.Close()
		if err != nil || got.ID != points[i].ID || !got.Created.Equal(points[i].Created) {
			t.Errorf("step %d arrived as %+v, %v; want identity and time of %+v", i, got, err, points[i])
		}
	}
	other := dataset.Step{Job: "on", Dataset: dataset.Dataset{Path: db.Path, ID: "0ff"}, To: list[0]}
	if _, err := s.Send(t.Context(), other, dataset.Checkpoint{}); !errors.Is(err, dataset.ErrNotFound) {
		t.Errorf("Send of another dataset's: %v, want %v", err, dataset.ErrNotFound)
	}
}

func TestFindLooksAtReplicasByTheirSourcesNames(t *testing.T) {
	target, _, _ := received(t)
	s, _ := forward.New(target)
	for _, tc := range []struct {
		root dataset.Path
		deep bool
		want []dataset.Path
	}{
		{"/data/db", false, []dataset.Path{"/data/db"}},
		{"/data/db", true, []dataset.Path{"/data/db", "/data/db/deep"}},
		{"/data", true, []dataset.Path{"/data/db", "/data/db/deep", "/data/other"}},
		{"/data", false, nil},
		{"/not/yet", true, nil},
	} {
		found, err := s.Find(t.Context(), tc.root, tc.deep)
		var got []dataset.Path
		for _, d := range found {
			got = append(got, d.Path)
		}
		if err != nil || !slices.Equal(got, tc.want) {
			t.Errorf("Find(%s, %t) = %v, %v; want %v", tc.root, tc.deep, got, err, tc.want)
		}
	}
}

func TestAReplicaIsNeitherSnapshottedNorFencedInBetween(t *testing.T) {
	target, db, _ := received(t)
	mark := dataset.Mark{Activation: dataset.Activation{Generation: 1, Node: "sin1"}}
	s, _ := forward.New(target)
	if _, err := s.Snapshot(t.Context(), "antipode_c", time.Now(), []dataset.Path{db.Path}); !errors.Is(err, dataset.ErrRefused) {
		t.Errorf("Snapshot: %v, want %v", err, dataset.ErrRefused)
	}
	if err := s.SwapMark(t.Context(), db.Path, dataset.Mark{}, mark); !errors.Is(err, dataset.ErrRefused) {
		t.Errorf("SwapMark: %v, want %v", err, dataset.ErrRefused)
	}
	if err := s.Fence(t.Context(), db.Path); !errors.Is(err, dataset.ErrRefused) {
		t.Errorf("Fence: %v, want %v", err, dataset.ErrRefused)
	}
	if m, err := s.Mark(t.Context(), db.Path); err != nil || !m.IsZero() {
		t.Errorf("Mark: %+v, %v; want none", m, err)
	}
}

// plain is a target that can do no more than it has to.
type plain struct{ fsdrivers.Target }

func TestATargetThatCannotSendIsNoSource(t *testing.T) {
	target, _, _ := received(t)
	if _, ok := forward.New(plain{target}); ok {
		t.Error("a source was made of a target that cannot send")
	}
}

// choosy is a target that can send some of its points.
type choosy struct{ fsdrivers.Target }

func (c choosy) Onward() fsdrivers.Onward { return last{nil, c.Target} }

// last offers the newest point alone.
type last struct {
	fsdrivers.Onward
	of fsdrivers.Target
}

func (l last) Offered(ctx context.Context, d dataset.Path) ([]dataset.Snapshot, error) {
	all, err := l.of.Snapshots(ctx, d)
	return all[max(len(all)-1, 0):], err
}

func TestWhatATargetDoesNotOfferIsNotListed(t *testing.T) {
	target, db, points := received(t)
	s, ok := forward.New(choosy{target})
	if !ok {
		t.Fatal("a target that offers some of its points is no source")
	}
	list, err := s.Snapshots(t.Context(), db.Path)
	if err != nil || len(list) != 1 || list[0].ID != points[1].ID {
		t.Errorf("Snapshots: %v, %v; want the newest of two", list, err)
	}
}
