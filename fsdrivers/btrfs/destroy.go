package btrfs

import (
	"context"
	"errors"
	"fmt"
	"os"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
)

var (
	_ fsdrivers.ManyDestroyer = (*Source)(nil)
	_ fsdrivers.ManyDestroyer = (*Target)(nil)
)

// Destroy implements fsdrivers.Destroyer.
func (s *Source) Destroy(ctx context.Context, d dataset.Path, snap dataset.Snapshot) error {
	return s.DestroyAll(ctx, d, []dataset.Snapshot{snap})[0]
}

// DestroyAll implements fsdrivers.ManyDestroyer: one look at the holds and one wait
// for the disk, however many there are.
func (s *Source) DestroyAll(ctx context.Context, d dataset.Path, list []dataset.Snapshot) []error {
	o, err := s.openAll(d, false)
	if errors.Is(err, dataset.ErrNotFound) || err == nil && o.dir == nil {
		if err == nil {
			o.close()
		}
		return make([]error, len(list)) // its snapshots went with it
	}
	if err != nil {
		return answerAll(list, err)
	}
	defer o.close()
	return destroyAll(ctx, o.dir, o.facts, list, func(snap dataset.Snapshot) string { return snap.Name })
}

// Destroy implements fsdrivers.Destroyer.
func (t *Target) Destroy(ctx context.Context, d dataset.Path, snap dataset.Snapshot) error {
	return t.DestroyAll(ctx, d, []dataset.Snapshot{snap})[0]
}

// DestroyAll implements fsdrivers.ManyDestroyer.
func (t *Target) DestroyAll(ctx context.Context, d dataset.Path, list []dataset.Snapshot) []error {
	answers := make([]error, len(list))
	err := t.withReplica(d, func(_ *into, r *replica) error {
		if r != nil && r.dir != nil {
			answers = destroyAll(ctx, r.dir, r.facts, list, func(snap dataset.Snapshot) string { return string(snap.ID) })
		}
		return nil
	})
	if err != nil {
		return answerAll(list, err)
	}
	return answers
}

func answerAll(list []dataset.Snapshot, err error) []error {
	answers := make([]error, len(list))
	for i := range answers {
		answers[i] = err
	}
	return answers
}

// razing destroys snapshots of ours in dir, under the lock.
type razing struct {
	dir   *os.File
	facts facts
	holds map[dataset.ID][]dataset.Tag
	pins  map[string]pin
	file  func(dataset.Snapshot) string // of a snapshot's point and pin
	gone  []string                      // such files, of what was destroyed
}

// destroyAll destroys what is what was planned and nobody holds, and then the
// points and pins. What was removed is durable when it returns, whatever the
// answers.
func destroyAll(ctx context.Context, dir *os.File, f facts, list []dataset.Snapshot, file func(dataset.Snapshot) string) []error {
	answers := make([]error, len(list))
	z := &razing{dir: dir, facts: f, file: file}
	err := f.locked(func() (err error) {
		if z.holds, err = f.holds(); err != nil {
			return err
		}
		if z.pins, err = f.pins(); err != nil {
			return err
		}
		for i, snap := range list {
			if err := ctx.Err(); err != nil {
				copy(answers[i:], answerAll(list[i:], err))
				break
			}
			if answers[i] = z.destroy(snap); answers[i] != nil && !errors.Is(answers[i], dataset.ErrHeld) && !errors.Is(answers[i], dataset.ErrChanged) {
				copy(answers[i:], answerAll(list[i:], answers[i]))
				break
			}
		}
		return z.settle()
	})
	if err != nil {
		return answerAll(list, err) // what is gone is gone, and destroying it again is success
	}
	return answers
}

// destroy removes one; it is not durable yet.
func (z *razing) destroy(snap dataset.Snapshot) error {
	if err := ownName(snap.Name); err != nil {
		return err
	}
	sub, err := openSnapshot(z.dir, snap)
	if errors.Is(err, dataset.ErrNotFound) {
		return nil // its point, if one is left, is for the sweep: another name may have it
	}
	if err != nil {
		return fmt.Errorf("destroy: %w", err)
	}
	defer sub.Close()
	if tags := z.holds[snap.ID]; len(tags) > 0 {
		return fmt.Errorf("destroy %s: %w by %s", sub.Name(), dataset.ErrHeld, tags)
	}
	if p, found := z.pins[z.file(snap)]; found && p.ID == snap.ID && !p.Same(snap.Pin) {
		return fmt.Errorf("destroy %s: %w by a pin", sub.Name(), dataset.ErrHeld)
	}
	if err := sub.remove(z.dir); err != nil {
		return err
	}
	z.gone = append(z.gone, z.file(snap))
	return nil
}

// settle makes durable that the snapshots are gone, and then removes what was
// known of them.
func (z *razing) settle() error {
	if len(z.gone) == 0 {
		return nil
	}
	if err := commit(z.dir); err != nil {
		return fmt.Errorf("destroy in %s: commit: %w", z.dir.Name(), err)
	}
	var pins []string
	for _, file := range z.gone {
		if _, found := z.pins[file]; found {
			pins = append(pins, file)
		}
	}
	if err := z.facts.removeFrom(pinsDir, pins...); err != nil {
		return err
	}
	return z.facts.removePoints(z.gone...)
}
