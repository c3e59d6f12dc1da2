package wish

import (
	"fmt"
	"maps"
	"path/filepath"
	"sync"
	"time"

	"antipode/daemon/durable"
	"antipode/daemon/policy"
)

// ratesFile holds the rates that an operator set by command. Like a pause they are
// wishes: they outlive a restart and a reload, until they end or are taken back.
const ratesFile = "rates.json"

// Standing are the rates in force, by job; "" is the host. It is not changed any more.
type Standing map[string]policy.Wish

// Of is the rate of one job, or of the host; nil if none was set.
func (s Standing) Of(job string) *policy.Wish {
	if w, ok := s[job]; ok {
		return &w
	}
	return nil
}

// Rates are the rates that were set by command. Which one counts now, beside the
// file's, is said by policy.Timetable.
type Rates struct {
	path string

	writing sync.Mutex // held by who writes; who asks does not wait for the disk
	mu      sync.Mutex // guards all
	all     Standing
}

// LoadRates reads what an operator wished before this daemon began.
func LoadRates(stateDir string) (*Rates, error) {
	r := &Rates{path: filepath.Join(stateDir, ratesFile), all: Standing{}}
	if err := durable.ReadJSON(r.path, &r.all); err != nil {
		return nil, fmt.Errorf("read which rates were set by command: %w; remove %s to go on with the file's", err, r.path)
	}
	return r, nil
}

// Standing is what was set and not taken back, also what has ended by now.
func (r *Rates) Standing() Standing {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all
}

// Set sets the rate of a job, or of the host where it is "", or takes it back where w is
// nil; it forgets what has ended. It is durable when it returns; on an error nothing changed.
func (r *Rates) Set(job string, w *policy.Wish, now time.Time) error {
	r.writing.Lock()
	defer r.writing.Unlock()
	next := maps.Clone(r.Standing())
	maps.DeleteFunc(next, func(_ string, w policy.Wish) bool { return !w.Holds(now) })
	if delete(next, job); w != nil {
		next[job] = *w
	}
	if err := durable.WriteJSON(r.path, next); err != nil {
		return fmt.Errorf("remember the rate: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = next
	return nil
}
