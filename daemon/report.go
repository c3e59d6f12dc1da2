package daemon

import (
	"fmt"
	"time"

	"antipode/daemon/ledger"
	"antipode/daemon/policy"
	"antipode/daemon/status"
	"antipode/daemon/watch"
	"antipode/transport/server"
)

// Status is the read model of this moment.
func (d *Daemon) Status() status.Status {
	s := d.Board.Read()
	s.Node, s.Version, s.Now, s.Started, s.Listen = d.node(), d.Version, d.Now(), d.started, d.Listens()
	called := d.called()
	for i := range s.Peers {
		s.Peers[i].Inbound = !called[s.Peers[i].Name]
		s.Peers[i].Lent = d.lent.Idle(s.Peers[i].Name)
	}
	for i := range s.Jobs {
		j := &s.Jobs[i]
		j.Paused, j.NextRun = d.pauses.Has(j.ID), d.schedule.Next(j.ID)
		j.NextReplication = d.replication.Next(j.ID)
		for k := range j.Datasets {
			for l := range j.Datasets[k].Peers {
				judgePair(s.Now, &j.Datasets[k].Peers[l])
			}
		}
	}
	d.showLimits(&s)
	d.showPulls(&s)
	transfers := d.server.Transfers()
	for i := range s.Replicas {
		r := &s.Replicas[i]
		r.Lag, r.State = status.Judge(s.Now, r.LastPoint, r.RPO, r.State)
		for _, t := range transfers {
			if t.Peer == r.From && t.Open.Step.Dataset.Path == r.Path {
				r.Receiving = d.receivingLine(s.Now, t)
			}
		}
	}
	return s
}

// called are the peers that a job of this node sends to.
func (d *Daemon) called() map[string]bool {
	names := map[string]bool{}
	for _, w := range d.site().jobs {
		for name := range w.couriers {
			names[name] = true
		}
	}
	return names
}

func judgePair(now time.Time, p *status.Pair) {
	p.Lag, p.State = status.Judge(now, p.LastPoint, p.RPO, p.State)
	if p.LastPoint.IsZero() {
		p.Seeding = &status.Seeding{}
		if m := p.Moving; m != nil {
			p.Seeding = &status.Seeding{Done: m.Bytes, Estimate: m.Estimate, ETA: m.ETA}
		}
	}
}

// receivingLine shows a receive; the rate is its average since it began.
func (d *Daemon) receivingLine(now time.Time, t server.TransferState) *status.Moving {
	m := &status.Moving{
		Step: t.Open.Step.ID(), Kind: "incremental", Snapshot: t.Open.Step.To.Name, Bytes: t.Received, Wire: t.Wire,
		Estimate: t.Open.Estimate, Lanes: t.Lanes,
	}
	if t.Open.Step.IsFull() {
		m.Kind = "full"
	}
	if passed := now.Sub(t.Started).Seconds(); passed >= 1 {
		m.Rate = int64(float64(t.Received) / passed)
	}
	switch {
	case t.Notice != "":
		m.Waiting, m.Notice = status.WaitingSpace, t.Notice
	case !t.WaitingSince.IsZero():
		m.Waiting = status.WaitingLink
	}
	return m
}

// subjects are all objectives: those of the status, and the silent ones.
func (d *Daemon) subjects() []watch.Subject {
	return append(watch.Subjects(d.Status()), d.silent()...)
}

// silent are the objectives of which no status line speaks, because there is
// nothing yet that could be late: a job that finds no dataset, an [[accept]] into
// which nothing ever came.
func (d *Daemon) silent() []watch.Subject {
	var all []watch.Subject
	s := d.site()
	for id, w := range s.jobs {
		if len(d.Board.Datasets(id)) > 0 {
			continue
		}
		for name := range w.couriers {
			all = append(all, watch.Subject{
				Key: ledger.FactKey{Side: ledger.Source, Job: id, Peer: name}, RPO: w.job.RPO,
				Name: fmt.Sprintf("job %s, which finds no dataset, to %s", id, name),
			})
		}
	}
	held := map[roomKey]bool{}
	for _, r := range d.Board.Read().Replicas {
		held[roomKey{r.From, string(policy.DriverOf(r.Path))}] = true
	}
	for key, r := range s.rooms {
		if !held[key] {
			all = append(all, watch.Subject{
				Key: ledger.FactKey{Side: ledger.Target, Peer: key.from}, RPO: r.Accept().RPO,
				Name: fmt.Sprintf("accept from %s (%s), into which nothing came yet", key.from, key.driver),
			})
		}
	}
	return all
}
