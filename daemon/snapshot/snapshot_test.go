package snapshot_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"antipode/daemon/snapshot"
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/fake"
)

func TestTakeNamesAllDatasetsAlike(t *testing.T) {
	disk := fake.NewDisk("fra1", 1<<30)
	disk.Make("/a")
	disk.Make("/b")
	now := time.Date(2026, 3, 29, 1, 30, 0, 5000, time.UTC)
	got, err := take(t, disk.Source(), []dataset.Path{"/a", "/b"}, now)
	if err != nil || len(got) != 2 {
		t.Fatalf("Take = %v, %v; want two snapshots", got, err)
	}
	for i, want := range []dataset.Path{"/a", "/b"} {
		if s := got[i]; s.Dataset != want || s.Snapshot.Name != "antipode_db_20260329T013000Z" {
			t.Errorf("got %s of %s, want antipode_db_20260329T013000Z of %s", s.Snapshot.Name, s.Dataset, want)
		}
	}
}

func TestAClockThatWasSetBackMakesNoOlderName(t *testing.T) {
	disk := fake.NewDisk("fra1", 1<<30)
	disk.Make("/a")
	source := disk.Source()
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for _, now := range []time.Time{noon, noon.Add(-24 * time.Hour), noon} {
		if _, err := take(t, source, []dataset.Path{"/a"}, now); err != nil {
			t.Fatal(err)
		}
	}
	list, err := source.Snapshots(t.Context(), "/a")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"antipode_db_20260101T120000Z", "antipode_db_20260101T120001Z", "antipode_db_20260101T120002Z"}
	for i, s := range list {
		if i >= len(want) || s.Name != want[i] {
			t.Errorf("snapshot %d is %s, want %v", i, s.Name, want)
		}
	}
}

func TestNoDatasetsAreNoSnapshots(t *testing.T) {
	got, err := take(t, fake.NewDisk("fra1", 1).Source(), nil, time.Now())
	if got != nil || err != nil {
		t.Errorf("Take = %v, %v; want nothing", got, err)
	}
}

func TestADatasetThatVanishedIsAnError(t *testing.T) {
	_, err := take(t, fake.NewDisk("fra1", 1<<30).Source(), []dataset.Path{"/gone"}, time.Now())
	if !errors.Is(err, dataset.ErrNotFound) {
		t.Errorf("Take = %v, want ErrNotFound", err)
	}
}

func TestOneBadDatasetHoldsBackNoOther(t *testing.T) {
	disk := fake.NewDisk("fra1", 1<<30)
	disk.Make("/a")
	disk.Make("/b")
	got, err := take(t, failing{disk.Source(), "/b"}, []dataset.Path{"/a", "/b", "/gone"}, time.Now())
	if len(got) != 1 || got[0].Dataset != "/a" {
		t.Errorf("Take = %v, want /a's snapshot", got)
	}
	if !errors.Is(err, dataset.ErrNotFound) || !errors.Is(err, dataset.ErrNoSpace) {
		t.Errorf("Take = %v, want what is wrong with /gone and with /b", err)
	}
}

// TestOnesThatCannotHaveTheNameLeaveTheOthersTheirInstant: one was enough to have all of a job
// taken one after the other, for good.
func TestOnesThatCannotHaveTheNameLeaveTheOthersTheirInstant(t *testing.T) {
	disk := fake.NewDisk("fra1", 1<<30)
	paths := []dataset.Path{"/a", "/long", "/b", "/longer"}
	for _, p := range paths {
		disk.Make(p)
	}
	d := &choosy{Source: disk.Source()}
	got, err := take(t, d, paths, time.Now())
	if len(got) != 2 || got[0].Dataset != "/a" || got[1].Dataset != "/b" || got[0].Snapshot.Name != got[1].Snapshot.Name {
		t.Errorf("Take = %v, want the snapshots of /a and /b", got)
	}
	if want := [][]dataset.Path{paths, {"/a", "/b"}}; !slices.EqualFunc(d.asked, want, slices.Equal) {
		t.Errorf("asked for %v, want %v", d.asked, want)
	}
	if !errors.Is(err, dataset.ErrRefused) || strings.Count(err.Error(), "too long") != 1 {
		t.Errorf("Take = %v, want once what is wrong with the long ones", err)
	}
	if got, err := take(t, d, []dataset.Path{"/long"}, time.Now()); len(got) != 0 || !errors.Is(err, dataset.ErrRefused) {
		t.Errorf("Take of nothing else = %v, %v, want none", got, err)
	}
}

// choosy is a source that takes no name for what is long.
type choosy struct {
	*fake.Source
	asked [][]dataset.Path
}

func (c *choosy) Snapshot(ctx context.Context, name string, at time.Time, ds []dataset.Path) ([]dataset.Snapshot, error) {
	c.asked = append(c.asked, ds)
	var misfit dataset.MisfitError
	for _, d := range ds {
		if strings.HasPrefix(string(d), "/long") {
			misfit.Datasets, misfit.Err = append(misfit.Datasets, d), fmt.Errorf("too long: %w", dataset.ErrRefused)
		}
	}
	if misfit.Err != nil {
		return nil, &misfit
	}
	return c.Source.Snapshot(ctx, name, at, ds)
}

// take runs a job that looks at nothing, at a moment.
func take(t *testing.T, d snapshot.Driver, ds []dataset.Path, now time.Time) ([]snapshot.Taken, error) {
	t.Helper()
	out, err := snapshot.Run{Driver: d, Job: "db", Now: func() time.Time { return now }, Always: true}.Take(t.Context(), ds)
	return out.Taken, err
}

// failing is a source with no room for snapshots of one dataset.
type failing struct {
	*fake.Source
	full dataset.Path
}

func (f failing) Snapshot(ctx context.Context, name string, at time.Time, ds []dataset.Path) ([]dataset.Snapshot, error) {
	if slices.Contains(ds, f.full) {
		return nil, dataset.ErrNoSpace
	}
	return f.Source.Snapshot(ctx, name, at, ds)
}

// together compares many datasets at once.
type together struct {
	*fake.Source
	asked int
	bad   dataset.Path
}

func (c *together) AreUnchanged(ctx context.Context, ds []dataset.Path, snaps []dataset.Snapshot) (same []bool, errs []error) {
	c.asked++
	same, errs = make([]bool, len(ds)), make([]error, len(ds))
	for i, d := range ds {
		if d == c.bad {
			errs[i] = dataset.ErrStuck
			continue
		}
		same[i], errs[i] = c.IsUnchanged(ctx, d, snaps[i])
	}
	return same, errs
}

func TestManyDatasetsAreComparedAtOnce(t *testing.T) {
	disk := fake.NewDisk("fra1", 1<<30)
	all := []dataset.Path{"/a", "/b", "/c", "/new"}
	for _, d := range all {
		disk.Make(d)
	}
	driver := &together{Source: disk.Source(), bad: "/c"}
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	if _, err := take(t, driver, all[:3], noon); err != nil || driver.asked != 0 {
		t.Fatalf("a run that takes all: %v, and it compared %d times", err, driver.asked)
	}
	if err := disk.Write("/b", "file", []byte("x")); err != nil {
		t.Fatal(err)
	}
	out, err := snapshot.Run{Driver: driver, Job: "db", Now: func() time.Time { return noon }}.Take(t.Context(), all)
	if !errors.Is(err, dataset.ErrStuck) || driver.asked != 1 {
		t.Errorf("%v after %d questions, want one, and the error of /c", err, driver.asked)
	}
	if len(out.Unchanged) != 1 || out.Unchanged[0].Dataset != "/a" || out.Unchanged[0].Snapshot.ID.IsZero() {
		t.Errorf("unchanged %v, want /a with its snapshot", out.Unchanged)
	}
	if len(out.Taken) != 2 || out.Taken[0].Dataset != "/b" || out.Taken[1].Dataset != "/new" || out.Taken[0].Snapshot.Name != "antipode_db_20260101T120001Z" {
		t.Errorf("taken %v, want /b and /new, a second after the newest of all", out.Taken)
	}
}
