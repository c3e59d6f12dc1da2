package daemon

import (
	"errors"
	"fmt"
	"time"

	"antipode/daemon/board"
	"antipode/daemon/control"
	"antipode/daemon/ledger"
	"antipode/daemon/status"
)

// recall puts on the board what the run before this one knew, until the disks and
// the peers have answered.
func (d *Daemon) recall() {
	s := d.site()
	for _, f := range d.facts {
		if f.Side != ledger.Source || f.Point.Created.IsZero() {
			continue
		}
		if w, ok := s.jobs[f.Job]; !ok || w.couriers[f.Peer] == nil {
			continue
		}
		d.Board.Pair(board.PairKey{Job: f.Job, Dataset: f.Dataset, Peer: f.Peer}, func(p *status.Pair) {
			if p.LastPoint.IsZero() {
				p.LastPoint, p.RPO = status.Point{Name: f.Point.Name, Time: f.Point.Created, Confirmed: f.Point.Confirmed}, f.RPO
			}
		})
	}
}

// loadMemory reads what an earlier run left: its last facts.
func (d *Daemon) loadMemory() error {
	d.facts = map[ledger.FactKey]ledger.Fact{}
	facts, err := d.ledger.Facts()
	if err != nil {
		return fmt.Errorf("read the ledger: %w", err)
	}
	for _, f := range facts {
		d.facts[f.FactKey] = f
	}
	return nil
}

// lastRuns is when each job began last to do one kind of work, for the schedule to
// catch up by.
func (d *Daemon) lastRuns(kind string) map[string]time.Time {
	last := map[string]time.Time{}
	runs, err := d.ledger.Runs(ledger.MaxRuns)
	if err != nil {
		d.Log.Error().Err(err).Msg("cannot read when jobs ran last; each runs now")
		return last
	}
	for _, r := range runs {
		if r.Kind == kind && r.Started.After(last[r.Job]) {
			last[r.Job] = r.Started
		}
	}
	return last
}

// SetPaused stops the schedule of a job and its couriers from beginning anything,
// or lets them. It is durable.
func (d *Daemon) SetPaused(id string, paused bool) (control.PauseResponse, error) {
	d.reloading.Lock() // a reload makes other couriers
	defer d.reloading.Unlock()
	w, err := d.job(id)
	if err != nil {
		return control.PauseResponse{}, err
	}
	answer := control.PauseResponse{Job: id, Paused: paused}
	if answer.Before, err = d.pauses.Set(id, paused); err != nil {
		return answer, err
	}
	return answer, d.applyPause(w)
}

// applyPause tells the parts that run a job whether it is paused.
func (d *Daemon) applyPause(w *work) error {
	paused := d.pauses.Has(w.job.ID)
	for _, c := range w.couriers {
		c.SetPaused(paused)
	}
	if paused {
		return errors.Join(d.schedule.Pause(w.job.ID), d.replication.Pause(w.job.ID))
	}
	return errors.Join(d.schedule.Unpause(w.job.ID), d.replication.Unpause(w.job.ID))
}
