package receive_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"antipode/fsdrivers/btrfs/btrfstest"
	"antipode/fsdrivers/btrfs/btrfstest/pair"
	"antipode/fsdrivers/btrfs/naming"
	"antipode/fsdrivers/dataset"
)

func TestFullAndIncrementalAreIdentical(t *testing.T) {
	p := pair.New(t)
	btrfstest.Fill(t, string(p.DB))
	s1 := p.Snapshot(p.DB, 1)
	got := p.MustCross(p.Step(p.DB, dataset.Snapshot{}, s1))
	if got.ID != s1.ID || got.Name != s1.Name || !got.Created.Equal(s1.Created) || !got.Received.Equal(p.Now) {
		t.Errorf("received %+v, want %+v received at %v", got, s1, p.Now)
	}
	btrfstest.SameTree(t, btrfstest.AtSource(p.DB, s1), p.Published(p.DB, s1))

	btrfstest.Change(t, string(p.DB))
	s2 := p.Snapshot(p.DB, 2)
	p.MustCross(p.Step(p.DB, s1, s2))
	btrfstest.SameTree(t, string(p.DB), p.Published(p.DB, s2))
	btrfstest.SameTree(t, btrfstest.AtSource(p.DB, s1), p.Published(p.DB, s1))

	list, err := p.Target.Snapshots(context.Background(), p.DB)
	if err != nil || len(list) != 2 || list[0].ID != s1.ID || list[1].ID != s2.ID {
		t.Errorf("target lists %v, %v; want %s, %s", list, err, s1.ID, s2.ID)
	}
	p.NothingInProgress()
}

// `btrfs send` moves what it removes into the root and does not mend the root's
// times afterwards.
func TestRemovedDirectoryLeavesTheTimesOfTheRoot(t *testing.T) {
	p := pair.New(t)
	btrfstest.Fill(t, string(p.DB))
	s1 := p.Snapshot(p.DB, 1)
	p.MustCross(p.Step(p.DB, dataset.Snapshot{}, s1))
	btrfstest.Must(t, os.RemoveAll(filepath.Join(string(p.DB), "d i r/é")))
	s2 := p.Snapshot(p.DB, 2)
	p.MustCross(p.Step(p.DB, s1, s2))
	btrfstest.SameTree(t, btrfstest.AtSource(p.DB, s2), p.Published(p.DB, s2))
}

func TestPublishedStepIsAnsweredWithoutReading(t *testing.T) {
	p := pair.New(t)
	btrfstest.Fill(t, string(p.DB))
	s1 := p.Snapshot(p.DB, 1)
	step := p.Step(p.DB, dataset.Snapshot{}, s1)
	p.MustCross(step)
	got, err := p.Target.Receive(context.Background(), dataset.Incoming{Step: step}, unread{t})
	if err != nil || got.ID != s1.ID {
		t.Errorf("second Receive = %v, %v; want %s", got.ID, err, s1.ID)
	}
}

type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("the stream was read")
	return 0, errors.New("read")
}

func TestNamesThatAreHardToPass(t *testing.T) {
	p := pair.New(t)
	for _, name := range []string{"with space", "-rf", "ünïcødé e\u0301", "quote'\"$(x)", "antipode_live", "a\\040b"} {
		t.Run(name, func(t *testing.T) {
			d := p.Subvolume(name)
			btrfstest.Fill(t, string(d))
			s1 := p.Snapshot(d, 1)
			p.MustCross(p.Step(d, dataset.Snapshot{}, s1))
			btrfstest.Change(t, string(d))
			s2 := p.Snapshot(d, 2)
			p.MustCross(p.Step(d, s1, s2))
			btrfstest.SameTree(t, btrfstest.AtSource(d, s2), p.Published(d, s2))
		})
	}
}

func TestDatasetAtTheTopOfItsMount(t *testing.T) {
	p := pair.New(t)
	top := dataset.Path(p.From)
	btrfstest.Fill(t, p.From)
	s1 := p.Snapshot(top, 1)
	p.MustCross(p.Step(top, dataset.Snapshot{}, s1))
	btrfstest.Write(t, filepath.Join(p.From, "more"), []byte("more"))
	s2 := p.Snapshot(top, 2)
	p.MustCross(p.Step(top, s1, s2))
	for _, name := range []string{"data", "more"} {
		if _, err := os.Stat(filepath.Join(p.Published(top, s2), name)); err != nil {
			t.Error(err)
		}
	}
}

// A snapshot that a user made of the base, for example snapper, has the same
// received UUID; `btrfs receive` would take it when its number is lower.
func TestForeignDuplicateOfTheBaseDoesNotMatter(t *testing.T) {
	p := pair.New(t)
	btrfstest.Fill(t, string(p.DB))
	s1 := p.Snapshot(p.DB, 1)
	p.MustCross(p.Step(p.DB, dataset.Snapshot{}, s1))
	btrfstest.Change(t, string(p.DB))
	s2 := p.Snapshot(p.DB, 2)

	// Make the foreign one older than the base: the base is published anew.
	foreign := filepath.Join(p.To, "foreign")
	btrfstest.Tool(t, "btrfs", "subvolume", "snapshot", "-r", p.Published(p.DB, s1), foreign)
	btrfstest.Must(t, p.Target.Destroy(context.Background(), p.DB, s1))
	p.MustCross(p.Step(p.DB, dataset.Snapshot{}, s1))
	btrfstest.Tool(t, "btrfs", "subvolume", "snapshot", "-r", p.Published(p.DB, s1), p.Published(p.DB, s1)+".mine")

	p.MustCross(p.Step(p.DB, s1, s2))
	btrfstest.SameTree(t, btrfstest.AtSource(p.DB, s2), p.Published(p.DB, s2))
	list, err := p.Target.Snapshots(context.Background(), p.DB)
	if err != nil || len(list) != 2 || list[0].Name != s1.Name {
		t.Errorf("target lists %v, %v; want %s and %s and nobody's copies", list, err, s1.Name, s2.Name)
	}
}

func TestSnapshotRemovedByHand(t *testing.T) {
	ctx := context.Background()
	p := pair.New(t)
	btrfstest.Fill(t, string(p.DB))
	s1, s2 := p.Snapshot(p.DB, 1), p.Snapshot(p.DB, 2)
	p.MustCross(p.Step(p.DB, dataset.Snapshot{}, s1))
	btrfstest.Tool(t, "btrfs", "subvolume", "delete", p.Published(p.DB, s1))

	step := p.Step(p.DB, s1, s2)
	if _, err := p.Cross(step); !errors.Is(err, dataset.ErrBaseMissing) {
		t.Errorf("receive without base: %v, want ErrBaseMissing", err)
	}
	btrfstest.Must(t, p.Target.Destroy(ctx, p.DB, s1)) // gone is success
	btrfstest.Must(t, p.Target.Sweep(ctx))
	p.MustCross(p.Step(p.DB, dataset.Snapshot{}, s2))

	btrfstest.Tool(t, "btrfs", "subvolume", "delete", btrfstest.AtSource(p.DB, s1))
	if _, err := p.Source.Send(ctx, step, dataset.Checkpoint{}); !errors.Is(err, dataset.ErrBaseMissing) {
		t.Errorf("send without base: %v, want ErrBaseMissing", err)
	}
	btrfstest.Tool(t, "btrfs", "subvolume", "delete", btrfstest.AtSource(p.DB, s2))
	if _, err := p.Source.Send(ctx, step, dataset.Checkpoint{}); !errors.Is(err, dataset.ErrNotFound) {
		t.Errorf("send of what is gone: %v, want ErrNotFound", err)
	}
}

func TestReceiveRefuses(t *testing.T) {
	p := pair.New(t)
	btrfstest.Fill(t, string(p.DB))
	s1, s2 := p.Snapshot(p.DB, 1), p.Snapshot(p.DB, 2)
	full := p.Step(p.DB, dataset.Snapshot{}, s1)
	whole := p.Stream(full)
	change := func(f func(*dataset.Step)) dataset.Step { s := full; f(&s); return s }

	for name, c := range map[string]struct {
		step   dataset.Step
		stream []byte
		want   error
	}{
		"another identity":                        {change(func(s *dataset.Step) { s.To.ID = s2.ID }), whole, dataset.ErrRefused},
		"an incremental instead of a full stream": {change(func(s *dataset.Step) { s.To = s2 }), p.Stream(p.Step(p.DB, s1, s2)), dataset.ErrRefused},
		"a path outside":                          {change(func(s *dataset.Step) { s.Dataset.Path = "/../../etc" }), whole, dataset.ErrRefused},
		"a name outside":                          {change(func(s *dataset.Step) { s.To.Name = "antipode_/../x" }), whole, dataset.ErrRefused},
		"a name that is not ours":                 {change(func(s *dataset.Step) { s.To.Name = "x" }), whole, dataset.ErrRefused},
		"the live name":                           {change(func(s *dataset.Step) { s.To.Name = naming.Live }), whole, dataset.ErrRefused},
		"no uuid":                                 {change(func(s *dataset.Step) { s.To.ID = "42" }), whole, dataset.ErrRefused},
		"an unknown base":                         {change(func(s *dataset.Step) { s.From = s2 }), whole, dataset.ErrBaseMissing},
		"a cut stream":                            {full, whole[:len(whole)-1], dataset.ErrCut},
		"no stream":                               {full, nil, dataset.ErrCut},
		"something behind it":                     {full, append(whole[:len(whole):len(whole)], 'x'), dataset.ErrRefused},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := p.Receive(c.step, c.stream); !errors.Is(err, c.want) {
				t.Errorf("Receive: %v, want %v", err, c.want)
			}
			p.NothingInProgress()
		})
	}
	if _, err := p.Receive(full, whole); err != nil {
		t.Errorf("the honest stream after all that: %v", err)
	}
	other := change(func(s *dataset.Step) { s.To.ID, s.To.Name = s2.ID, s1.Name })
	if _, err := p.Receive(other, whole); !errors.Is(err, dataset.ErrExists) {
		t.Errorf("a taken name: %v, want ErrExists", err)
	}
}

func TestPathOfAnotherDataset(t *testing.T) {
	p := pair.New(t)
	btrfstest.Fill(t, string(p.DB))
	s1 := p.Snapshot(p.DB, 1)
	p.MustCross(p.Step(p.DB, dataset.Snapshot{}, s1))

	btrfstest.Must(t, os.Rename(string(p.DB), string(p.DB)+".old"))
	anew := p.Subvolume("db")
	btrfstest.Fill(t, string(anew))
	s2 := p.Snapshot(anew, 2)
	if _, err := p.Cross(p.Step(anew, dataset.Snapshot{}, s2)); !errors.Is(err, dataset.ErrDiverged) {
		t.Errorf("a dataset made anew: %v, want ErrDiverged", err)
	}
	renamed := dataset.Path(string(p.DB) + ".old")
	s3 := p.Snapshot(renamed, 3)
	if _, err := p.Cross(p.Step(renamed, s1, s3)); !errors.Is(err, dataset.ErrExists) {
		t.Errorf("a renamed dataset: %v, want ErrExists", err)
	}
	inside := anew + "/antipode_job_1/x"
	step := p.Step(anew, dataset.Snapshot{}, s2)
	step.Dataset = dataset.Dataset{Path: inside, ID: step.To.ID}
	if _, err := p.Receive(step, nil); !errors.Is(err, dataset.ErrRefused) {
		t.Errorf("a path through a snapshot: %v, want ErrRefused", err)
	}
	btrfstest.Must(t, p.Target.Destroy(context.Background(), anew, s1))
	p.MustCross(p.Step(anew, dataset.Snapshot{}, s2))
}
