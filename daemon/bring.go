package daemon

import (
	"context"
	"errors"
	"sync"

	"antipode/daemon/replicate"
)

// Replicate brings what a job's datasets hold to its peers, or to those that are
// named, and takes no snapshot. It returns when all that the source held when it
// was called has been tried.
func (d *Daemon) Replicate(ctx context.Context, job string, peers ...string) (replicate.Tally, error) {
	w, err := d.job(job)
	if err != nil {
		return replicate.Tally{}, err
	}
	named := map[string]bool{}
	for _, p := range peers {
		named[p] = true
	}
	var visits sync.WaitGroup
	var mu sync.Mutex // guards both below
	var sum replicate.Tally
	var errs []error
	for name, c := range w.couriers {
		if len(peers) > 0 && !named[name] {
			continue
		}
		visits.Go(func() {
			tally, err := c.Visit(ctx, true)
			mu.Lock()
			defer mu.Unlock()
			sum.Steps += tally.Steps
			sum.Bytes += tally.Bytes
			errs = append(errs, err)
		})
	}
	visits.Wait()
	return sum, errors.Join(errs...)
}
