package wish

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync"

	"antipode/daemon/durable"
)

// pausesFile holds the paused jobs, so that a restart does not set going what an
// operator stopped. It is a wish, not history, and so not in the ledger.
const pausesFile = "paused.json"

// Pauses are the jobs that an operator paused.
type Pauses struct {
	path string

	writing sync.Mutex // held by who writes; who asks does not wait for the disk
	mu      sync.Mutex // guards paused, which is replaced and not changed
	paused  map[string]bool
}

// LoadPauses reads what an operator wished before this daemon began.
func LoadPauses(stateDir string) (*Pauses, error) {
	p := &Pauses{path: filepath.Join(stateDir, pausesFile), paused: map[string]bool{}}
	var jobs []string
	if err := durable.ReadJSON(p.path, &jobs); err != nil {
		return nil, fmt.Errorf("read which jobs are paused: %w; remove %s to go on with none", err, p.path)
	}
	for _, id := range jobs {
		p.paused[id] = true
	}
	return p, nil
}

// Has reports whether a job is paused.
func (p *Pauses) Has(job string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.paused[job]
}

// Set pauses a job, or lets it go on, and tells what it was. It is durable when it
// returns; on an error nothing changed.
func (p *Pauses) Set(job string, paused bool) (before bool, err error) {
	p.writing.Lock()
	defer p.writing.Unlock()
	before = p.Has(job)
	next := maps.Clone(p.paused) // only who holds writing replaces it
	if delete(next, job); paused {
		next[job] = true
	}
	if err := durable.WriteJSON(p.path, slices.Sorted(maps.Keys(next))); err != nil {
		return before, fmt.Errorf("remember that job %s is paused: %w", job, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.paused = next
	return before, nil
}
