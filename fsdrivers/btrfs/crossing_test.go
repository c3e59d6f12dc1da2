package btrfs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"antipode/fsdrivers/dataset"
)

func TestFullAndIncrementalAreIdentical(t *testing.T) {
	p := newPair(t)
	fill(t, string(p.db))
	s1 := p.snapshot(p.db, 1)
	got := p.mustCross(p.step(p.db, dataset.Snapshot{}, s1))
	if got.ID != s1.ID || got.Name != s1.Name || !got.Created.Equal(s1.Created) || !got.Received.Equal(p.now) {
		t.Errorf("received %+v, want %+v received at %v", got, s1, p.now)
	}
	sameTree(t, atSource(p.db, s1), p.published(p.db, s1))

	change(t, string(p.db))
	s2 := p.snapshot(p.db, 2)
	p.mustCross(p.step(p.db, s1, s2))
	sameTree(t, string(p.db), p.published(p.db, s2))
	sameTree(t, atSource(p.db, s1), p.published(p.db, s1))

	list, err := p.target.Snapshots(context.Background(), p.db)
	if err != nil || len(list) != 2 || list[0].ID != s1.ID || list[1].ID != s2.ID {
		t.Errorf("target lists %v, %v; want %s, %s", list, err, s1.ID, s2.ID)
	}
	p.nothingInProgress()
}

// `btrfs send` moves what it removes into the root and does not mend the root's
// times afterwards.
func TestRemovedDirectoryLeavesTheTimesOfTheRoot(t *testing.T) {
	p := newPair(t)
	fill(t, string(p.db))
	s1 := p.snapshot(p.db, 1)
	p.mustCross(p.step(p.db, dataset.Snapshot{}, s1))
	must(t, os.RemoveAll(filepath.Join(string(p.db), "d i r/é")))
	s2 := p.snapshot(p.db, 2)
	p.mustCross(p.step(p.db, s1, s2))
	sameTree(t, atSource(p.db, s2), p.published(p.db, s2))
}

// nothingInProgress checks that no intermediate is left.
func (p *pair) nothingInProgress() {
	p.t.Helper()
	for _, pattern := range []string{"into/.antipode/incoming/*", "into/" + string(p.db) + "/.incoming-*"} {
		left, err := filepath.Glob(filepath.Join(p.to, pattern))
		if err != nil || len(left) > 0 {
			p.t.Errorf("left behind: %v, %v", left, err)
		}
	}
}

func TestPublishedStepIsAnsweredWithoutReading(t *testing.T) {
	p := newPair(t)
	fill(t, string(p.db))
	s1 := p.snapshot(p.db, 1)
	step := p.step(p.db, dataset.Snapshot{}, s1)
	p.mustCross(step)
	got, err := p.target.Receive(context.Background(), dataset.Incoming{Step: step}, unread{t})
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
	p := newPair(t)
	for _, name := range []string{"with space", "-rf", "ünïcødé e\u0301", "quote'\"$(x)", "antipode_live", "a\\040b"} {
		t.Run(name, func(t *testing.T) {
			d := p.subvolume(name)
			fill(t, string(d))
			s1 := p.snapshot(d, 1)
			p.mustCross(p.step(d, dataset.Snapshot{}, s1))
			change(t, string(d))
			s2 := p.snapshot(d, 2)
			p.mustCross(p.step(d, s1, s2))
			sameTree(t, atSource(d, s2), p.published(d, s2))
		})
	}
}

func TestDatasetAtTheTopOfItsMount(t *testing.T) {
	p := newPair(t)
	top := dataset.Path(p.from)
	fill(t, p.from)
	s1 := p.snapshot(top, 1)
	p.mustCross(p.step(top, dataset.Snapshot{}, s1))
	write(t, filepath.Join(p.from, "more"), []byte("more"))
	s2 := p.snapshot(top, 2)
	p.mustCross(p.step(top, s1, s2))
	for _, name := range []string{"data", "more"} {
		if _, err := os.Stat(filepath.Join(p.published(top, s2), name)); err != nil {
			t.Error(err)
		}
	}
}

// A snapshot that a user made of the base, for example snapper, has the same
// received UUID; `btrfs receive` would take it when its number is lower.
func TestForeignDuplicateOfTheBaseDoesNotMatter(t *testing.T) {
	p := newPair(t)
	fill(t, string(p.db))
	s1 := p.snapshot(p.db, 1)
	p.mustCross(p.step(p.db, dataset.Snapshot{}, s1))
	change(t, string(p.db))
	s2 := p.snapshot(p.db, 2)

	// Make the foreign one older than the base: the base is published anew.
	foreign := filepath.Join(p.to, "foreign")
	tool(t, "btrfs", "subvolume", "snapshot", "-r", p.published(p.db, s1), foreign)
	must(t, p.target.Destroy(context.Background(), p.db, s1))
	p.mustCross(p.step(p.db, dataset.Snapshot{}, s1))
	tool(t, "btrfs", "subvolume", "snapshot", "-r", p.published(p.db, s1), p.published(p.db, s1)+".mine")

	p.mustCross(p.step(p.db, s1, s2))
	sameTree(t, atSource(p.db, s2), p.published(p.db, s2))
	list, err := p.target.Snapshots(context.Background(), p.db)
	if err != nil || len(list) != 2 || list[0].Name != s1.Name {
		t.Errorf("target lists %v, %v; want %s and %s and nobody's copies", list, err, s1.Name, s2.Name)
	}
}

func TestSnapshotRemovedByHand(t *testing.T) {
	ctx := context.Background()
	p := newPair(t)
	fill(t, string(p.db))
	s1, s2 := p.snapshot(p.db, 1), p.snapshot(p.db, 2)
	p.mustCross(p.step(p.db, dataset.Snapshot{}, s1))
	tool(t, "btrfs", "subvolume", "delete", p.published(p.db, s1))

	step := p.step(p.db, s1, s2)
	if _, err := p.cross(step); !errors.Is(err, dataset.ErrBaseMissing) {
		t.Errorf("receive without base: %v, want ErrBaseMissing", err)
	}
	must(t, p.target.Destroy(ctx, p.db, s1)) // gone is success
	must(t, p.target.Sweep(ctx))
	p.mustCross(p.step(p.db, dataset.Snapshot{}, s2))

	tool(t, "btrfs", "subvolume", "delete", atSource(p.db, s1))
	if _, err := p.source.Send(ctx, step, dataset.Checkpoint{}); !errors.Is(err, dataset.ErrBaseMissing) {
		t.Errorf("send without base: %v, want ErrBaseMissing", err)
	}
	tool(t, "btrfs", "subvolume", "delete", atSource(p.db, s2))
	if _, err := p.source.Send(ctx, step, dataset.Checkpoint{}); !errors.Is(err, dataset.ErrNotFound) {
		t.Errorf("send of what is gone: %v, want ErrNotFound", err)
	}
}

func TestReceiveRefuses(t *testing.T) {
	p := newPair(t)
	fill(t, string(p.db))
	s1, s2 := p.snapshot(p.db, 1), p.snapshot(p.db, 2)
	full := p.step(p.db, dataset.Snapshot{}, s1)
	whole := p.stream(full)
	change := func(f func(*dataset.Step)) dataset.Step { s := full; f(&s); return s }

	for name, c := range map[string]struct {
		step   dataset.Step
		stream []byte
		want   error
	}{
		"another identity":                        {change(func(s *dataset.Step) { s.To.ID = s2.ID }), whole, dataset.ErrRefused},
		"an incremental instead of a full stream": {change(func(s *dataset.Step) { s.To = s2 }), p.stream(p.step(p.db, s1, s2)), dataset.ErrRefused},
		"a path outside":                          {change(func(s *dataset.Step) { s.Dataset.Path = "/../../etc" }), whole, dataset.ErrRefused},
		"a name outside":                          {change(func(s *dataset.Step) { s.To.Name = "antipode_/../x" }), whole, dataset.ErrRefused},
		"a name that is not ours":                 {change(func(s *dataset.Step) { s.To.Name = "x" }), whole, dataset.ErrRefused},
		"the live name":                           {change(func(s *dataset.Step) { s.To.Name = LiveName }), whole, dataset.ErrRefused},
		"no uuid":                                 {change(func(s *dataset.Step) { s.To.ID = "42" }), whole, dataset.ErrRefused},
		"an unknown base":                         {change(func(s *dataset.Step) { s.From = s2 }), whole, dataset.ErrBaseMissing},
		"a cut stream":                            {full, whole[:len(whole)-1], dataset.ErrCut},
		"no stream":                               {full, nil, dataset.ErrCut},
		"something behind it":                     {full, append(whole[:len(whole):len(whole)], 'x'), dataset.ErrRefused},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := p.receive(c.step, c.stream); !errors.Is(err, c.want) {
				t.Errorf("Receive: %v, want %v", err, c.want)
			}
			p.nothingInProgress()
		})
	}
	if _, err := p.receive(full, whole); err != nil {
		t.Errorf("the honest stream after all that: %v", err)
	}
	other := change(func(s *dataset.Step) { s.To.ID, s.To.Name = s2.ID, s1.Name })
	if _, err := p.receive(other, whole); !errors.Is(err, dataset.ErrExists) {
		t.Errorf("a taken name: %v, want ErrExists", err)
	}
}

func TestPathOfAnotherDataset(t *testing.T) {
	p := newPair(t)
	fill(t, string(p.db))
	s1 := p.snapshot(p.db, 1)
	p.mustCross(p.step(p.db, dataset.Snapshot{}, s1))

	must(t, os.Rename(string(p.db), string(p.db)+".old"))
	anew := p.subvolume("db")
	fill(t, string(anew))
	s2 := p.snapshot(anew, 2)
	if _, err := p.cross(p.step(anew, dataset.Snapshot{}, s2)); !errors.Is(err, dataset.ErrDiverged) {
		t.Errorf("a dataset made anew: %v, want ErrDiverged", err)
	}
	renamed := dataset.Path(string(p.db) + ".old")
	s3 := p.snapshot(renamed, 3)
	if _, err := p.cross(p.step(renamed, s1, s3)); !errors.Is(err, dataset.ErrExists) {
		t.Errorf("a renamed dataset: %v, want ErrExists", err)
	}
	inside := anew + "/antipode_job_1/x"
	step := p.step(anew, dataset.Snapshot{}, s2)
	step.Dataset = dataset.Dataset{Path: inside, ID: step.To.ID}
	if _, err := p.receive(step, nil); !errors.Is(err, dataset.ErrRefused) {
		t.Errorf("a path through a snapshot: %v, want ErrRefused", err)
	}
	must(t, p.target.Destroy(context.Background(), anew, s1))
	p.mustCross(p.step(anew, dataset.Snapshot{}, s2))
}
