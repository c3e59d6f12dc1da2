// Package pair is a source and a target on two real file systems, for tests.
package pair

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"antipode/fsdrivers/btrfs/btrfstest"
	"antipode/fsdrivers/btrfs/facts"
	"antipode/fsdrivers/btrfs/source"
	"antipode/fsdrivers/btrfs/subvol"
	"antipode/fsdrivers/btrfs/target"
	"antipode/fsdrivers/dataset"
	"antipode/integration/loopfs"
)

// Pair is a source and a target on two file systems.
type Pair struct {
	T      *testing.T
	From   string // mount point of the source's file system
	To     string // mount point of the target's
	DB     dataset.Path
	Source *source.Source
	Target *target.Target
	Now    time.Time

	Options target.Options // of the target
}

const Size = 256 << 20

// New makes both file systems, and a dataset on the source's.
func New(t *testing.T) *Pair {
	t.Helper()
	p := &Pair{T: t, From: loopfs.New(t, Size), To: loopfs.New(t, Size), Now: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)}
	p.DB = p.Subvolume("db")
	p.Source = source.New(source.Options{Log: zerolog.Nop()})
	p.Target = p.NewTarget("")
	return p
}

// NewTarget makes another target on the same disk, which remembers nothing.
func (p *Pair) NewTarget(live string) *target.Target {
	p.T.Helper()
	p.Options = target.Options{
		Into: filepath.Join(p.To, "into"), Live: live, Log: zerolog.Nop(), Now: func() time.Time { return p.Now },
		Binary: p.Options.Binary, Segments: p.Options.Segments,
	}
	target, err := target.New(p.Options)
	if err != nil {
		p.T.Fatal(err)
	}
	return target
}

// Remake makes the target anew with other options.
func (p *Pair) Remake(change func(*target.Options)) {
	p.T.Helper()
	change(&p.Options)
	target, err := target.New(p.Options)
	if err != nil {
		p.T.Fatal(err)
	}
	p.Target = target
}

// Subvolume makes one on the source.
func (p *Pair) Subvolume(rel string) dataset.Path {
	p.T.Helper()
	path := filepath.Join(p.From, rel)
	btrfstest.Tool(p.T, "btrfs", "subvolume", "create", path)
	return dataset.Path(path)
}

// Dataset is d as its source declares it.
func (p *Pair) Dataset(d dataset.Path) dataset.Dataset {
	p.T.Helper()
	found, err := p.Source.Find(context.Background(), d, false)
	if err != nil || len(found) != 1 {
		p.T.Fatalf("Find(%s) = %v, %v; want one dataset", d, found, err)
	}
	return found[0]
}

// Snapshot makes the nth snapshot of d, n seconds after Now.
func (p *Pair) Snapshot(d dataset.Path, n int) dataset.Snapshot {
	p.T.Helper()
	created := p.Now.Add(time.Duration(n) * time.Second)
	list, err := p.Source.Snapshot(context.Background(), fmt.Sprintf("antipode_job_%d", n), created, []dataset.Path{d})
	if err != nil {
		p.T.Fatal(err)
	}
	return list[0]
}

// Step is a step of d; a zero from makes it a full one.
func (p *Pair) Step(d dataset.Path, from, to dataset.Snapshot) dataset.Step {
	p.T.Helper()
	return dataset.Step{Job: "job", Dataset: p.Dataset(d), From: from, To: to}
}

// Cross sends a step and receives it.
func (p *Pair) Cross(step dataset.Step) (dataset.Snapshot, error) {
	p.T.Helper()
	return cross(p.T, p.Source, p.Target, step)
}

func cross(t *testing.T, source *source.Source, target *target.Target, step dataset.Step) (dataset.Snapshot, error) {
	t.Helper()
	r, err := source.Send(context.Background(), step, dataset.Checkpoint{})
	if err != nil {
		t.Fatalf("Send: %v", err)
	}
	got, err := target.Receive(context.Background(), dataset.Incoming{Step: step, Retain: step.To.Created}, r)
	if cerr := r.Close(); cerr != nil {
		t.Errorf("close of send: %v", cerr)
	}
	return got, err
}

// MustCross is Cross for what must succeed.
func (p *Pair) MustCross(step dataset.Step) dataset.Snapshot {
	p.T.Helper()
	got, err := p.Cross(step)
	if err != nil {
		p.T.Fatalf("cross %s: %v", step.To.Name, err)
	}
	return got
}

// Stream is all that a step sends.
func (p *Pair) Stream(step dataset.Step) []byte {
	p.T.Helper()
	r, err := p.Source.Send(context.Background(), step, dataset.Checkpoint{})
	if err != nil {
		p.T.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		p.T.Fatal(err)
	}
	return data
}

// Receive gives the target a stream of a step.
func (p *Pair) Receive(step dataset.Step, stream []byte) (dataset.Snapshot, error) {
	return p.Target.Receive(context.Background(), dataset.Incoming{Step: step, Retain: step.To.Created}, bytes.NewReader(stream))
}

// Published is where a snapshot is on the target.
func (p *Pair) Published(d dataset.Path, s dataset.Snapshot) string {
	return filepath.Join(p.To, "into", string(d), s.Name)
}

// NothingInProgress checks that no intermediate is left.
func (p *Pair) NothingInProgress() {
	p.T.Helper()
	for _, pattern := range []string{"into/.antipode/incoming/*", "into/" + string(p.DB) + "/.incoming-*"} {
		left, err := filepath.Glob(filepath.Join(p.To, pattern))
		if err != nil || len(left) > 0 {
			p.T.Errorf("left behind: %v, %v", left, err)
		}
	}
}

// Many makes n snapshots of the dataset, an hour apart, without a commit for each.
func (p *Pair) Many(n int) {
	p.T.Helper()
	db, err := subvol.Open(string(p.DB))
	btrfstest.Must(p.T, err)
	defer db.Close()
	own, err := subvol.MakeOwn(db)
	btrfstest.Must(p.T, err)
	defer own.Close()
	f, err := facts.Make(own, db.Identity())
	btrfstest.Must(p.T, err)
	defer f.Close()
	for i := range n {
		name, at := fmt.Sprintf("antipode_db_%04d", i), p.Now.Add(time.Duration(i)*time.Hour)
		btrfstest.Must(p.T, f.SetPoint(name, facts.Point{Name: name, Created: at, Retain: at}))
		btrfstest.Must(p.T, subvol.Snapshot(db.File, own, name, true))
	}
}
