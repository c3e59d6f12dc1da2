// Package pool is what is on the pools of this host, asked of `zfs` and changed by it: datasets,
// snapshots, bookmarks, their properties, holds and marks. One method is one question or one
// change, mostly one process. It keeps nothing, and does not know what a source or a replica is.
package pool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"time"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/cli"
	"antipode/fsdrivers/zfs/naming"
)

// Host is the pools of this host. Its methods may be called concurrently.
type Host struct{ *cli.Tool }

// NewHost makes one, with the zfs of that path, or "" for the one in PATH. A short command may
// take so long before it is given up on, as on a suspended pool; 0 is 3 minutes. It touches
// nothing.
func NewHost(binary string, giveUp time.Duration) *Host {
	return &Host{cli.New(binary, giveUp)}
}

// List runs a fast list of ds and what is directly in it, sorted by createtxg.
func (h *Host) List(ctx context.Context, ds string) ([]Entry, error) {
	out, err := h.Run(ctx, ds, "list", "-Hp", "-d", "1", "-t", "snapshot,bookmark", "-o", listColumns, "-s", "createtxg", ds)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", ds, err)
	}
	all, err := parseList(out)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", ds, err)
	}
	all = slices.DeleteFunc(all, func(e Entry) bool { return e.dataset() != ds })
	sort.SliceStable(all, func(i, j int) bool { return all[i].TXG < all[j].TXG })
	return all, nil
}

// Get reads properties of the named objects, and with args ("-r", "-t", ...) of
// others. Objects that do not exist are left out; that all are missing is
// ErrNotFound.
func (h *Host) Get(ctx context.Context, props string, names []string, args ...string) (Facts, error) {
	all := make(Facts)
	var missing error
	err := cli.ByPool(names, func(some []string) error {
		argv := append([]string{"get", "-Hp", "-o", factColumns}, args...)
		out, err := h.Run(ctx, some[0], append(append(argv, props), some...)...)
		if err != nil && !errors.Is(err, dataset.ErrNotFound) {
			return err
		}
		missing = errors.Join(missing, err)
		found, err := parseFacts(out)
		for name, f := range found {
			all[name] = f
		}
		return err
	})
	if err == nil && len(all) == 0 {
		err = missing
	}
	if err != nil {
		return nil, fmt.Errorf("properties of %s: %w", names[0], err)
	}
	return all, nil
}

// Set sets properties of one object: name, value, name, value...
func (h *Host) Set(ctx context.Context, name string, props ...string) error {
	args := []string{"set"}
	for i := 0; i < len(props); i += 2 {
		args = append(args, props[i]+"="+props[i+1])
	}
	if _, err := h.Run(ctx, name, append(args, name)...); err != nil {
		return fmt.Errorf("set properties of %s: %w", name, err)
	}
	return nil
}

// Unset takes a property of ours off.
func (h *Host) Unset(ctx context.Context, name, property string) error {
	if _, err := h.Run(ctx, name, "inherit", property, name); err != nil {
		return fmt.Errorf("take %s off %s: %w", property, name, err)
	}
	return nil
}

// Find looks up the snapshot of ds that still has that name and identity.
// Errors: ErrNotFound, ErrChanged.
func (h *Host) Find(ctx context.Context, ds string, s dataset.Snapshot) (Entry, error) {
	if err := naming.Listed(s); err != nil {
		return Entry{}, err
	}
	full := ds + "@" + s.Name
	out, err := h.Run(ctx, ds, "list", "-Hp", "-t", "snapshot", "-o", listColumns, full)
	if err != nil {
		return Entry{}, fmt.Errorf("look up %s: %w", full, err)
	}
	all, err := parseList(out)
	switch {
	case err != nil:
		return Entry{}, err
	case len(all) != 1 || all[0].Name != full:
		return Entry{}, fmt.Errorf("look up %s: %w", full, dataset.ErrNotFound)
	case all[0].ID() != s.ID:
		return Entry{}, fmt.Errorf("%s is %s, not the snapshot %s: %w", full, all[0].ID(), s.ID, dataset.ErrChanged)
	}
	return all[0], nil
}
