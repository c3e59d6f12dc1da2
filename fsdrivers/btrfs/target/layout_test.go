package target_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"antipode/fsdrivers/btrfs/btrfstest/pair"
	"antipode/fsdrivers/btrfs/target"
	"antipode/fsdrivers/dataset"
)

// stripped is a target that leaves /data out of its source's paths.
func stripped(p *pair.Pair, strip dataset.Path) (*target.Target, error) {
	return target.New(target.Options{
		Into: filepath.Join(p.To, "into"), Live: filepath.Join(p.To, "data"), Strip: strip, Log: zerolog.Nop(), Now: time.Now,
	})
}

// as is the step of a first copy of p.db under another path.
func as(p *pair.Pair, path dataset.Path, snap dataset.Snapshot) dataset.Step {
	step := p.Step(p.DB, dataset.Snapshot{}, snap)
	step.Dataset.Path = path
	return step
}

func receiveAs(p *pair.Pair, path dataset.Path, snap dataset.Snapshot) error {
	p.T.Helper()
	stream := p.Stream(p.Step(p.DB, dataset.Snapshot{}, snap))
	_, err := p.Target.Receive(context.Background(), dataset.Incoming{Step: as(p, path, snap), Retain: snap.Created}, strings.NewReader(string(stream)))
	return err
}

func newStripped(t *testing.T) *pair.Pair {
	t.Helper()
	p := pair.New(t)
	if err := os.Mkdir(filepath.Join(p.To, "data"), 0o755); err != nil {
		t.Fatal(err)
	}
	target, err := stripped(p, "/data")
	if err != nil {
		t.Fatal(err)
	}
	p.Target = target
	return p
}

func wantPoint(p *pair.Pair, place string, snap dataset.Snapshot) {
	p.T.Helper()
	if _, err := os.Stat(filepath.Join(p.To, "into", place, snap.Name)); err != nil {
		p.T.Errorf("the point does not lie in %s: %v", place, err)
	}
}

func TestWhatAnAcceptStripsIsInNoPlace(t *testing.T) {
	p := newStripped(t)
	snap := p.Snapshot(p.DB, 1)
	for path, place := range map[dataset.Path]string{"/data/www/db": "www/db"} {
		if err := receiveAs(p, path, snap); err != nil {
			t.Fatalf("receive %s: %v", path, err)
		}
		wantPoint(p, place, snap)
		found, err := p.Target.Find(t.Context(), "/", true)
		if err != nil || len(found) != 1 || found[0].Path != path {
			t.Errorf("Find: %v, %v; want %s, as its source calls it", found, err, path)
		}
		live, err := p.Target.Activate(t.Context(), path, snap, "aside")
		if want := filepath.Join(p.To, "data", place); err != nil || live.Live != want {
			t.Errorf("Activate: %v, %v; want it at %s: the path that it has on its source", live, err, want)
		}
	}
}

func TestWhatIsNotBelowWhatIsStrippedIsRefused(t *testing.T) {
	p := newStripped(t)
	snap := p.Snapshot(p.DB, 1)
	for _, path := range []dataset.Path{"/database/db", "/dat", "/", "/other", "/data/../other", "/data/.antipode/x", "data/db"} {
		if err := receiveAs(p, path, snap); !errors.Is(err, dataset.ErrRefused) {
			t.Errorf("receive %s: %v, want %v", path, err, dataset.ErrRefused)
		}
		if points, err := p.Target.Snapshots(t.Context(), path); len(points) > 0 {
			t.Errorf("%s has points: %v, %v", path, points, err)
		}
	}
	entries, err := os.ReadDir(filepath.Join(p.To, "into"))
	if err != nil || len(entries) != 1 || entries[0].Name() != dataset.Dir {
		t.Errorf("into holds %v, %v; want nothing but our own", entries, err)
	}
}

func TestAMoveStaysBelowWhatIsStripped(t *testing.T) {
	p := newStripped(t)
	snap := p.Snapshot(p.DB, 1)
	if err := receiveAs(p, "/data/db", snap); err != nil {
		t.Fatal(err)
	}
	d := as(p, "/data/db", snap).Dataset
	for _, to := range []dataset.Path{"/elsewhere", "/data", "/database/db"} {
		if err := p.Target.Move(t.Context(), d, to); !errors.Is(err, dataset.ErrRefused) {
			t.Errorf("Move to %s: %v, want %v", to, err, dataset.ErrRefused)
		}
	}
	wantPoint(p, "db", snap)
	if err := p.Target.Move(t.Context(), d, "/data/new/place"); err != nil {
		t.Fatal(err)
	}
	wantPoint(p, "new/place", snap)
	if points, err := p.Target.Snapshots(t.Context(), "/data/new/place"); err != nil || len(points) != 1 {
		t.Errorf("Snapshots of the new path: %v, %v; want the point", points, err)
	}
}

// Points that are there must not be lost from sight.
func TestAnotherStripIsRefusedWhereThereAreReplicas(t *testing.T) {
	p := newStripped(t)
	if _, err := stripped(p, "/srv"); err != nil {
		t.Errorf("another strip before the first replica: %v", err)
	}
	if _, err := stripped(p, "/data"); err != nil {
		t.Fatal(err)
	}
	if err := receiveAs(p, "/data/db", p.Snapshot(p.DB, 1)); err != nil {
		t.Fatal(err)
	}
	for _, strip := range []dataset.Path{"", "/", "/srv", "/data/db"} {
		if _, err := stripped(p, strip); !errors.Is(err, dataset.ErrRefused) || !strings.Contains(err.Error(), `strip = "/data"`) {
			t.Errorf("strip = %q: %v, want a refusal that says what it was", strip, err)
		}
	}
	if _, err := stripped(p, "/data"); err != nil {
		t.Errorf("the same strip again: %v", err)
	}
}
