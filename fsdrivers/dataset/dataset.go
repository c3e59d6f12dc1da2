// Package dataset is the vocabulary of the drivers, the transport and the
// daemon: what a dataset, a snapshot, a step, a mark and a checkpoint are, how
// they are written as text, and which errors a driver may answer with.
//
// It imports nothing of this module, reads no clock and runs nothing.
package dataset

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Limits of what is accepted from a configuration, a disk or a peer.
const (
	MaxPathBytes      = 3072 // below PATH_MAX, with room for what the target puts in front
	MaxComponentBytes = 255  // NAME_MAX
	MaxNameBytes      = 200  // a snapshot's name, with room for our prefixes
	MaxIDBytes        = 36   // a UUID as text
	MaxTagBytes       = 160
)

// Path names a dataset on its own host: on Btrfs the absolute path of a
// subvolume ("/data/db"), on ZFS a dataset name ("tank/db"). On a target it is
// still the path that the source declared; the driver keeps it below its own
// `into`. A Path made by ParsePath is safe to join below a directory.
type Path string

// ParsePath accepts an absolute path or a ZFS name. It refuses what is empty,
// too long, not UTF-8, not clean (empty, "." or ".." components), what holds a
// control character, and anything below a directory ".antipode".
func ParsePath(s string) (Path, error) {
	switch {
	case s == "":
		return "", errors.New("dataset path is empty")
	case len(s) > MaxPathBytes:
		return "", fmt.Errorf("dataset path has %d bytes, more than %d", len(s), MaxPathBytes)
	case !utf8.ValidString(s):
		return "", fmt.Errorf("dataset path %q is not valid UTF-8", s)
	case strings.ContainsFunc(s, unicode.IsControl):
		return "", fmt.Errorf("dataset path %q holds a control character", s)
	case s == "/":
		return Path(s), nil
	}
	for part := range strings.SplitSeq(strings.TrimPrefix(s, "/"), "/") {
		switch {
		case part == "" || part == "." || part == "..":
			return "", fmt.Errorf("dataset path %q is not clean: it has a component %q", s, part)
		case part == Dir:
			return "", fmt.Errorf("dataset path %q is below %s, which holds Antipode's own files", s, Dir)
		case len(part) > MaxComponentBytes:
			return "", fmt.Errorf("dataset path %q has a component longer than %d bytes", s, MaxComponentBytes)
		}
	}
	return Path(s), nil
}

// Dir is the directory that holds what Antipode keeps on a file system.
const Dir = ".antipode"

// String returns the path as it was parsed.
func (p Path) String() string { return string(p) }

// IsZero reports whether p names nothing.
func (p Path) IsZero() bool { return p == "" }

// Contains reports whether q is p or lies below it. "tank/a" does not contain
// "tank/ab".
func (p Path) Contains(q Path) bool {
	return p == q || p == "/" && strings.HasPrefix(string(q), "/") || strings.HasPrefix(string(q), string(p)+"/")
}

// ID is an identity that is the same on every host that holds the thing: a
// Btrfs UUID, or a ZFS GUID in hexadecimal. For a snapshot it is the UUID it was
// born with; a received copy answers to the same one.
type ID string

// ParseID accepts 1 to 36 characters of 0-9, a-f and "-".
func ParseID(s string) (ID, error) {
	if s == "" || len(s) > MaxIDBytes || strings.Trim(s, "0123456789abcdef-") != "" {
		return "", fmt.Errorf("%q is not an identity: want up to %d characters of 0-9, a-f and -", s, MaxIDBytes)
	}
	return ID(s), nil
}

// String returns the identity as text.
func (id ID) String() string { return string(id) }

// IsZero reports whether id names nothing.
func (id ID) IsZero() bool { return id == "" }

// Dataset is one dataset as its host sees it.
type Dataset struct {
	Path Path `json:"path"`
	ID   ID   `json:"id"` // of the live dataset on the source; survives a rename
}

// Snapshot is one snapshot of a dataset, on either side.
type Snapshot struct {
	Name string `json:"name"`
	ID   ID     `json:"id"`
	// Order rises with creation inside one listing of one pool (createtxg,
	// generation) and means nothing outside it.
	Order uint64 `json:"order"`
	// Created is when the source says that it was made, UTC.
	Created time.Time `json:"created"`
	// Received is when this host published it, by its own clock; zero where
	// it was not received but made.
	Received time.Time `json:"received,omitzero"`
	// Retain is the time retention counts with: Created on the side that made
	// it; on a target Created clamped so that a source cannot bend it.
	Retain time.Time `json:"retain"`
	// Bookmark says that only its identity is left, as a base for increments: its
	// data are gone, and it can be no step's To.
	Bookmark bool `json:"bookmark,omitempty"`
	// Foreign says that others made it, on a source: it may be sent, and be a base,
	// and is never destroyed. It never leaves its host.
	Foreign bool `json:"foreign,omitempty"`
	// Holds are our tags on it, sorted.
	Holds []Tag `json:"holds,omitempty"`
	// Pin is the user's wish that it stays; nil for none. It never leaves the
	// host that it was set on.
	Pin *Pin `json:"pin,omitempty"`
}

// ForeignPrefix stands on a target before the name that a snapshot of others has on
// its source: every name there is ours, and this one no job gives.
const ForeignPrefix = "antipode__"

// Abroad is the snapshot as a target is told of it: without what is nobody else's
// business and changes while a plan is carried out (holds, which name other peers,
// and pins), and with a name that a target takes.
func (s Snapshot) Abroad() Snapshot {
	if s.Foreign {
		s.Name, s.Foreign = ForeignPrefix+s.Name, false
	}
	s.Holds, s.Pin = nil, nil
	return s
}

// Abroad is the step as a target is told of it. It is the same step.
func (s Step) Abroad() Step {
	s.From, s.To = s.From.Abroad(), s.To.Abroad()
	return s
}

// ParseForeignName is ParseName for what others made: Abroad needs room for its
// prefix.
func ParseForeignName(s string) (string, error) {
	if len(s) > MaxNameBytes-len(ForeignPrefix) {
		return "", fmt.Errorf("snapshot name %q has %d bytes, and one that others made at most %d", s, len(s), MaxNameBytes-len(ForeignPrefix))
	}
	return ParseName(s)
}

// ParseName accepts the name of a snapshot: one path component, not hidden, no
// "@" or "#", at most MaxNameBytes.
func ParseName(s string) (string, error) {
	switch {
	case s == "" || len(s) > MaxNameBytes:
		return "", fmt.Errorf("snapshot name %q has %d bytes, want 1 to %d", s, len(s), MaxNameBytes)
	case !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) || strings.ContainsAny(s, "/@#"):
		return "", fmt.Errorf("snapshot name %q holds a character that no snapshot may have", s)
	case strings.HasPrefix(s, "."):
		return "", fmt.Errorf("snapshot name %q starts with a dot", s)
	}
	return s, nil
}

// Tag names one of our holds, for example "base.db.sin1". It is made of a-z,
// 0-9, ".", "_" and "-", and starts with a letter or a digit.
type Tag string

// ParseTag checks a tag that comes from a disk or a user.
func ParseTag(s string) (Tag, error) {
	if s == "" || len(s) > MaxTagBytes || strings.ContainsAny(s[:1], "._-") ||
		strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789._-") != "" {
		return "", fmt.Errorf("%q is not a hold tag: want a-z, 0-9, ., _ and -", s)
	}
	return Tag(s), nil
}
