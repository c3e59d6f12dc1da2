package btrfs

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
)

func TestActivation(t *testing.T) {
	ctx := context.Background()
	p := newPair(t)
	fill(t, string(p.db))
	s1 := p.snapshot(p.db, 1)
	p.mustCross(p.step(p.db, dataset.Snapshot{}, s1))
	replica := filepath.Join(p.to, "into", string(p.db))
	live := filepath.Join(replica, LiveName)

	for range 2 { // again is success
		got, err := p.target.Activate(ctx, p.db, s1, "aside-1")
		if want := (fsdrivers.Activated{Live: live}); err != nil || got != want {
			t.Fatalf("Activate = %+v, %v; want %+v", got, err, want)
		}
	}
	sameTree(t, p.published(p.db, s1), live)
	write(t, filepath.Join(live, "written"), []byte("live"))

	// The recovery point kept its identity: replication goes on beside it.
	change(t, string(p.db))
	s2 := p.snapshot(p.db, 2)
	p.mustCross(p.step(p.db, s1, s2))
	for range 2 {
		got, err := p.target.Activate(ctx, p.db, s2, "aside-2")
		if want := (fsdrivers.Activated{Live: live, SetAside: filepath.Join(replica, "aside-2")}); err != nil || got != want {
			t.Fatalf("Activate = %+v, %v; want %+v", got, err, want)
		}
	}
	sameTree(t, p.published(p.db, s2), live)
	if data, err := os.ReadFile(filepath.Join(replica, "aside-2", "written")); err != nil || string(data) != "live" {
		t.Errorf("what was set aside holds %q, %v; want what was written", data, err)
	}
	if list, err := p.target.Snapshots(ctx, p.db); err != nil || len(list) != 2 {
		t.Errorf("target lists %v, %v; want the two points and nothing live", list, err)
	}
	must(t, p.target.Sweep(ctx))
	sameTree(t, p.published(p.db, s2), live)

	for name, c := range map[string]struct {
		snap  dataset.Snapshot
		aside string
		want  error
	}{
		"a taken name":    {s1, "aside-2", dataset.ErrExists},
		"no such point":   {dataset.Snapshot{Name: s1.Name, ID: "33333333-3333-4333-8333-333333333333"}, "aside-3", dataset.ErrNotFound},
		"a name outside":  {s1, "../x", nil},
		"a snapshot name": {s1, "antipode_x", nil},
	} {
		if _, err := p.target.Activate(ctx, p.db, c.snap, c.aside); err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want an error like %v", name, err, c.want)
		}
	}
	if _, err := p.target.Activate(ctx, "/unknown", s1, "a"); !errors.Is(err, dataset.ErrNotFound) {
		t.Errorf("an unknown dataset: %v, want ErrNotFound", err)
	}
}

// Whatever a killed activation leaves, the same call finishes it, and the old
// data are live or set aside, never gone.
func TestActivationGoesOnAfterACrash(t *testing.T) {
	ctx := context.Background()
	p := newPair(t)
	fill(t, string(p.db))
	s1 := p.snapshot(p.db, 1)
	p.mustCross(p.step(p.db, dataset.Snapshot{}, s1))
	_, err := p.target.Activate(ctx, p.db, s1, "first")
	must(t, err)
	live := filepath.Join(p.to, "into", string(p.db), LiveName)
	for at, name := range []string{"recorded", "copied without a record", "copied"} {
		t.Run(name, func(t *testing.T) {
			precious := filepath.Join(live, "precious")
			write(t, precious, []byte(name))
			must(t, p.target.withReplica(p.db, func(_ *into, r *replica) error {
				point, err := r.find(s1.ID)
				must(t, err)
				defer point.Close()
				place, err := p.target.livePlace(nil, r, "aside-"+name)
				must(t, err)
				defer place.dir.Close()
				have, err := place.begin(r, activation{Snapshot: s1.ID, Aside: place.aside})
				must(t, err)
				if at == 1 {
					must(t, createSnapshot(point.File, place.dir, place.aside, false))
				}
				if at == 2 {
					_, err = place.copy(r, point, have)
				}
				return err
			}))
			must(t, p.target.Sweep(ctx))
			got, err := p.target.Activate(ctx, p.db, s1, "aside-"+name)
			must(t, err)
			if data, err := os.ReadFile(filepath.Join(got.SetAside, "precious")); err != nil || string(data) != name {
				t.Errorf("set aside as %q holds %q, %v; want %q", got.SetAside, data, err, name)
			}
			sameTree(t, p.published(p.db, s1), live)
		})
	}
}

func TestActivationBelowLive(t *testing.T) {
	ctx := context.Background()
	p := newPair(t)
	place := filepath.Join(p.to, "srv")
	must(t, os.Mkdir(place, 0o755))
	p.target = p.newTarget(place)
	fill(t, string(p.db))
	inner := p.subvolume("db/inner")
	fill(t, string(inner))
	for _, d := range []dataset.Path{p.db, inner} {
		s1 := p.snapshot(d, 1)
		p.mustCross(p.step(d, dataset.Snapshot{}, s1))
		for _, aside := range []string{"a", "b"} {
			got, err := p.target.Activate(ctx, d, s1, aside)
			if want := filepath.Join(place, string(d)); err != nil || got.Live != want || (aside == "b") != (got.SetAside == want+".b") {
				t.Fatalf("Activate = %+v, %v; want live at %s", got, err, want)
			}
		}
		sameTree(t, p.published(d, s1), filepath.Join(place, string(d)))
	}
	if found := p.target.Probe(ctx); len(found) != 0 {
		t.Errorf("found %+v, want nothing", found)
	}
	p.target.opts.Live = t.TempDir()
	if found := p.target.Probe(ctx); len(found) != 1 || !found[0].Fatal {
		t.Errorf("found %+v with live data on another file system, want one", found)
	}
	s2 := p.snapshot(p.db, 2)
	p.mustCross(p.step(p.db, dataset.Snapshot{}, s2))
	if _, err := p.target.Activate(ctx, p.db, s2, "c"); !errors.Is(err, dataset.ErrNotDataset) {
		t.Errorf("live on another file system: %v, want ErrNotDataset", err)
	}
}

// After a promotion the former standby is a source that has the common base,
// and its incremental fits what the former primary still has.
func TestTheWayBackIsIncremental(t *testing.T) {
	ctx := context.Background()
	p := newPair(t)
	fill(t, string(p.db))
	s1 := p.snapshot(p.db, 1)
	p.mustCross(p.step(p.db, dataset.Snapshot{}, s1))
	done, err := p.target.Activate(ctx, p.db, s1, "aside")
	must(t, err)

	back := dataset.Path(done.Live)
	promoted := &pair{t: t, source: NewSource(Options{Log: zerolog.Nop()}), db: back, now: p.now}
	change(t, string(back))
	list, err := promoted.source.Snapshots(ctx, back)
	if err != nil || len(list) != 1 || list[0].ID != s1.ID || !list[0].Created.Equal(s1.Created) {
		t.Fatalf("the promoted side lists %+v, %v; want the base %s", list, err, s1.ID)
	}
	s2 := promoted.snapshot(back, 2)
	stream := promoted.stream(promoted.step(back, list[0], s2))
	if len(stream) > 1<<20 {
		t.Errorf("the way back takes %d bytes, want an incremental", len(stream))
	}
	// The former primary finds its own snapshot by UUID.
	receive := exec.Command("btrfs", "receive", p.from)
	receive.Stdin = bytes.NewReader(stream)
	if out, err := receive.CombinedOutput(); err != nil {
		t.Fatalf("btrfs receive: %v: %s", err, out)
	}
	sameTree(t, atSource(back, s2), filepath.Join(p.from, s2.Name))
	if got, err := promoted.source.Find(ctx, back, false); err != nil || len(got) != 1 {
		t.Errorf("the promoted dataset is found as %v, %v; want one", got, err)
	}
}

func TestIntoIsMadeOrRefused(t *testing.T) {
	p := newPair(t)
	at := func(rel string) string { return filepath.Join(p.to, rel) }
	must(t, os.Mkdir(at("empty"), 0o755))
	must(t, os.MkdirAll(at("full/file"), 0o755))
	must(t, os.Symlink("into", at("link")))
	write(t, at("file"), nil)
	for into, want := range map[string]error{
		at("empty"):          nil,
		at("new"):            nil,
		p.to:                 nil, // the top of a mount is a subvolume
		at("into"):           nil, // again
		at("full"):           dataset.ErrNotDataset,
		at("link"):           dataset.ErrNotDataset,
		at("file"):           dataset.ErrNotDataset,
		at("none/below"):     dataset.ErrNotFound,
		t.TempDir() + "/new": dataset.ErrNotDataset,
	} {
		_, err := NewTarget(TargetOptions{Into: into, Now: p.target.opts.Now})
		if !errors.Is(err, want) {
			t.Errorf("NewTarget(%s): %v, want %v", into, err, want)
		}
		if want != nil {
			continue
		}
		if s, err := openSubvolume(into); err != nil {
			t.Errorf("%s is no subvolume: %v", into, err)
		} else {
			s.Close()
		}
	}
	for _, into := range []string{"", "relative", "/a/../b"} {
		if _, err := NewTarget(TargetOptions{Into: into, Now: p.target.opts.Now}); err == nil {
			t.Errorf("NewTarget(%q) was accepted", into)
		}
	}
	var st unix.Stat_t
	must(t, unix.Stat(at("new"), &st))
	if st.Mode&0o777 != 0o700 {
		t.Errorf("into has mode %o, want 700", st.Mode&0o777)
	}
}

func TestFactsOfAReplica(t *testing.T) {
	ctx := context.Background()
	p := newPair(t)
	mark := dataset.Mark{Activation: dataset.Activation{Generation: 1, ID: dataset.NewActivationID(), Node: "a"}}
	if got, err := p.target.Mark(ctx, p.db); err != nil || !got.IsZero() {
		t.Errorf("mark of nothing: %+v, %v; want zero", got, err)
	}
	if err := p.target.SwapMark(ctx, p.db, dataset.Mark{}, mark); !errors.Is(err, dataset.ErrNotFound) {
		t.Errorf("swap of nothing: %v, want ErrNotFound", err)
	}
	if list, err := p.target.Snapshots(ctx, p.db); err != nil || len(list) != 0 {
		t.Errorf("snapshots of nothing: %v, %v; want none", list, err)
	}
	fill(t, string(p.db))
	s1 := p.snapshot(p.db, 1)
	step := p.step(p.db, dataset.Snapshot{}, s1)
	p.mustCross(step)
	must(t, p.target.SwapMark(ctx, p.db, dataset.Mark{}, mark))
	must(t, p.target.Hold(ctx, p.db, s1, "base"))
	if err := p.target.Destroy(ctx, p.db, s1); !errors.Is(err, dataset.ErrHeld) {
		t.Errorf("destroy of what is held: %v, want ErrHeld", err)
	}

	anew := p.newTarget("") // nothing is remembered but on the disk
	if got, err := anew.Mark(ctx, p.db); err != nil || !sameMark(got, mark) {
		t.Errorf("mark %+v, %v; want %+v", got, err, mark)
	}
	if got, err := anew.Find(ctx, "", true); err != nil || len(got) != 1 || got[0] != step.Dataset {
		t.Errorf("replicas %v, %v; want %v", got, err, step.Dataset)
	}
	if got, err := anew.Pending(ctx, p.db); err != nil || !got.IsZero() {
		t.Errorf("pending %v, %v; want nothing", got, err)
	}
	if got, err := anew.Space(ctx, p.db); err != nil || got.Where != p.to || got.Free <= 0 || got.Size < got.Free {
		t.Errorf("space %+v, %v; want some on %s", got, err, p.to)
	}
	must(t, anew.Abort(ctx, p.db))
	must(t, anew.Release(ctx, p.db, "base"))
	must(t, anew.Destroy(ctx, p.db, s1))
	if list, err := p.target.Snapshots(ctx, p.db); err != nil || len(list) != 0 {
		t.Errorf("after destroy: %v, %v; want none", list, err)
	}

	damaged := filepath.Join(p.to, "into", dataset.Dir, string(step.Dataset.ID), replicaFile)
	write(t, damaged, []byte("x"))
	if _, err := p.newTarget("").Snapshots(ctx, p.db); err == nil || !errors.Is(err, errDamaged) {
		t.Errorf("with a damaged binding: %v, want an error that says so", err)
	}
}
