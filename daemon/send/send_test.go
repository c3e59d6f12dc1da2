package send_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"antipode/daemon/send"
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/fake"
	"antipode/transport/wire"
)

const path = dataset.Path("/data/db")

// target answers what a test wants, after it has looked at the source.
type target struct {
	answer func(open wire.Open) (wire.Committed, error)
	seen   func()
}

func (f target) Send(_ context.Context, open wire.Open, src io.Reader) (wire.Committed, error) {
	if f.seen != nil {
		f.seen()
	}
	if _, err := io.Copy(io.Discard, src); err != nil {
		return wire.Committed{}, err
	}
	return f.answer(open)
}

func published(open wire.Open) (wire.Committed, error) {
	return wire.Committed{Published: true, Snapshot: open.Step.To}, nil
}

// fixture is a source with the snapshots s0 and s1.
type fixture struct {
	t         *testing.T
	source    *fake.Source
	dataset   dataset.Dataset
	snapshots []dataset.Snapshot
}

func newFixture(t *testing.T) *fixture {
	disk := fake.NewDisk("fra1", 1<<30)
	f := &fixture{t: t, source: disk.Source(), dataset: disk.Make(path)}
	for i, name := range []string{"antipode_db_0", "antipode_db_1"} {
		if err := disk.Write(path, name, []byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
		made, err := f.source.Snapshot(t.Context(), name, time.Unix(int64(i), 0), []dataset.Path{path})
		if err != nil {
			t.Fatal(err)
		}
		f.snapshots = append(f.snapshots, made[0])
	}
	return f
}

func (f *fixture) sender(to target) *send.Sender {
	return &send.Sender{
		Driver: f.source, Transport: to, Kind: "btrfs", Job: "db", Peer: "sin1", ChunkBytes: wire.MaxChunk,
		Estimated: func(dataset.Step, int64) {}, Rereading: func(int64, int64) {}, Begins: func(int64) {},
	}
}

func (f *fixture) step() dataset.Step {
	return dataset.Step{Job: "db", Dataset: f.dataset, From: f.snapshots[0], To: f.snapshots[1]}
}

// holds lists the tags of each snapshot, oldest first.
func (f *fixture) holds() [][]dataset.Tag {
	f.t.Helper()
	list, err := f.source.Snapshots(f.t.Context(), path)
	if err != nil {
		f.t.Fatal(err)
	}
	var tags [][]dataset.Tag
	for _, s := range list {
		tags = append(tags, s.Holds)
	}
	return tags
}

func (f *fixture) wantHolds(when string, want ...[]dataset.Tag) {
	f.t.Helper()
	if got := f.holds(); !slices.EqualFunc(got, want, func(a, b []dataset.Tag) bool { return slices.Equal(a, b) }) {
		f.t.Errorf("%s the holds are %v, want %v", when, got, want)
	}
}

var (
	step = []dataset.Tag{"step.db.sin1"}
	base = []dataset.Tag{"base.db.sin1"}
)

func TestBothEndsAreHeldBeforeTheFirstByteAndTheNewBaseAfterTheAnswer(t *testing.T) {
	f := newFixture(t)
	to := target{answer: published, seen: func() { f.wantHolds("while it is sent", step, step) }}
	got, err := f.sender(to).Execute(t.Context(), f.step(), dataset.Checkpoint{})
	if err != nil || got.ID != f.snapshots[1].ID {
		t.Fatalf("Execute = %v, %v; want %s", got, err, f.snapshots[1].ID)
	}
	f.wantHolds("after the answer", nil, base)
}

func TestAFailedStepKeepsItsHolds(t *testing.T) {
	f := newFixture(t)
	broken := errors.New("link lost")
	to := target{answer: func(wire.Open) (wire.Committed, error) { return wire.Committed{}, broken }}
	if _, err := f.sender(to).Execute(t.Context(), f.step(), dataset.Checkpoint{}); !errors.Is(err, broken) {
		t.Fatalf("Execute = %v, want %v", err, broken)
	}
	f.wantHolds("after the failure", step, step)
}

func TestANewStepTakesTheHoldsOfAnAbandonedOne(t *testing.T) {
	f := newFixture(t)
	full := dataset.Step{Job: "db", Dataset: f.dataset, To: f.snapshots[1]}
	if err := f.source.Hold(t.Context(), path, f.snapshots[0], step[0]); err != nil {
		t.Fatal(err)
	}
	to := target{answer: published, seen: func() { f.wantHolds("while it is sent", nil, step) }}
	if _, err := f.sender(to).Execute(t.Context(), full, dataset.Checkpoint{}); err != nil {
		t.Fatal(err)
	}
	f.wantHolds("after the answer", nil, base)
}

func TestAnAnswerThatNamesSomethingElseReleasesNothing(t *testing.T) {
	answers := map[string]func(wire.Open) (wire.Committed, error){
		"not published": func(open wire.Open) (wire.Committed, error) { return wire.Committed{Snapshot: open.Step.To}, nil },
		"another point": func(open wire.Open) (wire.Committed, error) {
			return wire.Committed{Published: true, Snapshot: open.Step.From}, nil
		},
		"no point at all": func(wire.Open) (wire.Committed, error) { return wire.Committed{Published: true}, nil },
	}
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			_, err := f.sender(target{answer: answer}).Execute(t.Context(), f.step(), dataset.Checkpoint{})
			if !errors.Is(err, send.ErrMisanswered) {
				t.Errorf("Execute = %v, want ErrMisanswered", err)
			}
			f.wantHolds("after the answer", step, step)
		})
	}
}

func TestASnapshotThatIsGoneIsNotSent(t *testing.T) {
	f := newFixture(t)
	if err := f.source.Destroy(t.Context(), path, f.snapshots[1]); err != nil {
		t.Fatal(err)
	}
	to := target{answer: published, seen: func() { t.Error("something was sent") }}
	if _, err := f.sender(to).Execute(t.Context(), f.step(), dataset.Checkpoint{}); !errors.Is(err, dataset.ErrNotFound) {
		t.Errorf("Execute = %v, want ErrNotFound", err)
	}
}

func TestOnlyALongStepIsEstimated(t *testing.T) {
	for name, c := range map[string]struct {
		takes time.Duration
		want  int
	}{"over at once": {0, 0}, "long": {time.Minute, 1}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t)
				s := f.sender(target{answer: published, seen: func() { time.Sleep(c.takes) }})
				estimates := 0
				s.Estimated = func(_ dataset.Step, bytes int64) {
					if estimates++; bytes <= 0 {
						t.Errorf("estimate of %d bytes, want some", bytes)
					}
				}
				if _, err := s.Execute(t.Context(), f.step(), dataset.Checkpoint{}); err != nil {
					t.Fatal(err)
				}
				if estimates != c.want {
					t.Errorf("%d estimates, want %d", estimates, c.want)
				}
			})
		})
	}
}
