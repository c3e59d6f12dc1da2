//go:build failpoints

package target

import (
	"os"
	"strconv"
	"time"

	"antipode/fsdrivers/btrfs/segment"
)

// defaultLimits lets a test have segments of ANTIPODE_SEGMENT_BYTES, whatever their
// age, from a daemon of its own.
func defaultLimits() segment.Limits {
	l := segment.Defaults()
	if n, err := strconv.ParseInt(os.Getenv("ANTIPODE_SEGMENT_BYTES"), 10, 64); err == nil {
		l.Bytes, l.Least, l.Small, l.Quiet = n, 0, n/16, time.Second
	}
	return l
}
