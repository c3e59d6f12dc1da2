package wire

import "slices"

// Range is the chunks from the first number up to, and without, the second.
type Range [2]uint64

// Progress is what the target says of a transfer: one line of JSON on the
// streamed GET whenever something changed, and once a second. Every line is
// whole in itself, so that a lost one costs nothing.
type Progress struct {
	Next   uint64  `json:"next"`           // all below is received; chunks+1 once the end is
	Have   []Range `json:"have,omitempty"` // received above Next, rising, at most MaxRanges
	Credit uint64  `json:"credit"`         // chunks below may be sent; never falls, never below Next
	// Notice is why the target takes nothing at the moment, for people. The
	// transfer goes on by itself.
	Notice *Error `json:"notice,omitempty"`
	// Error ends the transfer. Committed is the answer after the end. One of
	// them is in the last line, and in no other.
	Error     *Error     `json:"error,omitempty"`
	Committed *Committed `json:"committed,omitempty"`
}

// IsFinal reports whether nothing follows.
func (p Progress) IsFinal() bool { return p.Error != nil || p.Committed != nil }

// Has reports whether p, which is valid, acknowledges the number.
func (p Progress) Has(number uint64) bool {
	if number < p.Next {
		return true
	}
	_, found := slices.BinarySearchFunc(p.Have, number, func(r Range, n uint64) int {
		switch {
		case r[1] <= n:
			return -1
		case r[0] > n:
			return 1
		}
		return 0
	})
	return found
}

// Validate checks the form of a line.
func (p Progress) Validate() error {
	if len(p.Have) > MaxRanges {
		return malformed("progress", "%d ranges, more than %d", len(p.Have), MaxRanges)
	}
	last := p.Next
	for _, r := range p.Have {
		if r[0] <= last || r[1] <= r[0] {
			return malformed("progress", "ranges do not rise")
		}
		last = r[1]
	}
	for _, e := range []*Error{p.Error, p.Notice} {
		if e != nil {
			e.clean()
		}
	}
	if p.Committed != nil {
		return p.Committed.Validate()
	}
	return nil
}
