package activate_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rs/zerolog"

	"antipode/fsdrivers"
	"antipode/fsdrivers/btrfs/btrfstest"
	"antipode/fsdrivers/btrfs/btrfstest/pair"
	"antipode/fsdrivers/btrfs/naming"
	"antipode/fsdrivers/btrfs/source"
	"antipode/fsdrivers/btrfs/target"
	"antipode/fsdrivers/dataset"
)

func TestActivation(t *testing.T) {
	ctx := context.Background()
	p := pair.New(t)
	btrfstest.Fill(t, string(p.DB))
	s1 := p.Snapshot(p.DB, 1)
	p.MustCross(p.Step(p.DB, dataset.Snapshot{}, s1))
	replica := filepath.Join(p.To, "into", string(p.DB))
	live := filepath.Join(replica, naming.Live)

	for range 2 { // again is success
		got, err := p.Target.Activate(ctx, p.DB, s1, "aside-1")
		if want := (fsdrivers.Activated{Live: live}); err != nil || got != want {
			t.Fatalf("Activate = %+v, %v; want %+v", got, err, want)
		}
	}
	btrfstest.SameTree(t, p.Published(p.DB, s1), live)
	btrfstest.Write(t, filepath.Join(live, "written"), []byte("live"))

	// The recovery point kept its identity: replication goes on beside it.
	btrfstest.Change(t, string(p.DB))
	s2 := p.Snapshot(p.DB, 2)
	p.MustCross(p.Step(p.DB, s1, s2))
	for range 2 {
		got, err := p.Target.Activate(ctx, p.DB, s2, "aside-2")
		if want := (fsdrivers.Activated{Live: live, SetAside: filepath.Join(replica, "aside-2")}); err != nil || got != want {
			t.Fatalf("Activate = %+v, %v; want %+v", got, err, want)
		}
	}
	btrfstest.SameTree(t, p.Published(p.DB, s2), live)
	if data, err := os.ReadFile(filepath.Join(replica, "aside-2", "written")); err != nil || string(data) != "live" {
		t.Errorf("what was set aside holds %q, %v; want what was written", data, err)
	}
	if list, err := p.Target.Snapshots(ctx, p.DB); err != nil || len(list) != 2 {
		t.Errorf("target lists %v, %v; want the two points and nothing live", list, err)
	}
	btrfstest.Must(t, p.Target.Sweep(ctx))
	btrfstest.SameTree(t, p.Published(p.DB, s2), live)

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
		if _, err := p.Target.Activate(ctx, p.DB, c.snap, c.aside); err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want an error like %v", name, err, c.want)
		}
	}
	if _, err := p.Target.Activate(ctx, "/unknown", s1, "a"); !errors.Is(err, dataset.ErrNotFound) {
		t.Errorf("an unknown dataset: %v, want ErrNotFound", err)
	}
}

// Whatever a killed activation leaves, the same call finishes it, and the old
// data are live or set aside, never gone.
func TestActivationGoesOnAfterACrash(t *testing.T) {
	ctx := context.Background()
	p := pair.New(t)
	btrfstest.Fill(t, string(p.DB))
	s1 := p.Snapshot(p.DB, 1)
	p.MustCross(p.Step(p.DB, dataset.Snapshot{}, s1))
	_, err := p.Target.Activate(ctx, p.DB, s1, "first")
	btrfstest.Must(t, err)
	live := filepath.Join(p.To, "into", string(p.DB), naming.Live)
	for at, name := range []string{"recorded", "copied without a record", "copied"} {
		t.Run(name, func(t *testing.T) {
			precious := filepath.Join(live, "precious")
			btrfstest.Write(t, precious, []byte(name))
			btrfstest.Must(t, p.Target.BreakOffActivation(at, p.DB, s1, "aside-"+name))
			btrfstest.Must(t, p.Target.Sweep(ctx))
			got, err := p.Target.Activate(ctx, p.DB, s1, "aside-"+name)
			btrfstest.Must(t, err)
			if data, err := os.ReadFile(filepath.Join(got.SetAside, "precious")); err != nil || string(data) != name {
				t.Errorf("set aside as %q holds %q, %v; want %q", got.SetAside, data, err, name)
			}
			btrfstest.SameTree(t, p.Published(p.DB, s1), live)
		})
	}
}

func TestActivationBelowLive(t *testing.T) {
	ctx := context.Background()
	p := pair.New(t)
	place := filepath.Join(p.To, "srv")
	btrfstest.Must(t, os.Mkdir(place, 0o755))
	p.Target = p.NewTarget(place)
	btrfstest.Fill(t, string(p.DB))
	inner := p.Subvolume("db/inner")
	btrfstest.Fill(t, string(inner))
	for _, d := range []dataset.Path{p.DB, inner} {
		s1 := p.Snapshot(d, 1)
		p.MustCross(p.Step(d, dataset.Snapshot{}, s1))
		for _, aside := range []string{"a", "b"} {
			got, err := p.Target.Activate(ctx, d, s1, aside)
			if want := filepath.Join(place, string(d)); err != nil || got.Live != want || (aside == "b") != (got.SetAside == want+".b") {
				t.Fatalf("Activate = %+v, %v; want live at %s", got, err, want)
			}
		}
		btrfstest.SameTree(t, p.Published(d, s1), filepath.Join(place, string(d)))
	}
	if found := p.Target.Probe(ctx); len(found) != 0 {
		t.Errorf("found %+v, want nothing", found)
	}
	p.Remake(func(o *target.Options) { o.Live = t.TempDir() })
	if found := p.Target.Probe(ctx); len(found) != 1 || !found[0].Fatal {
		t.Errorf("found %+v with live data on another file system, want one", found)
	}
	s2 := p.Snapshot(p.DB, 2)
	p.MustCross(p.Step(p.DB, dataset.Snapshot{}, s2))
	if _, err := p.Target.Activate(ctx, p.DB, s2, "c"); !errors.Is(err, dataset.ErrNotDataset) {
		t.Errorf("live on another file system: %v, want ErrNotDataset", err)
	}
}

// After a promotion the former standby is a source that has the common base,
// and its incremental fits what the former primary still has.
func TestTheWayBackIsIncremental(t *testing.T) {
	ctx := context.Background()
	p := pair.New(t)
	btrfstest.Fill(t, string(p.DB))
	s1 := p.Snapshot(p.DB, 1)
	p.MustCross(p.Step(p.DB, dataset.Snapshot{}, s1))
	done, err := p.Target.Activate(ctx, p.DB, s1, "aside")
	btrfstest.Must(t, err)

	back := dataset.Path(done.Live)
	promoted := &pair.Pair{T: t, Source: source.New(source.Options{Log: zerolog.Nop()}), DB: back, Now: p.Now}
	btrfstest.Change(t, string(back))
	list, err := promoted.Source.Snapshots(ctx, back)
	if err != nil || len(list) != 1 || list[0].ID != s1.ID || !list[0].Created.Equal(s1.Created) {
		t.Fatalf("the promoted side lists %+v, %v; want the base %s", list, err, s1.ID)
	}
	s2 := promoted.Snapshot(back, 2)
	stream := promoted.Stream(promoted.Step(back, list[0], s2))
	if len(stream) > 1<<20 {
		t.Errorf("the way back takes %d bytes, want an incremental", len(stream))
	}
	// The former primary finds its own snapshot by UUID.
	receive := exec.Command("btrfs", "receive", p.From)
	receive.Stdin = bytes.NewReader(stream)
	if out, err := receive.CombinedOutput(); err != nil {
		t.Fatalf("btrfs receive: %v: %s", err, out)
	}
	btrfstest.SameTree(t, btrfstest.AtSource(back, s2), filepath.Join(p.From, s2.Name))
	if got, err := promoted.Source.Find(ctx, back, false); err != nil || len(got) != 1 {
		t.Errorf("the promoted dataset is found as %v, %v; want one", got, err)
	}
}
