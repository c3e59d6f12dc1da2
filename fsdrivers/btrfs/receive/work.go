package receive

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"antipode/fsdrivers/btrfs/segment"
	"antipode/fsdrivers/btrfs/sidecar"
	"antipode/fsdrivers/btrfs/standby"
	"antipode/fsdrivers/btrfs/subvol"
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/failpoint"
	"antipode/fsdrivers/internal/command"
	"antipode/fsdrivers/internal/takeover"
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
	in   *standby.Into
	step dataset.StepID
	dir  *os.File
	root *os.File // nil where a crash came before it was made
	lock *command.Lock
}

// takeWork takes the directory of a step: anew, or with what is sealed up to the
// checkpoint. What else was begun for the replica is removed. Errors: ErrBusy,
// ErrStuck, ErrStaleCheckpoint.
func (rv *Receiver) takeWork(ctx context.Context, in *standby.Into, incoming dataset.Incoming) (*work, segment.Journal, error) {
	rv.starting.Lock()
	defer rv.starting.Unlock()
	s, keep := incoming.Step, dataset.StepID("")
	if !incoming.Checkpoint.IsZero() {
		keep = s.ID()
	}
	if err := rv.removeWorkOf(ctx, in, s.Dataset.ID, keep); err != nil {
		return nil, segment.Journal{}, err
	}
	if keep != "" {
		return rv.resumeWork(ctx, in, incoming)
	}
	if err := removeDamaged(ctx, in, s.ID()); err != nil {
		return nil, segment.Journal{}, err
	}
	w, err := beginWork(ctx, in, s)
	return w, segment.Journal{}, err
}

// beginWork makes and locks the directory of a step.
func beginWork(ctx context.Context, in *standby.Into, s dataset.Step) (*work, error) {
	w, err := openWork(ctx, in, string(s.ID()))
	if err != nil {
		return nil, err
	}
	err = sidecar.Write(w.dir, recordFile, sidecar.Step,
		record{Step: w.step, Dataset: s.Dataset, From: s.From.ID, To: s.To.ID, Name: s.To.Name})
	if err == nil {
		w.root, err = subvol.MakeDir(w.dir, rootName, 0o700)
	}
	if err != nil {
		return nil, errors.Join(err, w.remove())
	}
	failpoint.Hit("work-begun")
	return w, nil
}

// resumeWork opens the directory of a step and drops what lies behind the
// checkpoint.
func (rv *Receiver) resumeWork(ctx context.Context, in *standby.Into, incoming dataset.Incoming) (*work, segment.Journal, error) {
	stale := &dataset.StaleCheckpointError{Why: "nothing is sealed here at that byte"}
	c, step := incoming.Checkpoint, incoming.Step
	switch _, found, err := readRecord(in, string(step.ID())); {
	case errors.Is(err, sidecar.ErrDamaged):
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
	j, err := rv.readJournal(w, step.IsFull())
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
func lookAtWork(in *standby.Into, r record) (*work, error) {
	dir, err := subvol.OpenDirBelow(in.Incoming, string(r.Step))
	if err != nil {
		return nil, err
	}
	w := &work{in: in, step: r.Step, dir: dir}
	if w.root, err = subvol.OpenDirBelow(dir, rootName); err != nil && !errors.Is(err, dataset.ErrNotFound) {
		w.close()
		return nil, err
	}
	return w, nil
}

// openWork takes over the directory of a step, and makes it where it is missing.
// A child that outlived its daemon is ended first. Errors: ErrBusy, ErrStuck.
func openWork(ctx context.Context, in *standby.Into, step string) (*work, error) {
	id, err := dataset.ParseStepID(step)
	if err != nil {
		return nil, fmt.Errorf("work in progress in %s: %w", in.Incoming.Name(), err)
	}
	dir, err := subvol.MakeDirBelow(in.Incoming, step, 0o700)
	if err != nil {
		return nil, err
	}
	lock, err := takeover.Lock(ctx, filepath.Join(dir.Name(), lockFile))
	if err != nil {
		dir.Close()
		if !errors.Is(err, dataset.ErrBusy) && !errors.Is(err, dataset.ErrStuck) { // it is nobody's: a full disk leaves no litter
			_ = unix.Unlinkat(int(in.Incoming.Fd()), step+"/"+lockFile, 0)
			_ = unix.Unlinkat(int(in.Incoming.Fd()), step, unix.AT_REMOVEDIR)
		}
		return nil, subvol.SpaceError(in.File, fmt.Errorf("step %s: %w", step, err))
	}
	w := &work{in: in, step: id, dir: dir, lock: lock}
	w.root, err = subvol.OpenDirBelow(dir, rootName)
	if err != nil && !errors.Is(err, dataset.ErrNotFound) {
		w.close()
		return nil, err
	}
	return w, nil
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
	list, err := subvol.Names(w.dir)
	if err != nil {
		return err
	}
	for _, name := range list {
		if name != recordFile && name != journalFile && name != lockFile && !strings.HasPrefix(name, sidecar.TempPrefix) {
			return fmt.Errorf("%q is not Antipode's; look at it and remove it: %w", name, dataset.ErrExists)
		}
	}
	for _, name := range append(list, lockFile) {
		if err := unix.Unlinkat(int(w.dir.Fd()), name, 0); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("remove %s: %w", name, err)
		}
	}
	err = unix.Unlinkat(int(w.in.Incoming.Fd()), string(w.step), unix.AT_REMOVEDIR)
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
	if err := subvol.RemoveIn(w.root, baseName); err != nil {
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

// readRecord reads what a step's directory belongs to; found is false in one
// that was made and not written to.
func readRecord(in *standby.Into, step string) (r record, found bool, err error) {
	dir, err := subvol.OpenDirBelow(in.Incoming, step)
	if errors.Is(err, dataset.ErrNotFound) {
		return record{}, false, nil
	}
	if err != nil {
		return record{}, false, err
	}
	defer dir.Close()
	r, found, err = sidecar.Read[record](dir, recordFile, sidecar.Step, "remove the file: the sweep then removes the work in progress with it")
	if found && string(r.Step) != step {
		return record{}, false, fmt.Errorf("%s: its record is of step %s; remove the record: %w", dir.Name(), r.Step, sidecar.ErrDamaged)
	}
	return r, found, err
}

// stepsOf lists the work in progress of one replica. One whose record is damaged may
// be anybody's: it is left to the sweep, which names it, and holds nobody up.
func (rv *Receiver) stepsOf(in *standby.Into, id dataset.ID) ([]record, error) {
	steps, err := subvol.Names(in.Incoming)
	if err != nil {
		return nil, err
	}
	var all []record
	for _, step := range steps {
		switch r, found, err := readRecord(in, step); {
		case errors.Is(err, sidecar.ErrDamaged):
			rv.log.Warn().Err(err).Str("step", step).Msg("work in progress that cannot be told whose it is")
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
func (rv *Receiver) removeWorkOf(ctx context.Context, in *standby.Into, id dataset.ID, keep dataset.StepID) error {
	steps, err := rv.stepsOf(in, id)
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

// DropWork removes all work in progress of one replica. Errors: ErrBusy, ErrStuck.
func (rv *Receiver) DropWork(ctx context.Context, in *standby.Into, id dataset.ID) error {
	rv.starting.Lock()
	defer rv.starting.Unlock()
	return rv.removeWorkOf(ctx, in, id, "")
}

// removeDamaged removes the directory of a step whose record cannot be read: it is
// about to be received anew.
func removeDamaged(ctx context.Context, in *standby.Into, step dataset.StepID) error {
	if _, _, err := readRecord(in, string(step)); !errors.Is(err, sidecar.ErrDamaged) {
		return err
	}
	w, err := openWork(ctx, in, string(step))
	if err != nil {
		return err
	}
	return w.remove()
}
