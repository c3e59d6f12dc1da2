package cli

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"antipode/daemon/ledger"
	"antipode/daemon/status"
	"antipode/fsdrivers/dataset"
)

// lastKnown makes a status of what the ledger remembers, judged by the clock of
// now.
func (a *app) lastKnown() (status.Status, error) {
	c, err := a.place()
	if err != nil {
		return status.Status{}, err
	}
	path := ledger.Path(c.StateDir)
	l, err := ledger.OpenReadOnly(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return status.Status{}, fmt.Errorf("none has run yet: there is no ledger %s", path)
	case errors.Is(err, ledger.ErrLocked):
		return status.Status{}, fmt.Errorf("a process holds the ledger %s and does not answer; look at the daemon's log", path)
	case err != nil:
		return status.Status{}, err
	}
	defer l.Close() //nolint:errcheck // it was read only
	facts, err := l.Facts()
	if err != nil {
		return status.Status{}, err
	}
	starts, err := l.Starts()
	if err != nil {
		return status.Status{}, err
	}
	s := status.Status{Node: c.Node, Version: Version(), Now: a.now()}
	for _, f := range facts {
		remember(&s, f)
	}
	for i := range s.Jobs {
		s.Jobs[i].LastRun = lastRun(starts, s.Jobs[i].ID)
	}
	return s, nil
}

// lastRun is when a job began last to take snapshots. Runs do not tell: those in
// which nothing happened are not in them.
func lastRun(starts []ledger.Start, job string) (at time.Time) {
	i := slices.IndexFunc(starts, func(s ledger.Start) bool { return s.StartKey == ledger.StartKey{Job: job} })
	if i < 0 {
		return at
	}
	return starts[i].At
}

// remember adds a fact. Facts come ordered by side and job.
func remember(s *status.Status, f ledger.Fact) {
	point := status.Point{Name: f.Point.Name, Time: f.Point.Created, Confirmed: f.Point.Confirmed}
	lag, state := status.Judge(s.Now, point, f.RPO, status.State(f.State))
	var problem *status.Problem
	if f.Error != nil {
		problem = &status.Problem{Text: f.Error.Text, Next: f.Error.Next, At: f.Error.At}
	}
	if f.Side == ledger.Target {
		s.Replicas = append(s.Replicas, status.Replica{
			From: f.Peer, Path: f.Dataset, State: state, RPO: f.RPO, Lag: lag, LastPoint: point, LastError: problem,
		})
		return
	}
	j := jobOf(s, f.Job)
	j.Paused = j.Paused || f.Paused
	d := datasetOf(j, f.Dataset)
	if f.Peer == "" { // the job only snapshots
		d.Snapshot, d.Problem = point, problem
		return
	}
	d.Peers = append(d.Peers, status.Pair{Peer: f.Peer, State: state, RPO: f.RPO, Lag: lag, LastPoint: point, LastError: problem})
}

func jobOf(s *status.Status, id string) *status.Job {
	for i := range s.Jobs {
		if s.Jobs[i].ID == id {
			return &s.Jobs[i]
		}
	}
	s.Jobs = append(s.Jobs, status.Job{ID: id})
	return &s.Jobs[len(s.Jobs)-1]
}

func datasetOf(j *status.Job, path dataset.Path) *status.Dataset {
	for i := range j.Datasets {
		if j.Datasets[i].Path == path {
			return &j.Datasets[i]
		}
	}
	j.Datasets = append(j.Datasets, status.Dataset{Path: path})
	return &j.Datasets[len(j.Datasets)-1]
}
