//go:build !failpoints

package btrfs

import "antipode/fsdrivers/btrfs/segment"

func defaultLimits() segment.Limits { return segment.Defaults() }
