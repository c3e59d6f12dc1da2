package receive_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"antipode/daemon/policy"
	"antipode/daemon/receive"
	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
)

// driver is a target that keeps nothing: it reads the stream to its end and
// publishes what was announced.
type driver struct {
	points []dataset.Snapshot
	mark   dataset.Mark
	free   atomic.Int64
	got    dataset.Incoming
	read   int
}

func (d *driver) Pending(context.Context, dataset.Path) (dataset.Checkpoint, error) {
	return dataset.Checkpoint{}, nil
}
func (d *driver) Abort(context.Context, dataset.Path) error { return nil }
func (d *driver) Snapshots(context.Context, dataset.Path) ([]dataset.Snapshot, error) {
	return d.points, nil
}
func (d *driver) Mark(context.Context, dataset.Path) (dataset.Mark, error) { return d.mark, nil }
func (d *driver) Space(context.Context, dataset.Path) (fsdrivers.Usage, error) {
	return fsdrivers.Usage{Where: "/backup", Free: d.free.Load(), Size: 1000}, nil
}

func (d *driver) Receive(_ context.Context, in dataset.Incoming, r io.Reader) (dataset.Snapshot, error) {
	text, err := io.ReadAll(r)
	d.got, d.read = in, len(text)
	if err != nil {
		return dataset.Snapshot{}, err
	}
	s := in.Step.To
	s.Retain = in.Retain
	d.points = append(d.points, s)
	return s, nil
}

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func newRoom() (*receive.Room, *driver) {
	d := &driver{}
	d.free.Store(500)
	return &receive.Room{
		Node: "sin1", Driver: d, Now: func() time.Time { return noon },
		Accept: accepting(policy.Accept{From: "fra1", MinFree: policy.Amount{Percent: 10}, MaxBytes: 77, AllowDevices: true}),
	}, d
}

func accepting(a policy.Accept) func() policy.Accept { return func() policy.Accept { return a } }

func stepTo(name string, created time.Time) dataset.Step {
	return dataset.Step{
		Job: "db", Dataset: dataset.Dataset{Path: "/data/db", ID: "d1"},
		To: dataset.Snapshot{Name: name, ID: dataset.ID("a1"), Created: created},
	}
}

func TestTheDriverIsToldWhatThePolicyAllows(t *testing.T) {
	r, d := newRoom()
	if _, err := r.Receive(t.Context(), stepTo("antipode_db_1", noon.Add(-time.Hour)), dataset.Checkpoint{}, bytes.NewReader(make([]byte, 10))); err != nil {
		t.Fatal(err)
	}
	if d.got.MaxBytes != 77 || !d.got.AllowDevices || !d.got.Retain.Equal(noon.Add(-time.Hour)) || d.read != 10 {
		t.Errorf("the driver got %+v and %d bytes, want the accept's bounds, the declared time and 10 bytes", d.got, d.read)
	}
}

func TestASourceCannotBendRetentionTime(t *testing.T) {
	for name, c := range map[string]struct{ declared, newest, want time.Time }{
		"a year ahead":          {noon.AddDate(1, 0, 0), noon.Add(-time.Hour), noon.Add(5 * time.Minute)},
		"older than the newest": {noon.Add(-48 * time.Hour), noon.Add(-time.Hour), noon.Add(-time.Hour + 1)},
		"honest":                {noon.Add(-time.Minute), noon.Add(-time.Hour), noon.Add(-time.Minute)},
	} {
		t.Run(name, func(t *testing.T) {
			r, d := newRoom()
			d.points = []dataset.Snapshot{{Name: "antipode_db_0", ID: "a0", Retain: c.newest}}
			if _, err := r.Receive(t.Context(), stepTo("antipode_db_1", c.declared), dataset.Checkpoint{}, bytes.NewReader(nil)); err != nil {
				t.Fatal(err)
			}
			if !d.got.Retain.Equal(c.want) {
				t.Errorf("retention counts with %s, want %s", d.got.Retain, c.want)
			}
		})
	}
}

func TestOnlyNamesOfOursComeIn(t *testing.T) {
	r, d := newRoom()
	if _, err := r.Receive(t.Context(), stepTo("live", noon), dataset.Checkpoint{}, bytes.NewReader([]byte("x"))); !errors.Is(err, dataset.ErrRefused) {
		t.Errorf("Receive = %v, want ErrRefused", err)
	}
	if d.read != 0 {
		t.Error("the stream was read")
	}
}

func TestAPromotedDatasetIsNotReceivedInto(t *testing.T) {
	r, d := newRoom()
	d.mark = dataset.Mark{Activation: dataset.Activation{Generation: 1, ID: dataset.NewActivationID(), Node: "sin1", Base: "a0"}}
	if _, err := r.Receive(t.Context(), stepTo("antipode_db_1", noon), dataset.Checkpoint{}, bytes.NewReader([]byte("x"))); err == nil || d.read != 0 {
		t.Errorf("Receive = %v after %d bytes, want it refused before the first (G3)", err, d.read)
	}
}

// noticing is a stream whose sender is told why nothing is read.
type noticing struct {
	io.Reader
	notices chan error
}

func (n noticing) Notice(why error) { n.notices <- why }

func TestBelowMinFreeNothingIsReadUntilThereIsRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, d := newRoom()
		d.free.Store(100) // 10 % of 1,000 must stay free
		stream := noticing{bytes.NewReader(make([]byte, 10)), make(chan error, 2)}
		done := make(chan error, 1)
		go func() {
			_, err := r.Receive(t.Context(), stepTo("antipode_db_1", noon), dataset.Checkpoint{}, stream)
			done <- err
		}()
		time.Sleep(time.Hour)
		synctest.Wait()
		var lack *dataset.SpaceError
		select {
		case why := <-stream.notices:
			if !errors.As(why, &lack) || lack.Where != "/backup" || lack.Free != 100 || lack.Need != 101 {
				t.Errorf("the sender is told %v, want the file system, 100 free and 101 needed", why)
			}
		default:
			t.Error("the sender is told nothing")
		}
		d.free.Store(101)
		if err := <-done; err != nil || d.read != 10 {
			t.Errorf("once there is room: %v after %d bytes, want all 10", err, d.read)
		}
		if why := <-stream.notices; why != nil {
			t.Errorf("afterwards the sender is told %v, want nil", why)
		}
	})
}

// endless is a stream that has as many bytes as are asked for.
type endless struct{ left int }

func (e *endless) Read(p []byte) (int, error) {
	n := min(len(p), e.left)
	e.left -= n
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// lazy is a driver whose file system shows as used only what was written long
// ago, as one with delayed allocation does.
type lazy struct{ driver }

func (d *lazy) Receive(_ context.Context, in dataset.Incoming, r io.Reader) (dataset.Snapshot, error) {
	n, err := io.Copy(io.Discard, r)
	d.read = int(n)
	return in.Step.To, err
}

func (d *lazy) Space(context.Context, dataset.Path) (fsdrivers.Usage, error) {
	return fsdrivers.Usage{Where: "/backup", Free: d.free.Load(), Size: 1 << 30}, nil
}

func TestWhatIsNotWrittenBackYetCountsAsUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const free = 100 << 20
		d := &lazy{}
		d.free.Store(free)
		r := &receive.Room{Node: "sin1", Driver: d, Now: time.Now, Accept: accepting(policy.Accept{MinFree: policy.Amount{Bytes: 40 << 20}})}
		stream := &endless{left: 300 << 20}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		_, err := r.Receive(ctx, stepTo("antipode_db_1", noon), dataset.Checkpoint{}, stream)
		if !errors.Is(err, dataset.ErrNoSpace) {
			t.Errorf("Receive = %v, want it to wait for room", err)
		}
		if limit := 60<<20 + 17<<20; d.read > limit {
			t.Errorf("%d bytes were let in over 60 MiB of room, want at most one look more", d.read)
		}
	})
}

func TestAReceiveThatWaitsForRoomEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, d := newRoom()
		d.free.Store(0)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := r.Receive(ctx, stepTo("antipode_db_1", noon), dataset.Checkpoint{}, bytes.NewReader([]byte("x")))
		if !errors.Is(err, dataset.ErrNoSpace) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Receive = %v, want both reasons", err)
		}
	})
}

func TestCommittedAnswersFromTheDisk(t *testing.T) {
	r, d := newRoom()
	step := stepTo("antipode_db_1", noon)
	if _, published, err := r.Committed(t.Context(), step); published || err != nil {
		t.Errorf("before: published %t, %v; want false", published, err)
	}
	d.points = []dataset.Snapshot{{Name: "another name", ID: step.To.ID}}
	if got, published, err := r.Committed(t.Context(), step); !published || err != nil || got.Name != "another name" {
		t.Errorf("after: %v, %t, %v; want the point by its identity", got, published, err)
	}
}
