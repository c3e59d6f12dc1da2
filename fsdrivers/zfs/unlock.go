package zfs

import (
	"context"
	"errors"
	"fmt"
)

// appear mounts a filesystem, or makes sure that the device of a volume has its
// key. Errors: errKey.
func (t *tool) appear(ctx context.Context, name string) error {
	f, err := t.get(ctx, "type,keystatus", []string{name})
	switch {
	case err != nil:
		return err
	case f[name]["keystatus"] == "unavailable":
		return fmt.Errorf("%s: %w", name, errKey)
	case f[name]["type"] == "volume":
		return nil
	}
	_, err = t.run(ctx, name, "mount", name)
	return unless(err, errNothing)
}

// openLineage does what needs the key of a lineage, which is its own encryption
// root: one zfs receive makes one. Where the key of the dataset above it is loaded,
// the lineage is made to inherit that, as it did on its source, so that a tree of
// datasets needs one key. Nothing is wrapped anew and no key is read; if it is
// another key, it is made its own root again. Errors: errKey.
func (t *tool) openLineage(ctx context.Context, name string, do func() error) error {
	err := do()
	if !errors.Is(err, errKey) {
		return err
	}
	cure := fmt.Errorf("it is there and cannot be opened; `zfs load-key %s`, then activate again: %w", name, err)
	above := parentOf(name)
	f, gerr := t.get(ctx, "keystatus,encryptionroot", []string{name, above})
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
