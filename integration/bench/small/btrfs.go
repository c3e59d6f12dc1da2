package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/rs/zerolog"

	"antipode/daemon/policy"
	"antipode/fsdrivers"
	"antipode/fsdrivers/btrfs"
	"antipode/fsdrivers/dataset"
	"antipode/integration/loopfs"
	"antipode/integration/stage"
)

const volumeBytes = 8 << 30 // sparse; what is not written takes no room

// real makes drivers on the file systems of this host.
type real struct{}

func (real) Source(policy.Driver, policy.Names) (fsdrivers.Source, error) {
	return btrfs.NewSource(btrfs.Options{Log: zerolog.Nop()}), nil
}

func (real) Target(a policy.Accept) (fsdrivers.Target, error) {
	return btrfs.NewTarget(btrfs.TargetOptions{Into: a.Into, Now: time.Now, Log: zerolog.Nop()})
}

// planted is a source of real subvolumes.
type planted struct {
	*pair
	source *btrfs.Source
	paths  []dataset.Path
	writes int
}

// smallBtrfs is small on two real file systems; the link stays what it was. It is
// left out, and said so, where this host has no Btrfs for us.
func (b bench) smallBtrfs(ctx context.Context) (err error) {
	if missing := loopfs.Missing(); missing != "" {
		fmt.Printf("# small_500_btrfs is left out: %s\n", missing)
		return nil
	}
	set, err := stage.New("", "antipode-bench-small")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, set.Strike()) }()
	p, err := b.plant(ctx, set)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	var most time.Duration
	for round := range b.rounds + 1 {
		if err := p.change(ctx); err != nil {
			return err
		}
		r, err := p.replicate(ctx)
		if err != nil {
			return err
		}
		if r.steps != smallDatasets {
			return fmt.Errorf("%d steps were sent, want %d", r.steps, smallDatasets)
		}
		b.note("small on Btrfs, round %d: %v, %d bytes", round, r.took, r.bytes)
		if round > 0 { // the first is the first copy
			most = max(most, r.took)
		}
	}
	figure("small_500_btrfs", most.Seconds(), "s")
	return nil
}

// plant makes the datasets and two daemons that know them.
func (b bench) plant(ctx context.Context, set *stage.Stage) (*planted, error) {
	near, err := set.Volume(ctx, "near", volumeBytes)
	if err != nil {
		return nil, err
	}
	far, err := set.Volume(ctx, "far", volumeBytes)
	if err != nil {
		return nil, err
	}
	p := &planted{source: btrfs.NewSource(btrfs.Options{Log: zerolog.Nop()})}
	for i := range smallDatasets {
		path := filepath.Join(near.Dir, fmt.Sprintf("tenant-%04d", i))
		if _, err := stage.Tool(ctx, "btrfs", "subvolume", "create", path); err != nil {
			return nil, err
		}
		p.paths = append(p.paths, dataset.Path(path))
	}
	if p.pair, err = newPair(real{}, real{}); err != nil {
		return nil, err
	}
	return p, p.start(policy.Btrfs, policy.Patterns{{Path: dataset.Path(near.Dir), Below: true}}, filepath.Join(far.Dir, "near"), b.verbose)
}

// change writes a little into every dataset and takes the snapshots.
func (p *planted) change(ctx context.Context) error {
	p.writes++
	for _, path := range p.paths {
		if err := os.WriteFile(filepath.Join(string(path), "file"), fmt.Appendf(nil, "%s after %d snapshots", path, p.writes), 0o600); err != nil {
			return err
		}
	}
	at := time.Now().UTC().Add(time.Duration(p.writes-100) * time.Hour).Truncate(time.Second)
	_, err := p.source.Snapshot(ctx, policy.SnapshotName(job, at), at, p.paths)
	return err
}
