package pool

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/prop"
)

// Mark reads the mark among the facts of a dataset.
func (f Facts) Mark(name string) (dataset.Mark, error) {
	m, err := prop.DecodeMark(f[name][prop.Mark])
	if err != nil {
		return dataset.Mark{}, fmt.Errorf("%s of %s: %w", prop.Mark, name, err)
	}
	return m, nil
}

// SwapMark writes next on name if the mark that is there is still old, and reads
// it back. The caller keeps others away.
func (h *Host) SwapMark(ctx context.Context, name string, old, next dataset.Mark) error {
	if err := next.Validate(); err != nil {
		return fmt.Errorf("mark of %s: %w", name, err)
	}
	f, err := h.Get(ctx, prop.Mark, []string{name})
	if err != nil {
		return err
	}
	have, err := f.Mark(name)
	if err != nil {
		return err
	}
	if !sameMark(have, old) {
		return fmt.Errorf("mark of %s is of generation %d (%s), not %d (%s): %w", name, have.Generation, have.ID, old.Generation, old.ID, dataset.ErrChanged)
	}
	return h.writeMark(ctx, name, next)
}

// sameMark compares all of two marks: a rival of the same generation is another mark.
func sameMark(a, b dataset.Mark) bool {
	return a.Activation == b.Activation && slices.Equal(a.History, b.History)
}

func (h *Host) writeMark(ctx context.Context, name string, next dataset.Mark) error {
	text, err := prop.EncodeMark(next)
	if err != nil {
		return fmt.Errorf("mark of %s: %w", name, err)
	}
	if err := h.Set(ctx, name, prop.Mark, text); err != nil {
		return err
	}
	f, err := h.Get(ctx, prop.Mark, []string{name})
	if err != nil {
		return err
	}
	got, err := f.Mark(name)
	if err != nil || !sameMark(got, next) {
		return errors.Join(err, fmt.Errorf("mark of %s: read back another than was written", name))
	}
	return nil
}
