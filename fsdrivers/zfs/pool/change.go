package pool

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/cli"
	"antipode/fsdrivers/zfs/naming"
	"antipode/fsdrivers/zfs/prop"
)

// Bookmark makes a bookmark of a snapshot in ds, which is the snapshot's dataset
// or a clone of it.
func (h *Host) Bookmark(ctx context.Context, e Entry, ds string) error {
	name := ds + "#" + e.Short()
	if !e.IsOurs() {
		name = ds + "#" + dataset.ForeignPrefix + e.Short()
	}
	_, err := h.Run(ctx, ds, "bookmark", e.Name, name)
	if !errors.Is(err, dataset.ErrExists) {
		return err
	}
	f, gerr := h.Get(ctx, "guid", []string{name})
	if gerr != nil {
		return gerr
	}
	if f.Number(name, "guid") != e.GUID {
		return fmt.Errorf("%s is of another snapshot: %w", name, err)
	}
	return nil
}

// Snapshot makes them in one transaction, unless they are more than a command line
// takes.
func (h *Host) Snapshot(ctx context.Context, full []string, created time.Time) error {
	return cli.AtOnce(full, func(some []string) error {
		_, err := h.Run(ctx, some[0], append([]string{"snapshot", "-o", prop.Created + "=" + prop.TextOf(created)}, some...)...)
		return err
	})
}

// Rename renames without mounting anything anew; to volumes that does not apply, and
// zfs refuses the option.
func (h *Host) Rename(ctx context.Context, from, to string) error {
	f, err := h.Get(ctx, "type", []string{from})
	if err != nil {
		return err
	}
	args := []string{"rename", "-u", from, to}
	if f[from]["type"] == "volume" {
		args = []string{"rename", from, to}
	}
	if _, err := h.Run(ctx, from, args...); err != nil {
		return fmt.Errorf("rename %s to %s: %w", from, to, err)
	}
	return nil
}

// Create makes a filesystem; one that is there is success.
func (h *Host) Create(ctx context.Context, name string, args ...string) error {
	_, err := h.Run(ctx, name, append(append([]string{"create"}, args...), name)...)
	if cli.Unless(err, dataset.ErrExists) != nil {
		return fmt.Errorf("create %s: %w", name, err)
	}
	return nil
}

// MakeParents makes placeholders for all that lies between root and name.
func (h *Host) MakeParents(ctx context.Context, root, name string, args []string) error {
	rest, below := strings.CutPrefix(naming.ParentOf(name), root+"/")
	if !below {
		return nil
	}
	var chain []string
	for here := root + "/" + rest; here != root; here = naming.ParentOf(here) {
		chain = append([]string{here}, chain...)
	}
	there, err := h.Get(ctx, "guid", chain)
	if cli.Unless(err, dataset.ErrNotFound) != nil {
		return err
	}
	for _, name := range chain {
		if there[name] == nil {
			if err := h.Create(ctx, name, args...); err != nil {
				return err
			}
		}
	}
	return nil
}
