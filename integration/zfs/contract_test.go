//go:build zfs

package zfs

import (
	"hash/fnv"
	"os"
	"strconv"
	"testing"

	"antipode/fsdrivers/drivertest"
)

func TestContractOnFilesystems(t *testing.T) {
	contract(t, 0, &lab{t: t, name: "fs", files: filesystems{}})
}

func TestContractOnVolumes(t *testing.T) {
	contract(t, 1, &lab{t: t, name: "vol", files: volumes{}}, drivertest.Nests)
}

func TestContractOnEncryptedFilesystems(t *testing.T) {
	contract(t, 2, &lab{t: t, name: "enc", files: encrypted(t)})
}

// places are three kinds on two versions, and three times as many that do not exist:
// of four cases three rest in a turn.
const places = 24

// contract runs all of the suite, or where ANTIPODE_TURN is a number one case in
// that many: in as many turns each case is then run once on each kind and version.
func contract(t *testing.T, kind uint32, l *lab, lacks ...drivertest.Ability) {
	turn, err := strconv.ParseUint(os.Getenv("ANTIPODE_TURN"), 10, 32)
	place := kind * 2
	if os.Getenv("ANTIPODE_ZFS_SERIES") == "2.4" {
		place++
	}
	pick := func(name string) bool {
		h := fnv.New32a()
		h.Write([]byte(name)) // never fails
		return err != nil || (h.Sum32()+uint32(turn))%places == place
	}
	drivertest.RunSome(t, pick, func(t *testing.T) drivertest.Harness { return newHarness(t, l) },
		lacks...)
}
