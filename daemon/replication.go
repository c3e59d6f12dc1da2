package daemon

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"antipode/daemon/ledger"
	"antipode/daemon/policy"
)

// replicateJob is what a tick of a job's own replication schedule does: it sends what
// there is, with the snapshot that is due at the same time. A new job would have none
// before the next tick. Like a run it waits for no courier.
func (d *Daemon) replicateJob(_ context.Context, id, cause string) error {
	w, ok := d.site().jobs[id]
	if !ok {
		return fmt.Errorf("no job %q in the configuration", id)
	}
	d.background(func(ctx context.Context) {
		d.schedule.Await(ctx, id)
		d.visit(ctx, w, cause, w.job.ReplicateTo...)
	})
	return nil
}

// visit sends a job's couriers to these peers and remembers the run when the last
// is back. What fails is on the board.
func (d *Daemon) visit(ctx context.Context, w *work, cause string, peers ...string) {
	run := ledger.Run{Job: w.job.ID, Kind: ledger.RunReplicate, Cause: cause, Started: d.Now()}
	var visits sync.WaitGroup
	var mu sync.Mutex // guards run and errs
	var errs []error
	for _, name := range peers {
		c := w.couriers[name]
		if c.Rests() {
			continue
		}
		visits.Go(func() {
			tally, err := c.Visit(ctx, false)
			mu.Lock()
			defer mu.Unlock()
			run.Steps += tally.Steps
			run.Bytes += tally.Bytes
			errs = append(errs, err)
		})
	}
	visits.Wait()
	err := errors.Join(errs...)
	if err == nil || ctx.Err() == nil {
		d.noteStart(ledger.StartKey{Job: run.Job, Kind: run.Kind}, cause, run.Started, d.replication.Next(run.Job))
	}
	if isQuietRun(cause) && run.Steps == 0 && len(errs) == 0 {
		return // there was nothing to tell anybody
	}
	run.Ended = d.Now()
	if err != nil {
		run.Error = err.Error()
	}
	d.ledger.Record(ledger.Batch{Runs: []ledger.Run{run}})
}

// replicating are the jobs as the schedule of replication sees them. Those that
// replicate after each snapshot have none.
func replicating(jobs []policy.Job) []policy.Job {
	var all []policy.Job
	for _, j := range jobs {
		j.Schedule = j.Replicate
		all = append(all, j)
	}
	return all
}

// setSchedules puts both schedules of every job in force, and those of pulls.
func (d *Daemon) setSchedules(jobs []policy.Job, accepts []policy.Accept) {
	d.schedule.Set(jobs, d.lastRuns(""))
	d.replication.Set(replicating(jobs), d.lastRuns(ledger.RunReplicate))
	d.asking.Set(askers(accepts), d.lastAsked())
}
