package daemon

import (
	"context"
	"fmt"
	"sync"
	"time"

	"antipode/daemon/activate"
	"antipode/daemon/policy"
	"antipode/daemon/status"
	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/forward"
)

// A job that forwards sends on what its node received: its source is a room. Points
// come when they come; what they are goes with them.

// gather is how long arrivals are gathered between two looks at what is to be sent
// on: hundreds may come in a second.
const gather = time.Second

// onward sees to it that one look at a time follows arrivals, and one after the last.
type onward struct {
	mu      sync.Mutex // guards both
	running bool
	again   bool
}

// forwarded makes the source of a job that forwards, or finds the one that there is.
func forwarded(next, old *site, j policy.Job) (fsdrivers.Source, error) {
	r := next.rooms[roomKey{j.Forward, string(j.Driver)}]
	if r == nil {
		return nil, fmt.Errorf("job %s forwards what %s sends, and no [[accept]] takes %s datasets from it", j.ID, j.Forward, j.Driver)
	}
	if was, ok := old.sources[sourceOf(j)].(*forward.Source); ok && was.Of(r.driver) {
		return was, nil
	}
	s, ok := forward.New(r.driver)
	if !ok {
		return nil, fmt.Errorf("job %s: the driver %q cannot send on what it received", j.ID, j.Driver)
	}
	return s, nil
}

// runForward is what a run of such a job is apart from its visits: there is nothing
// to snapshot, and retention is the room's.
func (d *Daemon) runForward(ctx context.Context, w *work) error {
	paths, err := d.find(ctx, w)
	for _, p := range paths {
		d.Board.Dataset(w.job.ID, p, func(line *status.Dataset) { line.Role = activate.Standby.String() })
	}
	d.Board.Job(w.job.ID, func(j *status.Job) { j.Problem, j.LastRun = d.problem(err), d.Now() })
	return err
}

// sendOn has the jobs that forward a replica send what arrived.
func (d *Daemon) sendOn(from string, path dataset.Path) {
	for _, w := range d.forwarders(from, path) {
		d.sendOnSoon(w)
	}
}

// confirmOn passes on that the source still held, at a moment, what the newest point
// of a replica holds.
func (d *Daemon) confirmOn(from string, path dataset.Path, newest dataset.Snapshot, at time.Time) {
	for _, w := range d.forwarders(from, path) {
		for _, c := range w.couriers {
			c.Unchanged(path, newest, at)
		}
		d.sendOnSoon(w)
	}
}

func (d *Daemon) forwarders(from string, path dataset.Path) []*work {
	var all []*work
	for _, w := range d.site().jobs {
		if w.job.Forward == from && w.job.Driver == policy.DriverOf(path) && w.job.Datasets.Match(path) {
			all = append(all, w)
		}
	}
	return all
}

// sendOnSoon looks soon, unless the job has times of its own.
func (d *Daemon) sendOnSoon(w *work) {
	if w.job.Pulled || !w.job.Replicate.IsZero() {
		return
	}
	o := w.onward
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.again = o.running; o.running {
		return
	}
	o.running = true
	d.background(func(ctx context.Context) { d.lookOnward(ctx, w) })
}

func (d *Daemon) lookOnward(ctx context.Context, w *work) {
	for {
		_ = d.runForward(ctx, w) // it is on the board
		for _, c := range w.couriers {
			if !c.Rests() {
				d.background(func(ctx context.Context) { _, _ = c.Visit(ctx, false) }) // what fails is on the board
			}
		}
		t := time.NewTimer(gather)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
		if !w.onward.isAgain() {
			return
		}
	}
}

// isAgain ends the look, or takes up what came meanwhile.
func (o *onward) isAgain() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.running, o.again = o.again, false
	return o.running
}
