// Package naming is the rules for names of snapshots on Btrfs: which are Antipode's, and
// which of others' it can work with.
package naming

import (
	"fmt"
	"strings"

	"antipode/fsdrivers/dataset"
)

// Prefix starts the name of every snapshot that is Antipode's.
const Prefix = "antipode_"

// Live is what an activated dataset is called inside its replica's directory.
const Live = "antipode_live"

// IsOurs reports whether Antipode made a snapshot of that name.
func IsOurs(name string) bool { return strings.HasPrefix(name, Prefix) }

// Own checks the name of a snapshot that is ours. LiveName is no snapshot.
func Own(name string) error {
	if _, err := dataset.ParseName(name); err != nil {
		return fmt.Errorf("%w: %w", dataset.ErrRefused, err)
	}
	if !strings.HasPrefix(name, Prefix) || name == Live {
		return fmt.Errorf("snapshot name %q: want one that begins with %q and is not %q: %w", name, Prefix, Live, dataset.ErrRefused)
	}
	return nil
}

// Foreign checks the name of a snapshot that others made.
func Foreign(name string) error {
	if _, err := dataset.ParseForeignName(name); err != nil {
		return fmt.Errorf("%w: %w", dataset.ErrRefused, err)
	}
	return nil
}

// Listed checks the name of a snapshot that Snapshots, or Foreign, has listed.
func Listed(s dataset.Snapshot) error {
	if s.Foreign {
		return Foreign(s.Name)
	}
	return Own(s.Name)
}
