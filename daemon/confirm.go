package daemon

import (
	"time"

	"antipode/daemon/board"
	"antipode/daemon/ledger"
	"antipode/daemon/status"
	"antipode/fsdrivers/dataset"
)

// confirm notes that a source is alive and still holds exactly the newest point of
// a replica, as of some time ago. By that the replica is as good as new although
// nothing comes: when the source falls silent, the rpo runs from there. It is
// remembered over a restart, since a source confirms from time to time only.
func (d *Daemon) confirm(from string, path dataset.Path, newest dataset.Snapshot, age time.Duration) {
	if newest.ID.IsZero() {
		return
	}
	at := d.Now().Add(-age)
	fact := ledger.Fact{
		FactKey: ledger.FactKey{Side: ledger.Target, Dataset: path, Peer: from}, At: d.Now(),
		Point: ledger.Point{Name: newest.Name, ID: newest.ID, Created: newest.Retain, Confirmed: at},
	}
	d.Board.Replica(board.ReplicaKey{From: from, Dataset: path}, func(line *status.Replica) {
		if line.LastPoint.Name != newest.Name {
			line.LastPoint = status.Point{Name: newest.Name, Time: newest.Retain}
		}
		if at.After(line.LastPoint.Confirmed) {
			line.LastPoint.Confirmed = at
		}
		_, state := status.Judge(fact.At, line.LastPoint, line.RPO, line.State)
		fact.RPO, fact.State = line.RPO, string(state)
	})
	d.ledger.Record(ledger.Batch{Facts: []ledger.Fact{fact}})
	d.confirmOn(from, path, newest, at)
}

// confirmedBefore is what the run before this one knew of the newest point.
func (d *Daemon) confirmedBefore(from string, path dataset.Path, points []dataset.Snapshot) time.Time {
	if len(points) == 0 {
		return time.Time{}
	}
	fact := d.facts[ledger.FactKey{Side: ledger.Target, Dataset: path, Peer: from}]
	if fact.Point.Name != points[len(points)-1].Name {
		return time.Time{}
	}
	return fact.Point.Confirmed
}
