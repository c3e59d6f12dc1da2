package daemon

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"antipode/daemon/policy"
	"antipode/daemon/status"
	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
)

// alarmSpace is the event of a source whose file system is nearly full. It is each
// job's own: another job on the same file system may ask for less.
const alarmSpace = "space-low"

func spaceOf(where, job string) string { return where + " of job " + job }

// roomy leaves out the datasets whose file system has less room than the job wants,
// and tells the operator what may be done.
func (d *Daemon) roomy(ctx context.Context, w *work, paths []dataset.Path) ([]dataset.Path, error) {
	may, full, enough := lookForRoom(ctx, w, paths)
	for _, where := range enough {
		d.watch.Settle(alarmSpace, spaceOf(where, w.job.ID))
	}
	var errs []error
	for where, err := range full {
		d.watch.Alarm(alarmSpace, spaceOf(where, w.job.ID), err.Error()+"; "+err.Next())
		if err.stops {
			errs = append(errs, err)
		}
	}
	return may, errors.Join(errs...)
}

// lookForRoom tells which datasets may be snapshot, and which file systems are full or
// have enough. Where the file says nothing of min_free all may: what was overwritten
// since the oldest snapshot stays on the disk, and making further ones does not make it
// worse at once. What cannot be asked has room.
func lookForRoom(ctx context.Context, w *work, paths []dataset.Path) (may []dataset.Path, full map[string]*fullError, enough []string) {
	want, stops := w.job.MinFree, true
	if want.IsZero() {
		want, stops = policy.Amount{Percent: policy.DefaultMinFree}, false
	}
	asked := map[string]fsdrivers.Usage{}
	full = map[string]*fullError{}
	for _, p := range paths {
		usage, known := asked[fileSystemOf(w.job.Driver, p)]
		if !known {
			var err error
			if usage, err = w.source.Space(ctx, p); err != nil {
				usage = fsdrivers.Usage{}
			}
			asked[fileSystemOf(w.job.Driver, p)] = usage
		}
		least := want.Of(usage.Size)
		if usage.Size > 0 && usage.Free < least {
			full[usage.Where] = &fullError{usage: usage, least: least, stops: stops, job: w.job.ID}
			if stops {
				continue
			}
		} else if usage.Where != "" {
			enough = append(enough, usage.Where)
		}
		may = append(may, p)
	}
	return may, full, enough
}

// fileSystemOf names what has one amount of free space, as far as the path tells: a
// ZFS pool is asked once, since each question costs a process.
func fileSystemOf(kind policy.Driver, p dataset.Path) string {
	if kind == policy.ZFS {
		pool, _, _ := strings.Cut(string(p), "/")
		return pool
	}
	return string(p)
}

// fullError is why no snapshot is made, or why one soon may not be.
type fullError struct {
	usage fsdrivers.Usage
	least int64
	stops bool
	job   string
}

// Error names the file system.
func (e *fullError) Error() string {
	what := "snapshots go on"
	if e.stops {
		what = "no snapshot is made"
	}
	return fmt.Sprintf("%s has %s free, less than the %s that min_free asks for; %s", e.usage.Where, status.Bytes(e.usage.Free), status.Bytes(e.least), what)
}

// Next tells what makes room.
func (e *fullError) Next() string {
	return fmt.Sprintf("see what is held (`antipode holds`) and what would go (`antipode prune %s --dry-run`); a base of a target that stays away is given up with `antipode abandon`", e.job)
}
