package daemon

import (
	"errors"
	"fmt"
	"time"

	"antipode/daemon/board"
	"antipode/daemon/control"
	"antipode/daemon/ledger"
	"antipode/daemon/schedule"
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

// loadMemory reads what an earlier run left: its last facts, and when jobs began last.
func (d *Daemon) loadMemory() error {
	d.facts, d.starts = map[ledger.FactKey]ledger.Fact{}, map[ledger.StartKey]time.Time{}
	facts, err := d.ledger.Facts()
	if err != nil {
		return fmt.Errorf("read the ledger: %w", err)
	}
	for _, f := range facts {
		d.facts[f.FactKey] = f
	}
	starts, err := d.ledger.Starts()
	if err != nil {
		return fmt.Errorf("read the ledger: %w", err)
	}
	for _, s := range starts {
		d.starts[s.StartKey] = s.At
	}
	return nil
}

// lastRuns is when each job began last to do one kind of work, for the schedule to
// catch up by.
func (d *Daemon) lastRuns(kind string) map[string]time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	last := map[string]time.Time{}
	for key, at := range d.starts {
		if key.Kind == kind {
			last[key.Job] = at
		}
	}
	return last
}

// noteStart remembers when a run began that has ended, so that a restart makes up
// for what was missed and for nothing else. A run that died with the daemon, or that
// the end of the daemon cut short, is not noted: it is made up for.
//
// A job of every few seconds in which nothing happens must not write to the disk
// each time. The start of a run that is due again within schedule.Soon may wait, and
// so be lost to a kill or a power cut. It need not be known: whatever is due within
// Soon is not made up for, but run then. Nor need that of a run that a target asked
// for. The first start is written at once, for a job that never ran is run at once.
func (d *Daemon) noteStart(key ledger.StartKey, cause string, at, next time.Time) {
	d.mu.Lock()
	before := d.starts[key]
	if at.Before(before) && !before.After(d.Now()) {
		d.mu.Unlock()
		return // a replication that took longer than one which began after it
	}
	d.starts[key] = at
	d.mu.Unlock()
	record := d.ledger.Record
	if mayWait := cause == causePulled || !next.IsZero() && next.Sub(at) <= schedule.Soon; mayWait && !before.IsZero() {
		record = d.ledger.RecordLater
	}
	record(ledger.Batch{Starts: []ledger.Start{{StartKey: key, At: at}}})
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
