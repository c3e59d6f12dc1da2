// Package segment decides how a Btrfs stream is cut into segments that can be gone
// on from: when one ends, which of those that are sealed are kept, what is written
// down of them, and what a source is told.
//
// It is pure: values in, values out. It must not know the disk, children, the
// network or what time it is.
package segment

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"antipode/fsdrivers/btrfs/stream"
)

// Limits say when a segment ends.
type Limits struct {
	Bytes int64         // it ends with so many bytes
	Least time.Duration // but not before this, so that a fast link makes no more than a few a minute
	Most  time.Duration // and after this whatever its size, so that a slow link loses minutes
	// Quiet ends a segment of at least Small bytes on which nothing came for so
	// long: the link may be down for a day.
	Quiet time.Duration
	// Small is what is cheaper to send again than to seal.
	Small int64
}

// Defaults are the limits of ARCHITECTURE decision 5. What a crash costs is at most
// two segments: ten minutes of a link that moves less than 3.6 MB/s, about 2 GiB
// up to 34 MB/s, and a minute of one that is faster.
func Defaults() Limits {
	return Limits{Bytes: 1 << 30, Least: 30 * time.Second, Most: 5 * time.Minute, Quiet: 10 * time.Second, Small: 16 << 20}
}

// IsFull reports whether a segment of so many bytes that is so old ends now.
func (l Limits) IsFull(bytes int64, age time.Duration) bool {
	return bytes >= l.Bytes && age >= l.Least || age >= l.Most && bytes > 0
}

// Sealed is a segment that is durable, and how to go on behind it.
type Sealed struct {
	Number int             `json:"number"` // counted from 1 over the whole stream
	UUID   stream.UUID     `json:"uuid"`   // what `btrfs receive` knows it by
	At     stream.Position `json:"at"`     // its end
	Digest stream.Digest   `json:"digest"` // of the stream up to there
}

// namePrefix begins what a segment's subvolume is called.
const namePrefix = "segment-"

// Name is what the subvolume of the n-th segment is called.
func Name(n int) string { return namePrefix + strconv.Itoa(n) }

// IsName reports whether Name could have made it.
func IsName(s string) bool {
	digits, found := strings.CutPrefix(s, namePrefix)
	n, err := strconv.Atoi(digits)
	return found && err == nil && n > 0 && Name(n) == s
}

// Journal is what is written down of one step.
type Journal struct {
	Base stream.UUID `json:"base"` // minted for the base; zero for a full step
	Kept []Sealed    `json:"kept"` // rising
}

// MaxKept bounds a journal: Keeps keeps two for each bit of the number of segments,
// and two more.
const MaxKept = 64

// Validate checks what comes from a disk.
func (j Journal) Validate() error {
	if len(j.Kept) > MaxKept {
		return fmt.Errorf("journal of %d segments, more than %d", len(j.Kept), MaxKept)
	}
	var last Sealed
	for _, s := range j.Kept {
		if s.Number <= last.Number || s.At.Done <= last.At.Done || s.At.Head <= 0 || s.At.Done < s.At.Head || s.UUID.IsZero() {
			return fmt.Errorf("journal: segment %d at %d stands behind segment %d at %d", s.Number, s.At.Done, last.Number, last.At.Done)
		}
		last = s
	}
	return nil
}

// Newest is the last sealed segment; the zero one if there is none.
func (j Journal) Newest() Sealed {
	if len(j.Kept) == 0 {
		return Sealed{}
	}
	return j.Kept[len(j.Kept)-1]
}

// Add returns the journal with one more segment, without those that need no longer
// be kept. A journal that holds s already stays as it is.
func (j Journal) Add(s Sealed) Journal {
	if s.Number <= j.Newest().Number {
		return j
	}
	s.At.First.Name = "" // the sender's, of which nothing is made
	next := Journal{Base: j.Base}
	for _, old := range j.Kept {
		if Keeps(old.Number, s.Number) {
			next.Kept = append(next.Kept, old)
		}
	}
	next.Kept = append(next.Kept, s)
	return next
}

// Upto returns the journal as it was when the segment that ends at done was
// sealed; found is false if none does.
func (j Journal) Upto(done int64) (_ Journal, found bool) {
	i, found := slices.BinarySearchFunc(j.Kept, done, func(s Sealed, done int64) int { return cmp.Compare(s.At.Done, done) })
	if !found {
		return Journal{Base: j.Base}, false
	}
	return Journal{Base: j.Base, Kept: slices.Clone(j.Kept[:i+1])}, true
}

// Keeps reports whether segment n is kept while the newest is number newest: the
// last four multiples of each power of two are, of 1 too. So the distances grow
// geometrically, the number kept with the logarithm (32 of 27,000, which 20 TB on a
// slow link make), and a prefix that changed costs at most about half as much
// again as it must. What is kept was kept all along.
func Keeps(n, newest int) bool {
	for power := 1; power <= newest; power *= 2 {
		if n%power == 0 && n > (newest/power-4)*power {
			return true
		}
	}
	return false
}
