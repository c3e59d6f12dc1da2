package policy

import (
	"fmt"
	"slices"
	"strings"

	"antipode/fsdrivers/dataset"
)

const below = "/**"

// ParsePattern reads "/data/db" (that dataset), "/data/www/**" (all below it,
// itself not), or either with "!" in front (not these). ZFS names are written
// the same way: "tank/db", "tank/**". No other use of "*" has a meaning.
func ParsePattern(s string) (Pattern, error) {
	const form = `want for example "/data/db", "/data/www/**" or "!/data/www/cache"`
	path, negate := strings.CutPrefix(s, "!")
	path, deep := strings.CutSuffix(path, below)
	if deep && path == "" {
		path = "/"
	}
	if strings.Contains(path, "*") {
		return Pattern{}, fmt.Errorf(`pattern %q holds "*" where it means nothing; %s`, s, form)
	}
	p, err := dataset.ParsePath(path)
	if err != nil {
		return Pattern{}, fmt.Errorf("pattern %q: %w; %s", s, err, form)
	}
	return Pattern{Path: p, Below: deep, Negate: negate}, nil
}

// String writes the pattern as ParsePattern reads it.
func (p Pattern) String() string {
	s := p.Path.String()
	if p.Below {
		s = strings.TrimSuffix(s, "/") + below
	}
	if p.Negate {
		s = "!" + s
	}
	return s
}

// Match reports whether the pattern speaks of q, whatever it says of it.
func (p Pattern) Match(q dataset.Path) bool {
	if p.Below {
		return p.Path != q && p.Path.Contains(q)
	}
	return p.Path == q
}

// ValidFor reports whether the pattern has the form of the driver's names:
// absolute for Btrfs, relative for ZFS.
func (p Pattern) ValidFor(d Driver) error {
	absolute := strings.HasPrefix(p.Path.String(), "/")
	switch {
	case d == Btrfs && !absolute:
		return fmt.Errorf("dataset %q is relative; a Btrfs subvolume is named by its absolute path, such as \"/%s\"", p, p.Path)
	case d == ZFS && absolute:
		return fmt.Errorf("dataset %q is absolute; a ZFS dataset is named without a leading slash, such as %q", p, strings.TrimPrefix(p.Path.String(), "/"))
	}
	return nil
}

// DriverOf tells by the form of a dataset's path whose it is; ValidFor keeps the
// two forms apart.
func DriverOf(q dataset.Path) Driver {
	if strings.HasPrefix(q.String(), "/") {
		return Btrfs
	}
	return ZFS
}

// Match reports whether the patterns select q: the last that matches decides,
// and what none matches is not selected.
func (ps Patterns) Match(q dataset.Path) bool {
	for _, p := range slices.Backward(ps) {
		if p.Match(q) {
			return !p.Negate
		}
	}
	return false
}

// Root is where to look for datasets: at Path, and with Deep below it too.
type Root struct {
	Path dataset.Path
	Deep bool
}

// Roots returns the fewest places that together hold all that the patterns can
// select, sorted. What is found there is still to be put to Match.
func (ps Patterns) Roots() []Root {
	var all []Root
	for _, p := range ps {
		if !p.Negate {
			all = append(all, Root{Path: p.Path, Deep: p.Below})
		}
	}
	var roots []Root
	for i, r := range all {
		covered := func(o Root) bool { return o.Deep && o.Path.Contains(r.Path) && o != r }
		if !slices.ContainsFunc(all, covered) && !slices.Contains(all[:i], r) {
			roots = append(roots, r)
		}
	}
	slices.SortFunc(roots, func(a, b Root) int { return strings.Compare(string(a.Path), string(b.Path)) })
	return roots
}

// Overlap reports whether some dataset can be selected by both, and which: a
// path, or "P/**" for what is below P.
//
// It is exact. What the patterns say of a path depends only on which of the
// paths that they name are the path itself or above it, so it suffices to try
// each named path, and below each a child that no pattern names.
func Overlap(a, b Patterns) (where string, overlaps bool) {
	both := func(q dataset.Path) bool { return a.Match(q) && b.Match(q) }
	named := slices.Concat(a, b)
	for _, p := range named {
		if both(p.Path) {
			return p.Path.String(), true
		}
	}
	for _, p := range named {
		if both(unnamedChild(p.Path, named)) {
			return Pattern{Path: p.Path, Below: true}.String(), true
		}
	}
	return "", false
}

// unnamedChild returns a path directly below p that is neither named by a
// pattern nor above one that is.
func unnamedChild(p dataset.Path, named Patterns) dataset.Path {
	child := dataset.Path(strings.TrimSuffix(string(p), "/") + "/x")
	for slices.ContainsFunc(named, func(n Pattern) bool { return child.Contains(n.Path) }) {
		child += "x"
	}
	return child
}

// Covers reports whether the patterns select q or a dataset below q that none
// of them names: whether something put at q would be taken for data.
func (ps Patterns) Covers(q dataset.Path) bool {
	return ps.Match(q) || ps.Match(unnamedChild(q, ps))
}
