package target_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"antipode/fsdrivers/btrfs/btrfstest"
	"antipode/fsdrivers/btrfs/btrfstest/pair"
	"antipode/fsdrivers/btrfs/sidecar"
	"antipode/fsdrivers/btrfs/standby"
	"antipode/fsdrivers/btrfs/subvol"
	"antipode/fsdrivers/btrfs/target"
	"antipode/fsdrivers/dataset"
)

func TestIntoIsMadeOrRefused(t *testing.T) {
	p := pair.New(t)
	at := func(rel string) string { return filepath.Join(p.To, rel) }
	btrfstest.Must(t, os.Mkdir(at("empty"), 0o755))
	btrfstest.Must(t, os.MkdirAll(at("full/file"), 0o755))
	btrfstest.Must(t, os.Symlink("into", at("link")))
	btrfstest.Write(t, at("file"), nil)
	for into, want := range map[string]error{
		at("empty"):          nil,
		at("new"):            nil,
		p.To:                 nil, // the top of a mount is a subvolume
		at("into"):           nil, // again
		at("full"):           dataset.ErrNotDataset,
		at("link"):           dataset.ErrNotDataset,
		at("file"):           dataset.ErrNotDataset,
		at("none/below"):     dataset.ErrNotFound,
		t.TempDir() + "/new": dataset.ErrNotDataset,
	} {
		_, err := target.New(target.Options{Into: into, Now: time.Now})
		if !errors.Is(err, want) {
			t.Errorf("NewTarget(%s): %v, want %v", into, err, want)
		}
		if want != nil {
			continue
		}
		if s, err := subvol.Open(into); err != nil {
			t.Errorf("%s is no subvolume: %v", into, err)
		} else {
			s.Close()
		}
	}
	for _, into := range []string{"", "relative", "/a/../b"} {
		if _, err := target.New(target.Options{Into: into, Now: time.Now}); err == nil {
			t.Errorf("NewTarget(%q) was accepted", into)
		}
	}
	var st unix.Stat_t
	btrfstest.Must(t, unix.Stat(at("new"), &st))
	if st.Mode&0o777 != 0o700 {
		t.Errorf("into has mode %o, want 700", st.Mode&0o777)
	}
}

func TestFactsOfAReplica(t *testing.T) {
	ctx := context.Background()
	p := pair.New(t)
	mark := dataset.Mark{Activation: dataset.Activation{Generation: 1, ID: dataset.NewActivationID(), Node: "a"}}
	if got, err := p.Target.Mark(ctx, p.DB); err != nil || !got.IsZero() {
		t.Errorf("mark of nothing: %+v, %v; want zero", got, err)
	}
	if err := p.Target.SwapMark(ctx, p.DB, dataset.Mark{}, mark); !errors.Is(err, dataset.ErrNotFound) {
		t.Errorf("swap of nothing: %v, want ErrNotFound", err)
	}
	if list, err := p.Target.Snapshots(ctx, p.DB); err != nil || len(list) != 0 {
		t.Errorf("snapshots of nothing: %v, %v; want none", list, err)
	}
	btrfstest.Fill(t, string(p.DB))
	s1 := p.Snapshot(p.DB, 1)
	step := p.Step(p.DB, dataset.Snapshot{}, s1)
	p.MustCross(step)
	btrfstest.Must(t, p.Target.SwapMark(ctx, p.DB, dataset.Mark{}, mark))
	btrfstest.Must(t, p.Target.Hold(ctx, p.DB, s1, "base"))
	if err := p.Target.Destroy(ctx, p.DB, s1); !errors.Is(err, dataset.ErrHeld) {
		t.Errorf("destroy of what is held: %v, want ErrHeld", err)
	}

	anew := p.NewTarget("") // nothing is remembered but on the disk
	if got, err := anew.Mark(ctx, p.DB); err != nil || !got.Same(mark) {
		t.Errorf("mark %+v, %v; want %+v", got, err, mark)
	}
	if got, err := anew.Find(ctx, "", true); err != nil || len(got) != 1 || got[0] != step.Dataset {
		t.Errorf("replicas %v, %v; want %v", got, err, step.Dataset)
	}
	if got, err := anew.Pending(ctx, p.DB); err != nil || !got.IsZero() {
		t.Errorf("pending %v, %v; want nothing", got, err)
	}
	if got, err := anew.Space(ctx, p.DB); err != nil || got.Where != p.To || got.Free <= 0 || got.Size < got.Free {
		t.Errorf("space %+v, %v; want some on %s", got, err, p.To)
	}
	btrfstest.Must(t, anew.Abort(ctx, p.DB))
	btrfstest.Must(t, anew.Release(ctx, p.DB, "base"))
	btrfstest.Must(t, anew.Destroy(ctx, p.DB, s1))
	if list, err := p.Target.Snapshots(ctx, p.DB); err != nil || len(list) != 0 {
		t.Errorf("after destroy: %v, %v; want none", list, err)
	}

	damaged := filepath.Join(p.To, "into", dataset.Dir, string(step.Dataset.ID), standby.ReplicaFile)
	btrfstest.Write(t, damaged, []byte("x"))
	if _, err := p.NewTarget("").Snapshots(ctx, p.DB); err == nil || !errors.Is(err, sidecar.ErrDamaged) {
		t.Errorf("with a damaged binding: %v, want an error that says so", err)
	}
}
