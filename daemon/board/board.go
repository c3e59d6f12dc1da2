// Package board is where the parts of a running daemon pin up what they know,
// and from where the read model is copied. It owns no facts of its own: losing it
// loses what can be read again from the disks and the peers.
package board

import (
	"maps"
	"slices"
	"strings"
	"sync"

	"antipode/daemon/status"
	"antipode/fsdrivers/dataset"
)

// Board is safe for concurrent use. Once Retain was called, what no configuration
// names is not pinned up any more, whoever still knows of it. The functions that it is given to change an
// entry run under its lock: they must not block nor call the board.
type Board struct {
	mu       sync.Mutex // guards all below
	peers    map[string]*status.Peer
	jobs     map[string]*job
	replicas map[ReplicaKey]*status.Replica
	alerts   []status.Alert // those that stand, newest first
	named    Named
}

// Named tells what a configuration names. It is asked under the board's lock.
type Named struct {
	Peer    func(name string) bool
	Job     func(id string) bool
	Pair    func(PairKey) bool
	Replica func(ReplicaKey) bool
}

// job is a job's line with its datasets by path and their pairs by peer.
type job struct {
	line     status.Job
	datasets map[dataset.Path]*row
}

type row struct {
	line  status.Dataset
	pairs map[string]*status.Pair
}

// PairKey names one dataset of a job on its way to one peer.
type PairKey struct {
	Job     string
	Dataset dataset.Path
	Peer    string
}

// ReplicaKey names what this node holds of a peer's dataset.
type ReplicaKey struct {
	From    string
	Dataset dataset.Path
}

// New returns an empty board.
func New() *Board {
	return &Board{
		peers: map[string]*status.Peer{}, jobs: map[string]*job{}, replicas: map[ReplicaKey]*status.Replica{},
		named: Named{Peer: all[string], Job: all[string], Pair: all[PairKey], Replica: all[ReplicaKey]},
	}
}

// Peer changes what is known of a peer.
func (b *Board) Peer(name string, change func(*status.Peer)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(entry(b.peers, name, b.named.Peer(name), func() *status.Peer { return &status.Peer{Name: name} }))
}

// Job changes what is known of a job, its datasets left out.
func (b *Board) Job(id string, change func(*status.Job)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(&b.job(id).line)
}

// Dataset changes what is known of a dataset of a job, its pairs left out.
func (b *Board) Dataset(id string, path dataset.Path, change func(*status.Dataset)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(&b.job(id).row(path).line)
}

// Pair changes what is known of a dataset on its way to a peer.
func (b *Board) Pair(k PairKey, change func(*status.Pair)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(entry(b.job(k.Job).row(k.Dataset).pairs, k.Peer, b.named.Pair(k), func() *status.Pair { return &status.Pair{Peer: k.Peer} }))
}

// Replica changes what is known of a replica that this node holds.
func (b *Board) Replica(k ReplicaKey, change func(*status.Replica)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(entry(b.replicas, k, b.named.Replica(k), func() *status.Replica { return &status.Replica{From: k.From, Path: k.Dataset} }))
}

// SetAlerts replaces the alerts that stand.
func (b *Board) SetAlerts(alerts []status.Alert) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.alerts = slices.Clone(alerts)
}

// Retain forgets the peers, pairs and replicas that a new configuration no
// longer names. A dataset with no pair left goes with its job only.
func (b *Board) Retain(n Named) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.named = n
	maps.DeleteFunc(b.peers, func(name string, _ *status.Peer) bool { return !n.Peer(name) })
	maps.DeleteFunc(b.jobs, func(id string, _ *job) bool { return !n.Job(id) })
	maps.DeleteFunc(b.replicas, func(k ReplicaKey, _ *status.Replica) bool { return !n.Replica(k) })
	for id, j := range b.jobs {
		for path, r := range j.datasets {
			maps.DeleteFunc(r.pairs, func(peer string, _ *status.Pair) bool { return !n.Pair(PairKey{id, path, peer}) })
		}
	}
}

// ForgetDataset drops a dataset that a job's patterns no longer find.
func (b *Board) ForgetDataset(id string, path dataset.Path) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.job(id).datasets, path)
}

// ForgetReplica drops a replica that has gone to another path.
func (b *Board) ForgetReplica(k ReplicaKey) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.replicas, k)
}

// Datasets returns the paths known of a job, sorted.
func (b *Board) Datasets(id string) []dataset.Path {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Sorted(maps.Keys(b.job(id).datasets))
}

// Read copies everything, sorted by name, into a Status whose other fields the
// caller fills in.
func (b *Board) Read() status.Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := status.Status{
		Peers: []status.Peer{}, Jobs: []status.Job{}, Replicas: []status.Replica{},
		Alerts: append([]status.Alert{}, b.alerts...),
	}
	for _, name := range slices.Sorted(maps.Keys(b.peers)) {
		s.Peers = append(s.Peers, *b.peers[name])
	}
	for _, id := range slices.Sorted(maps.Keys(b.jobs)) {
		s.Jobs = append(s.Jobs, b.jobs[id].read())
	}
	for _, k := range slices.SortedFunc(maps.Keys(b.replicas), compareReplicas) {
		r := *b.replicas[k]
		r.Receiving, r.LastError, r.Problem = clone(r.Receiving), clone(r.LastError), clone(r.Problem)
		s.Replicas = append(s.Replicas, r)
	}
	return s
}

func (j *job) read() status.Job {
	line := j.line
	line.Problem = clone(line.Problem)
	line.Datasets = []status.Dataset{}
	for _, path := range slices.Sorted(maps.Keys(j.datasets)) {
		r := j.datasets[path]
		d := r.line
		d.Problem = clone(d.Problem)
		d.Peers = []status.Pair{}
		for _, peer := range slices.Sorted(maps.Keys(r.pairs)) {
			p := *r.pairs[peer]
			p.Moving, p.Seeding, p.LastError = clone(p.Moving), clone(p.Seeding), clone(p.LastError)
			d.Peers = append(d.Peers, p)
		}
		line.Datasets = append(line.Datasets, d)
	}
	return line
}

func (b *Board) job(id string) *job {
	return entry(b.jobs, id, b.named.Job(id), func() *job {
		return &job{line: status.Job{ID: id}, datasets: map[dataset.Path]*row{}}
	})
}

func (j *job) row(path dataset.Path) *row {
	return entry(j.datasets, path, true, func() *row {
		return &row{line: status.Dataset{Path: path}, pairs: map[string]*status.Pair{}}
	})
}

func compareReplicas(a, b ReplicaKey) int {
	if c := strings.Compare(a.From, b.From); c != 0 {
		return c
	}
	return strings.Compare(string(a.Dataset), string(b.Dataset))
}

// entry returns m[k], made first if it is not there. One that is not named is made
// to be thrown away.
func entry[K comparable, V any](m map[K]*V, k K, named bool, fresh func() *V) *V {
	v, ok := m[k]
	if !ok {
		v = fresh()
		if named {
			m[k] = v
		}
	}
	return v
}

func all[T any](T) bool { return true }

func clone[T any](p *T) *T {
	if p == nil {
		return nil
	}
	c := *p
	return &c
}
