package btrfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"antipode/fsdrivers/btrfs/segment"
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/failpoint"
	"antipode/fsdrivers/internal/command"
)

// What is in INTO/.antipode/incoming/<step>/. The sweep removes these names and
// no others.
const (
	lockFile     = "lock"
	recordFile   = "record"
	journalFile  = "segments"
	rootName     = "root"       // what `btrfs receive` has for its root: what a stream can reach
	baseName     = "base"       // in root, beside the segments
	tempSnapshot = ".incoming-" // with the step behind it: a snapshot on its way to its final name, beside it
)

// record says what work in progress belongs to.
type record struct {
	Step    dataset.StepID  `json:"step"`
	Dataset dataset.Dataset `json:"dataset"`
	From    dataset.ID      `json:"from,omitzero"`
	To      dataset.ID      `json:"to"`
	Name    string          `json:"name"`
}

// work is the directory of a step that this process owns.
type work struct {
	in   *into
	step dataset.StepID
	dir  *os.File
	root *os.File // nil where a crash came before it was made
	lock *command.Lock
}

// takeWork takes the directory of a step: anew, or with what is sealed up to the
// checkpoint. What else was begun for the replica is removed. Errors: ErrBusy,
// ErrStuck, ErrStaleCheckpoint.
func (t *Target) takeWork(ctx context.Context, in *into, incoming dataset.Incoming) (*work, segment.Journal, error) {
	t.starting.Lock()
	defer t.starting.Unlock()
	s, keep := incoming.Step, dataset.StepID("")
	if !incoming.Checkpoint.IsZero() {
		keep = s.ID()
	}
	if err := t.removeWorkOf(ctx, in, s.Dataset.ID, keep); err != nil {
		return nil, segment.Journal{}, err
	}
	if keep != "" {
		return t.resumeWork(ctx, in, incoming)
	}
	if err := removeDamaged(ctx, in, s.ID()); err != nil {
		return nil, segment.Journal{}, err
	}
	w, err := beginWork(ctx, in, s)
	return w, segment.Journal{}, err
}

// beginWork makes and locks the directory of a step.
func beginWork(ctx context.Context, in *into, s dataset.Step) (*work, error) {
	w, err := openWork(ctx, in, string(s.ID()))
	if err != nil {
		return nil, err
	}
	err = writeSidecar(w.dir, recordFile, kindStep,
		record{Step: w.step, Dataset: s.Dataset, From: s.From.ID, To: s.To.ID, Name: s.To.Name})
	if err == nil {
		w.root, err = makeIn(w.dir, rootName, 0o700)
	}
	if err != nil {
		return nil, errors.Join(err, w.remove())
	}
	failpoint.Hit("work-begun")
	return w, nil
}

// resumeWork opens the directory of a step and drops what lies behind the
// checkpoint.
func (t *Target) resumeWork(ctx context.Context, in *into, incoming dataset.Incoming) (*work, segment.Journal, error) {
	stale := &dataset.StaleCheckpointError{Why: "nothing is sealed here at that byte"}
	c, step := incoming.Checkpoint, incoming.Step
	switch _, found, err := readRecord(in, string(step.ID())); {
	case errors.Is(err, errDamaged):
		return nil, segment.Journal{}, fmt.Errorf("%w: %w", stale, err)
	case err != nil:
		return nil, segment.Journal{}, err
	case !found || c.Step != step.ID() || c.Kind != segment.Kind:
		return nil, segment.Journal{}, stale
	}
	w, err := openWork(ctx, in, string(step.ID()))
	if err != nil {
		return nil, segment.Journal{}, err
	}
	j, err := t.readJournal(w, step.IsFull())
	if err == nil {
		var found bool
		if j, found = j.Upto(c.Done); !found {
			err = stale
		}
	}
	if err == nil {
		err = w.writeJournal(j)
	}
	if err == nil {
		failpoint.Hit("resume-recorded")
		err = w.removeUnsealed(j)
	}
	if err != nil {
		w.close()
		return nil, segment.Journal{}, err
	}
	return w, j, nil
}

// lookAtWork opens the directory of a step beside whoever works in it.
func lookAtWork(in *into, r record) (*work, error) {
	dir, err := openBelow(in.incoming, string(r.Step))
	if err != nil {
		return nil, err
	}
	w := &work{in: in, step: r.Step, dir: dir}
	if w.root, err = openBelow(dir, rootName); err != nil && !errors.Is(err, dataset.ErrNotFound) {
		w.close()
		return nil, err
	}
	return w, nil
}

// openWork takes over the directory of a step, and makes it where it is missing.
// A child that outlived its daemon is ended first. Errors: ErrBusy, ErrStuck.
func openWork(ctx context.Context, in *into, step string) (*work, error) {
	id, err := dataset.ParseStepID(step)
	if err != nil {
		return nil, fmt.Errorf("work in progress in %s: %w", in.incoming.Name(), err)
	}
	dir, err := makeBelow(in.incoming, step, 0o700)
	if err != nil {
		return nil, err
	}
	lock, err := takeLock(ctx, filepath.Join(dir.Name(), lockFile))
	if err != nil {
		dir.Close()
		if !errors.Is(err, dataset.ErrBusy) && !errors.Is(err, dataset.ErrStuck) { // it is nobody's: a full disk leaves no litter
			_ = unix.Unlinkat(int(in.incoming.Fd()), step+"/"+lockFile, 0)
			_ = unix.Unlinkat(int(in.incoming.Fd()), step, unix.AT_REMOVEDIR)
		}
		return nil, spaceError(in.File, fmt.Errorf("step %s: %w", step, err))
	}
	w := &work{in: in, step: id, dir: dir, lock: lock}
	w.root, err = openBelow(dir, rootName)
	if err != nil && !errors.Is(err, dataset.ErrNotFound) {
		w.close()
		return nil, err
	}
	return w, nil
}

func takeLock(ctx context.Context, path string) (*command.Lock, error) {
	err := command.EndOrphan(ctx, path)
	if err == nil {
		var lock *command.Lock
		if lock, err = command.TryLock(path); err == nil {
			return lock, nil
		}
	}
	switch {
	case errors.Is(err, command.ErrLocked):
		return nil, fmt.Errorf("%w: %w", dataset.ErrBusy, err)
	case errors.Is(err, command.ErrStuck):
		return nil, fmt.Errorf("%w: %w", dataset.ErrStuck, err)
	}
	return nil, err
}

// remove removes everything in the directory that has one of our names, the lock
// last, and lets go of it. It does not wait for the cleaner.
func (w *work) remove() error {
	err := w.removeAll()
	w.close()
	if err != nil {
		return fmt.Errorf("remove work in progress %s: %w", w.dir.Name(), err)
	}
	return nil
}

func (w *work) close() {
	if w.lock != nil {
		_ = w.lock.Close()
	}
	if w.root != nil {
		w.root.Close()
	}
	w.dir.Close()
}

func (w *work) removeAll() error {
	if err := w.removeRoot(); err != nil {
		return err
	}
	list, err := names(w.dir)
	if err != nil {
		return err
	}
	for _, name := range list {
		if name != recordFile && name != journalFile && name != lockFile && !strings.HasPrefix(name, tempPrefix) {
			return fmt.Errorf("%q is not Antipode's; look at it and remove it: %w", name, dataset.ErrExists)
		}
	}
	for _, name := range append(list, lockFile) {
		if err := unix.Unlinkat(int(w.dir.Fd()), name, 0); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("remove %s: %w", name, err)
		}
	}
	err = unix.Unlinkat(int(w.in.incoming.Fd()), string(w.step), unix.AT_REMOVEDIR)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	return nil
}

// removeRoot removes what `btrfs receive` worked in. Anything else that a stream has
// put there stays, for somebody to look at.
func (w *work) removeRoot() error {
	if w.root == nil {
		return nil
	}
	if err := w.removeUnsealed(segment.Journal{}); err != nil {
		return err
	}
	if err := removeSubvolume(w.root, baseName); err != nil {
		return err
	}
	failpoint.Hit("work-emptied")
	err := unix.Unlinkat(int(w.dir.Fd()), rootName, unix.AT_REMOVEDIR)
	if errors.Is(err, unix.ENOTEMPTY) {
		return fmt.Errorf("%s holds what a stream has put there; look at it and remove it: %w", w.root.Name(), dataset.ErrExists)
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove %s: %w", w.root.Name(), err)
	}
	return nil
}

// removeSubvolume removes the intermediate subvolume name in dir, if it is there.
// One that a crash brings back is removed again.
func removeSubvolume(dir *os.File, name string) error {
	sub, err := openSubvolumeBelow(dir, name)
	if errors.Is(err, dataset.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	defer sub.Close()
	return sub.remove(dir)
}

// readRecord reads what a step's directory belongs to; found is false in one
// that was made and not written to.
func readRecord(in *into, step string) (r record, found bool, err error) {
	dir, err := openBelow(in.incoming, step)
	if errors.Is(err, dataset.ErrNotFound) {
		return record{}, false, nil
	}
	if err != nil {
		return record{}, false, err
	}
	defer dir.Close()
	r, found, err = readSidecar[record](dir, recordFile, kindStep, "remove the file: the sweep then removes the work in progress with it")
	if found && string(r.Step) != step {
		return record{}, false, fmt.Errorf("%s: its record is of step %s; remove the record: %w", dir.Name(), r.Step, errDamaged)
	}
	return r, found, err
}

// stepsOf lists the work in progress of one replica. One whose record is damaged may
// be anybody's: it is left to the sweep, which names it, and holds nobody up.
func (t *Target) stepsOf(in *into, id dataset.ID) ([]record, error) {
	steps, err := names(in.incoming)
	if err != nil {
		return nil, err
	}
	var all []record
	for _, step := range steps {
		switch r, found, err := readRecord(in, step); {
		case errors.Is(err, errDamaged):
			t.opts.Log.Warn().Err(err).Str("step", step).Msg("work in progress that cannot be told whose it is")
		case err != nil:
			return nil, err
		case found && r.Dataset.ID == id:
			all = append(all, r)
		}
	}
	return all, nil
}

// removeWorkOf removes the work in progress of one replica, but for the step keep.
// Errors: ErrBusy if it is not abandoned, ErrStuck.
func (t *Target) removeWorkOf(ctx context.Context, in *into, id dataset.ID, keep dataset.StepID) error {
	steps, err := t.stepsOf(in, id)
	if err != nil {
		return err
	}
	for _, s := range steps {
		if s.Step == keep {
			continue
		}
		w, err := openWork(ctx, in, string(s.Step))
		if err != nil {
			return err
		}
		if err := w.remove(); err != nil {
			return err
		}
	}
	return nil
}

// removeDamaged removes the directory of a step whose record cannot be read: it is
// about to be received anew.
func removeDamaged(ctx context.Context, in *into, step dataset.StepID) error {
	if _, _, err := readRecord(in, string(step)); !errors.Is(err, errDamaged) {
		return err
	}
	w, err := openWork(ctx, in, string(step))
	if err != nil {
		return err
	}
	return w.remove()
}
