package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"antipode/daemon/activate"
	"antipode/daemon/ledger"
	"antipode/daemon/policy"
	"antipode/daemon/quiet"
	"antipode/daemon/replicate"
	"antipode/daemon/snapshot"
	"antipode/daemon/status"
	"antipode/fsdrivers/dataset"
)

// runJob is what a tick of the schedule does. The couriers are not waited for: a
// first copy may take weeks.
func (d *Daemon) runJob(ctx context.Context, id, cause string) error {
	w, ok := d.site().jobs[id]
	if !ok {
		return fmt.Errorf("no job %q in the configuration", id)
	}
	_, err := d.snapshotJob(ctx, w, cause)
	if (w.job.Pulled || !w.job.Replicate.IsZero()) && cause != causeTrigger {
		return err // it has its own times, or its targets'
	}
	for _, c := range w.couriers {
		if cause != causeTrigger && c.Rests() {
			continue
		}
		d.background(func(ctx context.Context) { _, _ = c.Visit(ctx, cause == causeTrigger) }) // what fails is on the board
	}
	return err
}

// snapshotJob is the source's own part of the data path: find the datasets,
// snapshot those that are primary here, prune by policy. It returns how many
// snapshots it made. Runs of one job do not overlap.
func (d *Daemon) snapshotJob(ctx context.Context, w *work, cause string) (int, error) {
	if err := w.running.take(ctx); err != nil {
		return 0, fmt.Errorf("wait for the run before: %w", err)
	}
	defer w.running.give()
	if w.job.Forward != "" {
		return 0, d.runForward(ctx, w)
	}
	id, began := w.job.ID, d.Now()
	d.Board.Job(id, func(j *status.Job) { j.Running, j.LastRun = true, began })
	defer d.Board.Job(id, func(j *status.Job) { j.Running = false })

	paths, err := d.find(ctx, w)
	live, marks, roleErr := d.roles(ctx, w, paths)
	fenceErr := d.fence(ctx, w, paths, marks)
	may, spaceErr := d.roomy(ctx, w, live)
	made, held, snapErr := d.takeSnapshots(ctx, w, may, cause)
	_, _, pruneErr := d.sourceRetention(w, live, errors.Join(err, roleErr)).Run(ctx, false)

	err = errors.Join(err, roleErr, fenceErr, spaceErr, snapErr)
	if err == nil || ctx.Err() == nil {
		d.noteStart(ledger.StartKey{Job: id}, cause, began, d.schedule.Next(id))
	}
	err = errors.Join(err, pruneErr)
	d.Board.Job(id, func(j *status.Job) { j.Problem = d.problem(err) })
	if isQuietRun(cause) && len(made.Taken) == 0 && len(made.Unchanged) > 0 && err == nil {
		return 0, nil // thousands a day, in which nothing happened
	}
	run := ledger.Run{Job: id, Cause: cause, Started: began, Ended: d.Now(), Snapshots: len(made.Taken), Held: held}
	if err != nil {
		run.Error = err.Error()
		d.Log.Error().Err(err).Str("job", id).Msg("run ended with errors")
	}
	d.ledger.Record(ledger.Batch{Runs: []ledger.Run{run}})
	return len(made.Taken), err
}

// takeSnapshots takes those that are due and tells the couriers which datasets are
// as they were. A run that an operator asked for looks at nothing and takes all.
func (d *Daemon) takeSnapshots(ctx context.Context, w *work, live []dataset.Path, cause string) (snapshot.Outcome, time.Duration, error) {
	run := snapshot.Run{Driver: w.source, Job: w.job.ID, Now: d.Now, Always: w.job.Always || cause == causeTrigger}
	hooks := d.quiet.Around(w.job)
	if !w.job.Hooks.IsZero() {
		run.Quiet = hooks
	}
	made, err := run.Take(ctx, live)
	d.noteSnapshots(w.job.ID, made.Taken)
	d.noteSnapshots(w.job.ID, made.Unchanged)
	for _, c := range w.couriers {
		for _, path := range live {
			c.Changed(path)
		}
		for _, t := range made.Unchanged {
			c.Unchanged(t.Dataset, t.Snapshot, made.Looked)
		}
	}
	return made, hooks.Held, err
}

// catchUp sends what an earlier run of this daemon, or an earlier configuration,
// left unsent: the next run of the job may be a day away. A job that replicates at
// its own times is caught up by that schedule.
func (d *Daemon) catchUp(w *work) {
	d.background(func(ctx context.Context) {
		if w.job.Forward != "" {
			_ = d.runForward(ctx, w) // it is on the board
		} else {
			paths, _ := d.find(ctx, w) // the next run tells what is wrong,
			_, marks, _ := d.roles(ctx, w, paths)
			_ = d.fence(ctx, w, paths, marks) // and the rest need not wait for it
		}
		if w.job.Pulled || !w.job.Replicate.IsZero() {
			return
		}
		for _, c := range w.couriers {
			d.background(func(ctx context.Context) { _, _ = c.Visit(ctx, false) }) // what fails is on the board
		}
	})
}

// causeTrigger is the cause of a run that an operator asked for: it does not wait
// for pauses after failures.
const causeTrigger = "trigger"

// find returns the datasets that the job's patterns select, sorted, and brings
// the board in line with them. A root that cannot be read is an error, and its
// datasets stay on the board.
func (d *Daemon) find(ctx context.Context, w *work) ([]dataset.Path, error) {
	var paths []dataset.Path
	var errs []error
	for _, root := range w.job.Datasets.Roots() {
		found, err := w.source.Find(ctx, root.Path, root.Deep)
		if err != nil {
			errs = append(errs, &rootError{w.job.ID, root, err})
			continue
		}
		for _, f := range found {
			if w.job.Datasets.Match(f.Path) {
				paths = append(paths, f.Path)
			}
		}
		if len(found) == 0 && d.isFenced(ctx, w, root.Path) {
			paths = append(paths, root.Path)
		}
	}
	slices.Sort(paths)
	paths = slices.Compact(paths)
	if len(errs) == 0 {
		paths = d.settle(ctx, w, paths)
	}
	for _, p := range paths {
		d.Board.Dataset(w.job.ID, p, func(*status.Dataset) {})
	}
	d.initPairs(w, paths)
	if len(paths) == 0 && len(errs) == 0 && w.job.Forward == "" {
		errs = append(errs, fmt.Errorf("the patterns of job %s %w", w.job.ID, errSelectNone))
	}
	return paths, errors.Join(errs...)
}

// errSelectNone says that all could be looked at, and nothing is there.
var errSelectNone = errors.New("select no dataset")

// settle takes off the board what was not found any more, and returns what was
// together with what a driver cannot find: a dataset below a pattern's root that is
// read-only because it is fenced.
func (d *Daemon) settle(ctx context.Context, w *work, found []dataset.Path) []dataset.Path {
	all := slices.Clone(found)
	for _, known := range d.Board.Datasets(w.job.ID) {
		if _, still := slices.BinarySearch(found, known); still {
			continue
		}
		if w.job.Datasets.Match(known) && d.isFenced(ctx, w, known) {
			all = append(all, known)
			continue
		}
		d.Board.ForgetDataset(w.job.ID, known)
		d.Log.Warn().Str("job", w.job.ID).Stringer("dataset", known).Msg("a dataset is not found any more, and is no longer replicated")
	}
	slices.Sort(all)
	return all
}

// isFenced reports whether the dataset, which a driver does not find because it
// is read-only, is so because another node was made primary of it.
func (d *Daemon) isFenced(ctx context.Context, w *work, path dataset.Path) bool {
	mark, err := w.source.Mark(ctx, path)
	return err == nil && mark.IsForeign(d.node())
}

// rootError is why nothing could be found at a root of a job's patterns.
type rootError struct {
	job  string
	root policy.Root
	err  error
}

// holds reports whether a dataset may be at the root.
func (e *rootError) holds(p dataset.Path) bool {
	return e.root.Path == p || e.root.Deep && e.root.Path.Contains(p)
}

// Error names the root.
func (e *rootError) Error() string {
	return fmt.Sprintf("look for datasets at %s: %v", e.root.Path, e.err)
}

// Unwrap returns what the driver said.
func (e *rootError) Unwrap() error { return e.err }

// Next says what to do where the driver does not.
func (e *rootError) Next() string {
	if !errors.Is(e.err, dataset.ErrNotFound) {
		return ""
	}
	return fmt.Sprintf("mount its file system or import its pool, make it again, or take it out of job %s; what targets hold of it stays", e.job)
}

// fence makes read-only what another node was made primary of: again each time, since
// a crash may have come between the mark and that.
func (d *Daemon) fence(ctx context.Context, w *work, paths []dataset.Path, marks map[dataset.Path]dataset.Mark) error {
	var errs []error
	for _, p := range paths {
		mark, known := marks[p]
		if !known {
			continue
		}
		role := activate.SourceRole(mark, d.node())
		if role != activate.Primary {
			if err := w.source.Fence(ctx, p); err != nil {
				errs = append(errs, fmt.Errorf("make %s read-only: %w", p, err))
			} else {
				role = activate.Fenced
			}
		}
		d.Board.Dataset(w.job.ID, p, func(line *status.Dataset) {
			line.Role, line.Generation = role.String(), mark.Generation
			if role != activate.Primary {
				line.Problem = nil // its retention rests
			}
		})
	}
	return errors.Join(errs...)
}

// roles reads which datasets this node is primary of, and their marks. It writes
// nothing.
func (d *Daemon) roles(ctx context.Context, w *work, paths []dataset.Path) (live []dataset.Path, marks map[dataset.Path]dataset.Mark, err error) {
	var errs []error
	marks = make(map[dataset.Path]dataset.Mark, len(paths))
	for _, p := range paths {
		mark, err := w.source.Mark(ctx, p)
		if err != nil {
			errs = append(errs, fmt.Errorf("read mark of %s: %w", p, err))
			continue
		}
		marks[p] = mark
		if activate.SourceRole(mark, d.node()) == activate.Primary {
			live = append(live, p)
		}
	}
	return live, marks, errors.Join(errs...)
}

func (d *Daemon) noteSnapshots(job string, taken []snapshot.Taken) {
	for _, t := range taken {
		d.Board.Dataset(job, t.Dataset, func(line *status.Dataset) {
			line.Snapshot = status.Point{Name: t.Snapshot.Name, Time: t.Snapshot.Created}
		})
	}
}

// problem words an error for the board; nil for none.
func (d *Daemon) problem(err error) *status.Problem {
	if err == nil {
		return nil
	}
	p := replicate.Problem(err, d.Now())
	if hook, ok := errors.AsType[*quiet.HookError](err); ok && p.Next == "" {
		p.Next = hook.Mend()
	}
	return p
}
