package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"antipode/daemon/control"
	"antipode/fsdrivers/dataset"
	"antipode/integration/stage"
)

const (
	job         = "bench"
	volumeBytes = 6 << 30 // sparse; what is not written takes no room
)

// pair is two daemons with the source's dataset and a new, empty target.
type pair struct {
	near, far *stage.Node
	dataset   string
	target    *stage.Volume
}

// pair sets two daemons up; the source calls the target at via, or at its own
// address where that is "". rate is the job's limit, "" for none.
func (b *bench) pair(ctx context.Context, rate string, via func(target string) (string, error)) (*pair, error) {
	p := &pair{dataset: b.dataset}
	b.Later(b.forget) // when the daemons have stopped
	var err error
	if p.target, err = b.Volume(ctx, "target", volumeBytes); err != nil {
		return nil, err
	}
	if p.near, err = b.Node(ctx, b.bin, "near", "127.0.0.1"); err != nil {
		return nil, err
	}
	if p.far, err = b.Node(ctx, b.bin, "far", "127.0.0.2"); err != nil {
		return nil, err
	}
	address := p.far.Address
	if via != nil {
		if address, err = via(address); err != nil {
			return nil, err
		}
	}
	if err := p.configure(address, rate); err != nil {
		return nil, err
	}
	for _, n := range []*stage.Node{p.far, p.near} {
		if err := n.Start(ctx, b.Stage); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// forget removes the snapshots that a daemon made. The next one would send the old
// ones when it starts, before anybody looks at the time.
func (b *bench) forget(ctx context.Context) error {
	own := filepath.Join(b.dataset, dataset.Dir)
	snapshots, err := filepath.Glob(filepath.Join(own, "antipode_"+job+"_*"))
	if err != nil || len(snapshots) == 0 {
		return err
	}
	_, err = stage.Tool(ctx, "btrfs", append([]string{"subvolume", "delete"}, append(snapshots, own)...)...)
	return err
}

// configure gives both nodes their work. The job has no schedule: it runs when
// it is triggered.
func (p *pair) configure(address, rate string) error {
	live := filepath.Join(p.target.Dir, "live")
	if err := os.MkdirAll(live, 0o755); err != nil {
		return err
	}
	limit := ""
	if rate != "" {
		limit = fmt.Sprintf("rate_limit = %q\n", rate)
	}
	err := p.near.Configure(p.near.Address, fmt.Sprintf("[[peer]]\nname = \"far\"\naddress = %q\nkey = %q\n\n[[job]]\nid = %q\ndriver = \"btrfs\"\n"+
		"datasets = [%q]\nreplicate_to = [\"far\"]\nmay_promote = true\n%s", address, p.far.Key, job, p.dataset, limit))
	if err != nil {
		return err
	}
	return p.far.Configure(p.far.Address, fmt.Sprintf("[[peer]]\nname = \"near\"\naddress = %q\nkey = %q\n\n[[accept]]\nfrom = \"near\"\ndriver = \"btrfs\"\n"+
		"into = %q\nlive = %q\n", p.near.Address, p.near.Key, filepath.Join(p.target.Dir, "into"), live))
}

// trigger runs the job to its end: until the target has said that the point is
// durable and published. It returns how long that took, by the daemon's clock.
func (p *pair) trigger(ctx context.Context) (took time.Duration, bytes int64, err error) {
	var r control.TriggerResponse
	if err := p.near.Ask(ctx, &r, "trigger", job, "--wait"); err != nil {
		return 0, 0, err
	}
	if len(r.Errors) > 0 || r.Steps != 1 {
		return 0, 0, fmt.Errorf("the run sent %d steps, want 1: %+v", r.Steps, r.Errors)
	}
	return r.Ended.Sub(r.Started), r.Bytes, nil
}
