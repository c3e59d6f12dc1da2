package target

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/pool"
	"antipode/fsdrivers/zfs/standby/standbytest"
)

// A pool that is not imported at boot keeps the daemon from nothing else: Into is
// looked at again by every call, and made when the pool is there.
func TestAPatientTargetWaitsForItsPool(t *testing.T) {
	const away = "cannot open 'dst/into': dataset does not exist\n"
	s := script(t, rule{Args: "get", Code: 1, Err: away}, rule{Args: "create", Code: 1, Err: "cannot create 'dst/into': no such pool 'dst'\n"})
	options := Options{Into: "dst/into", Locks: t.TempDir(), Now: standbytest.Now, Host: pool.NewHost(s.Binary(), 0)}
	if _, err := New(options); !errors.Is(err, dataset.ErrNotFound) {
		t.Fatalf("a strict target: got %v, want not found", err)
	}
	options.Patient = true
	tg, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tg.Space(t.Context(), "/"); !errors.Is(err, dataset.ErrNotFound) || !strings.Contains(err.Error(), "is the pool imported?") {
		t.Errorf("while the pool is away: got %v, want what to do", err)
	}
	if _, err := tg.Snapshots(t.Context(), "src/db"); !errors.Is(err, dataset.ErrNotFound) {
		t.Errorf("while the pool is away: got %v, want not found", err)
	}
	s.Answer(rule{Args: "get -Hp -o name,property,source,value -d 1 -t filesystem,volume type", Code: 1, Err: away}, rule{Args: "create"},
		rule{Args: standbytest.GetLineages, Out: standbytest.LineageOut()}, rule{Args: "list"})
	if _, err := tg.Snapshots(t.Context(), "src/db"); err != nil {
		t.Errorf("the pool is there: %v", err)
	}
	made := 0
	for _, call := range s.Calls() {
		if strings.HasPrefix(call, "create -o canmount=off") && strings.HasSuffix(call, " dst/into") {
			made++
		}
	}
	if made != 5 { // strict, patient, Space and Snapshots without a pool, and with it
		t.Errorf("Into was made %d times, want 5: %q", made, s.Calls())
	}
}

func TestWithoutZFSTheErrorNamesWhatToInstall(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "zfs")
	_, err := New(Options{Into: "dst/into", Locks: t.TempDir(), Now: standbytest.Now, Host: pool.NewHost(missing, 0)})
	if !errors.Is(err, dataset.ErrToolMissing) || !strings.Contains(err.Error(), "install zfsutils-linux") {
		t.Errorf("got %v, want what to install", err)
	}
}

// TestAnExportedPoolIsNoEmptyOne: nothing at all is there, which must not be taken
// for a replica of which nothing was received: a full copy would be planned.
func TestAnExportedPoolIsNoEmptyOne(t *testing.T) {
	_, tg := target(t, rule{Args: standbytest.GetLineages, Code: 1, Err: "cannot open 'dst/into/src/db': dataset does not exist\ncannot open 'dst/into/.antipode': dataset does not exist\n"})
	if _, err := tg.Pending(t.Context(), "src/db"); !errors.Is(err, dataset.ErrNotFound) || !strings.Contains(err.Error(), "exported") {
		t.Errorf("pending: got %v, want not found, and why", err)
	}
	if list, err := tg.Snapshots(t.Context(), "src/db"); !errors.Is(err, dataset.ErrNotFound) {
		t.Errorf("snapshots: got %v, %v, want not found", list, err)
	}
}
