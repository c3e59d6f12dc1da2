package btrfs

import (
	"testing"

	"antipode/fsdrivers/drivertest"
)

func TestContract(t *testing.T) {
	l := &lab{t: t}
	drivertest.Run(t, func(t *testing.T) drivertest.Harness { return newHarness(t, l) }, drivertest.Frees, drivertest.Bookmarks, drivertest.ComparesAll, drivertest.InPlaces)
}
