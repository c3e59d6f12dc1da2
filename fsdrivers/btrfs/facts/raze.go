package facts

import (
	"context"
	"errors"
	"fmt"
	"os"

	"antipode/fsdrivers/btrfs/naming"
	"antipode/fsdrivers/btrfs/subvol"
	"antipode/fsdrivers/dataset"
)

// AnswerAll is one answer for all of a list.
func AnswerAll(list []dataset.Snapshot, err error) []error {
	answers := make([]error, len(list))
	for i := range answers {
		answers[i] = err
	}
	return answers
}

// razing destroys snapshots of ours in dir, under the lock.
type razing struct {
	dir   *os.File
	facts Dir
	holds map[dataset.ID][]dataset.Tag
	pins  map[string]Pin
	file  func(dataset.Snapshot) string // of a snapshot's point and pin
	gone  []string                      // such files, of what was destroyed
}

// DestroyAll destroys what is what was planned and nobody holds, and then the
// points and pins. What was removed is durable when it returns, whatever the
// answers.
func (f Dir) DestroyAll(ctx context.Context, dir *os.File, list []dataset.Snapshot, file func(dataset.Snapshot) string) []error {
	answers := make([]error, len(list))
	z := &razing{dir: dir, facts: f, file: file}
	err := f.Locked(func() (err error) {
		if z.holds, err = f.Holds(); err != nil {
			return err
		}
		if z.pins, err = f.Pins(); err != nil {
			return err
		}
		for i, snap := range list {
			if err := ctx.Err(); err != nil {
				copy(answers[i:], AnswerAll(list[i:], err))
				break
			}
			if answers[i] = z.destroy(snap); answers[i] != nil && !errors.Is(answers[i], dataset.ErrHeld) && !errors.Is(answers[i], dataset.ErrChanged) {
				copy(answers[i:], AnswerAll(list[i:], answers[i]))
				break
			}
		}
		return z.settle()
	})
	if err != nil {
		return AnswerAll(list, err) // what is gone is gone, and destroying it again is success
	}
	return answers
}

// destroy removes one; it is not durable yet.
func (z *razing) destroy(snap dataset.Snapshot) error {
	if err := naming.Own(snap.Name); err != nil {
		return err
	}
	sub, err := subvol.OpenSnapshot(z.dir, snap)
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
	if err := sub.Remove(z.dir); err != nil {
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
	if err := subvol.Commit(z.dir); err != nil {
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
	return z.facts.RemovePoints(z.gone...)
}
