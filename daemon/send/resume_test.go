package send_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"antipode/daemon/send"
	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
	"antipode/transport/wire"
)

// rereader is a driver that finds its stream the same up to a certain byte.
type rereader struct {
	send.Driver
	same  int64
	tried []int64
}

var _ fsdrivers.Rereader = (*rereader)(nil)

func (r *rereader) SendAgain(_ context.Context, _ dataset.Step, from dataset.Checkpoint, tell func(done, of int64)) (io.ReadCloser, error) {
	r.tried = append(r.tried, from.Done)
	tell(from.Done/2, from.Done)
	if from.Done <= r.same {
		return io.NopCloser(strings.NewReader("the rest")), nil
	}
	stale := &dataset.StaleCheckpointError{Why: "it changed"}
	if from.Done/2 > 0 {
		stale.Fits = from
		stale.Fits.Done = from.Done / 2
	}
	return nil, stale
}

// The target is told from which of its segments the stream goes on, and hears
// nothing before that is known.
func TestItGoesBackToTheCheckpointThatFits(t *testing.T) {
	f := newFixture(t)
	driver := &rereader{Driver: f.source, same: 30}
	var opened dataset.Checkpoint
	var began, read int64
	s := f.sender(target{answer: func(open wire.Open) (wire.Committed, error) {
		opened = open.Checkpoint
		return published(open)
	}})
	s.Driver = driver
	s.Begins = func(at int64) { began = at }
	s.Rereading = func(done, _ int64) { read += done }
	from := dataset.Checkpoint{Kind: "x", Step: f.step().ID(), Done: 100, Opaque: []byte("places")}
	if _, err := s.Execute(t.Context(), f.step(), from); err != nil {
		t.Fatal(err)
	}
	if want := []int64{100, 50, 25}; !slices.Equal(driver.tried, want) {
		t.Errorf("it tried %v, want %v", driver.tried, want)
	}
	if opened.Done != 25 || string(opened.Opaque) != "places" || began != 25 || read != 50+25+12 {
		t.Errorf("opened at %+v, begins at %d, read again %d; want byte 25 and 87 bytes", opened, began, read)
	}
}

func TestACheckpointThatFitsNowhereEndsTheStep(t *testing.T) {
	f := newFixture(t)
	s := f.sender(target{answer: published})
	driver := &rereader{Driver: f.source, same: -1}
	s.Driver = driver
	_, err := s.Execute(t.Context(), f.step(), dataset.Checkpoint{Kind: "x", Step: f.step().ID(), Done: 3})
	if !errors.Is(err, dataset.ErrStaleCheckpoint) || len(driver.tried) != 2 {
		t.Errorf("Execute: %v after %v, want ErrStaleCheckpoint after bytes 3 and 1", err, driver.tried)
	}
}

// forward claims that a later checkpoint fits.
type forward struct {
	send.Driver
	tried int
}

func (d *forward) Send(_ context.Context, _ dataset.Step, from dataset.Checkpoint) (io.ReadCloser, error) {
	d.tried++
	return nil, &dataset.StaleCheckpointError{Why: "it changed", Fits: from}
}

func TestGoingBackEnds(t *testing.T) {
	f := newFixture(t)
	s := f.sender(target{answer: published})
	driver := &forward{Driver: f.source}
	s.Driver = driver
	_, err := s.Execute(t.Context(), f.step(), dataset.Checkpoint{Kind: "x", Step: f.step().ID(), Done: 3})
	if !errors.Is(err, dataset.ErrStaleCheckpoint) || driver.tried != 1 {
		t.Errorf("Execute: %v after %d tries, want ErrStaleCheckpoint after one", err, driver.tried)
	}
}
