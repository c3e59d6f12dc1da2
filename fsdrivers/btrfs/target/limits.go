//go:build !failpoints

package target

import "antipode/fsdrivers/btrfs/segment"

func defaultLimits() segment.Limits { return segment.Defaults() }
