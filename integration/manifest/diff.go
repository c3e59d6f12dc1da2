package manifest

import (
	"fmt"
	"maps"
	"slices"
)

// Diff says in one line each what differs between two trees, sorted by path.
// An empty answer means that they are the same.
func Diff(a, b []Entry) []string {
	left, right := byPath(a), byPath(b)
	paths := slices.Sorted(maps.Keys(left))
	for p := range right {
		if _, both := left[p]; !both {
			paths = append(paths, p)
		}
	}
	slices.Sort(paths)
	var all []string
	for _, p := range paths {
		x, inLeft := left[p]
		y, inRight := right[p]
		switch {
		case !inRight:
			all = append(all, fmt.Sprintf("%s: only in the first (%s)", p, x.Type))
		case !inLeft:
			all = append(all, fmt.Sprintf("%s: only in the second (%s)", p, y.Type))
		default:
			all = append(all, compare(x, y)...)
		}
	}
	return all
}

func byPath(entries []Entry) map[string]Entry {
	m := make(map[string]Entry, len(entries))
	for _, e := range entries {
		m[e.Path] = e
	}
	return m
}

// compare returns a line for each property in which two entries differ.
func compare(x, y Entry) []string {
	var all []string
	note := func(differs bool, what string, a, b any) {
		if differs {
			all = append(all, fmt.Sprintf("%s: %s %v, then %v", x.Path, what, a, b))
		}
	}
	note(x.Type != y.Type, "type", x.Type, y.Type)
	note(x.Mode != y.Mode, "mode", fmt.Sprintf("%o", x.Mode), fmt.Sprintf("%o", y.Mode))
	note(x.UID != y.UID, "uid", x.UID, y.UID)
	note(x.GID != y.GID, "gid", x.GID, y.GID)
	note(x.MTimeNS != y.MTimeNS, "mtime_ns", x.MTimeNS, y.MTimeNS)
	note(x.Size != y.Size, "size", x.Size, y.Size)
	note(x.SHA256 != y.SHA256, "sha256", x.SHA256, y.SHA256)
	note(!slices.Equal(x.Data, y.Data), "data", x.Data, y.Data)
	note(x.Target != y.Target, "target", x.Target, y.Target)
	note(x.Device != y.Device, "device", x.Device, y.Device)
	note(x.Link != y.Link, "hard link of", x.Link, y.Link)
	names := slices.Sorted(maps.Keys(x.Xattrs))
	for name := range y.Xattrs {
		if _, both := x.Xattrs[name]; !both {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		a, inX := x.Xattrs[name]
		b, inY := y.Xattrs[name]
		note(inX != inY || string(a) != string(b), "xattr "+name, quote(a, inX), quote(b, inY))
	}
	return all
}

func quote(value []byte, is bool) string {
	if !is {
		return "none"
	}
	return fmt.Sprintf("%q", value)
}
