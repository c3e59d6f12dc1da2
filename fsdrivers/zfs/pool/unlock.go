package pool

import (
	"context"
	"errors"
	"fmt"

	"antipode/fsdrivers/zfs/cli"
	"antipode/fsdrivers/zfs/naming"
)

// Appear mounts a filesystem, or makes sure that the device of a volume has its
// key. Errors: cli.ErrKey.
func (h *Host) Appear(ctx context.Context, name string) error {
	f, err := h.Get(ctx, "type,keystatus", []string{name})
	switch {
	case err != nil:
		return err
	case f[name]["keystatus"] == "unavailable":
		return fmt.Errorf("%s: %w", name, cli.ErrKey)
	case f[name]["type"] == "volume":
		return nil
	}
	_, err = h.Run(ctx, name, "mount", name)
	return cli.Unless(err, cli.ErrNothing)
}

// Open does what needs the key of a dataset that was received, which is its own encryption
// root: one zfs receive makes one. Where the key of the dataset above it is loaded,
// it is made to inherit that, as it did on its source, so that a tree of
// datasets needs one key. Nothing is wrapped anew and no key is read; if it is
// another key, it is made its own root again. Errors: cli.ErrKey.
func (h *Host) Open(ctx context.Context, name string, do func() error) error {
	err := do()
	if !errors.Is(err, cli.ErrKey) {
		return err
	}
	cure := fmt.Errorf("it is there and cannot be opened; `zfs load-key %s`, then activate again: %w", name, err)
	above := naming.ParentOf(name)
	f, gerr := h.Get(ctx, "keystatus,encryptionroot", []string{name, above})
	if gerr != nil || f[above]["keystatus"] != "available" || f[name]["encryptionroot"] != name {
		return cure
	}
	if err := moveKey(name, parentRoot); err != nil {
		return errors.Join(cure, err)
	}
	if err = do(); err == nil {
		return nil
	}
	if back := moveKey(name, ownRoot); back != nil {
		return errors.Join(cure, err, back)
	}
	return cure
}
