package policy

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"antipode/fsdrivers/dataset"
)

// Names select snapshots that others made by patterns of their names, in which "*"
// stands for any characters, "?" for one, and "[a-z]" for one of them. None selects
// nothing.
type Names []string

// ParseName checks one pattern of Names. What matches only names of ours never
// matches anything.
func (Names) ParseName(s string) (string, error) {
	const form = `want for example "zfs-auto-snap_*"`
	_, err := path.Match(s, "")
	switch {
	case s == "":
		err = errors.New("it is empty")
	case err != nil:
	case strings.HasPrefix(s, namePrefix):
		err = fmt.Errorf("what begins with %s is ours, and replicated without asking", namePrefix)
	case strings.ContainsAny(s, "/@#"):
		err = errors.New("it is matched with what stands behind the @")
	}
	if err != nil {
		return "", fmt.Errorf("%q is no pattern of snapshots: %w; %s", s, err, form)
	}
	return s, nil
}

// Match reports whether they select a snapshot of others.
func (n Names) Match(name string) bool {
	return slices.ContainsFunc(n, func(pattern string) bool {
		matched, err := path.Match(pattern, name)
		return err == nil && matched
	})
}

// Has reports whether the job sends s: all that is ours, and of others what it
// includes.
func (n Names) Has(s dataset.Snapshot) bool { return !s.Foreign || n.Match(s.Name) }
