//go:build zfs

package zfs

import (
	"testing"

	"antipode/fsdrivers/drivertest"
)

func TestContractOnFilesystems(t *testing.T) {
	contract(t, &lab{t: t, name: "fs", files: filesystems{}})
}

func TestContractOnVolumes(t *testing.T) {
	contract(t, &lab{t: t, name: "vol", files: volumes{}})
}

func TestContractOnEncryptedFilesystems(t *testing.T) {
	contract(t, &lab{t: t, name: "enc", files: encrypted(t)})
}

func contract(t *testing.T, l *lab) {
	drivertest.Run(t, func(t *testing.T) drivertest.Harness { return newHarness(t, l) })
}
