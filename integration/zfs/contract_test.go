//go:build zfs

package zfs

import (
	"hash/fnv"
	"os"
	"slices"
	"strconv"
	"strings"
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

// places are three kinds on two versions. A turn runs on one of them what loses most
// if it breaks; of the other cases eleven of twelve rest, in places that do not exist.
const places, allPlaces = 6, 72

var losesMost = []string{
	"resume/", "crash/", "interrupt/a resumed", "interrupt/a restart", "activate/a fenced", "refuse/a damaged",
}

// contract runs all of the suite, or where ANTIPODE_TURN is a number the cases whose
// turn it is here: in as many turns as places each is run once on each kind and version.
func contract(t *testing.T, kind uint32, l *lab, lacks ...drivertest.Ability) {
	turn, err := strconv.ParseUint(os.Getenv("ANTIPODE_TURN"), 10, 32)
	place := kind * 2
	if os.Getenv("ANTIPODE_ZFS_SERIES") == "2.4" {
		place++
	}
	pick := func(name string) bool {
		of := uint32(allPlaces)
		if slices.ContainsFunc(losesMost, func(begin string) bool { return strings.HasPrefix(name, begin) }) {
			of = places
		}
		h := fnv.New32a()
		h.Write([]byte(name)) // never fails
		return err != nil || (h.Sum32()+uint32(turn))%of == place
	}
	drivertest.RunSome(t, pick, func(t *testing.T) drivertest.Harness { return newHarness(t, l) },
		lacks...)
}
