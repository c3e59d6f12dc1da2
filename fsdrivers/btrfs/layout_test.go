package btrfs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"antipode/fsdrivers/dataset"
)

// stripped is a target that leaves /data out of its source's paths.
func (p *pair) stripped(strip dataset.Path) (*Target, error) {
	return NewTarget(TargetOptions{
		Into: filepath.Join(p.to, "into"), Live: filepath.Join(p.to, "data"), Strip: strip, Log: zerolog.Nop(), Now: p.target.opts.Now,
	})
}

// as is the step of a first copy of p.db under another path.
func (p *pair) as(path dataset.Path, snap dataset.Snapshot) dataset.Step {
	step := p.step(p.db, dataset.Snapshot{}, snap)
	step.Dataset.Path = path
	return step
}

func (p *pair) receiveAs(path dataset.Path, snap dataset.Snapshot) error {
	p.t.Helper()
	stream := p.stream(p.step(p.db, dataset.Snapshot{}, snap))
	_, err := p.target.Receive(context.Background(), dataset.Incoming{Step: p.as(path, snap), Retain: snap.Created}, strings.NewReader(string(stream)))
	return err
}

func newStripped(t *testing.T) *pair {
	t.Helper()
	p := newPair(t)
	if err := os.Mkdir(filepath.Join(p.to, "data"), 0o755); err != nil {
		t.Fatal(err)
	}
	target, err := p.stripped("/data")
	if err != nil {
		t.Fatal(err)
	}
	p.target = target
	return p
}

func (p *pair) wantPoint(place string, snap dataset.Snapshot) {
	p.t.Helper()
	if _, err := os.Stat(filepath.Join(p.to, "into", place, snap.Name)); err != nil {
		p.t.Errorf("the point does not lie in %s: %v", place, err)
	}
}

func TestWhatAnAcceptStripsIsInNoPlace(t *testing.T) {
	p := newStripped(t)
	snap := p.snapshot(p.db, 1)
	for path, place := range map[dataset.Path]string{"/data/www/db": "www/db"} {
		if err := p.receiveAs(path, snap); err != nil {
			t.Fatalf("receive %s: %v", path, err)
		}
		p.wantPoint(place, snap)
		found, err := p.target.Find(t.Context(), "/", true)
		if err != nil || len(found) != 1 || found[0].Path != path {
			t.Errorf("Find: %v, %v; want %s, as its source calls it", found, err, path)
		}
		live, err := p.target.Activate(t.Context(), path, snap, "aside")
		if want := filepath.Join(p.to, "data", place); err != nil || live.Live != want {
			t.Errorf("Activate: %v, %v; want it at %s: the path that it has on its source", live, err, want)
		}
	}
}

func TestWhatIsNotBelowWhatIsStrippedIsRefused(t *testing.T) {
	p := newStripped(t)
	snap := p.snapshot(p.db, 1)
	for _, path := range []dataset.Path{"/database/db", "/dat", "/", "/other", "/data/../other", "/data/.antipode/x", "data/db"} {
		if err := p.receiveAs(path, snap); !errors.Is(err, dataset.ErrRefused) {
			t.Errorf("receive %s: %v, want %v", path, err, dataset.ErrRefused)
		}
		if points, err := p.target.Snapshots(t.Context(), path); len(points) > 0 {
			t.Errorf("%s has points: %v, %v", path, points, err)
		}
	}
	entries, err := os.ReadDir(filepath.Join(p.to, "into"))
	if err != nil || len(entries) != 1 || entries[0].Name() != dataset.Dir {
		t.Errorf("into holds %v, %v; want nothing but our own", entries, err)
	}
}

func TestAMoveStaysBelowWhatIsStripped(t *testing.T) {
	p := newStripped(t)
	snap := p.snapshot(p.db, 1)
	if err := p.receiveAs("/data/db", snap); err != nil {
		t.Fatal(err)
	}
	d := p.as("/data/db", snap).Dataset
	for _, to := range []dataset.Path{"/elsewhere", "/data", "/database/db"} {
		if err := p.target.Move(t.Context(), d, to); !errors.Is(err, dataset.ErrRefused) {
			t.Errorf("Move to %s: %v, want %v", to, err, dataset.ErrRefused)
		}
	}
	p.wantPoint("db", snap)
	if err := p.target.Move(t.Context(), d, "/data/new/place"); err != nil {
		t.Fatal(err)
	}
	p.wantPoint("new/place", snap)
	if points, err := p.target.Snapshots(t.Context(), "/data/new/place"); err != nil || len(points) != 1 {
		t.Errorf("Snapshots of the new path: %v, %v; want the point", points, err)
	}
}

// Points that are there must not be lost from sight.
func TestAnotherStripIsRefusedWhereThereAreReplicas(t *testing.T) {
	p := newStripped(t)
	if _, err := p.stripped("/srv"); err != nil {
		t.Errorf("another strip before the first replica: %v", err)
	}
	if _, err := p.stripped("/data"); err != nil {
		t.Fatal(err)
	}
	if err := p.receiveAs("/data/db", p.snapshot(p.db, 1)); err != nil {
		t.Fatal(err)
	}
	for _, strip := range []dataset.Path{"", "/", "/srv", "/data/db"} {
		if _, err := p.stripped(strip); !errors.Is(err, dataset.ErrRefused) || !strings.Contains(err.Error(), `strip = "/data"`) {
			t.Errorf("strip = %q: %v, want a refusal that says what it was", strip, err)
		}
	}
	if _, err := p.stripped("/data"); err != nil {
		t.Errorf("the same strip again: %v", err)
	}
}
