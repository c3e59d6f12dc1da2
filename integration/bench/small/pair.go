package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"antipode/daemon"
	"antipode/daemon/config"
	"antipode/daemon/ledger"
	"antipode/daemon/policy"
	"antipode/transport/peer"
	"antipode/transport/transporttest"
)

const (
	job       = "bench"
	roundTrip = 200 * time.Millisecond
	window    = 32 << 20
	// quietFor with little work is when the daemons have nothing left to do.
	quietFor  = time.Second
	quietWork = 50 * time.Millisecond
)

// pair is two daemons on a link in memory.
type pair struct {
	net       *transporttest.Net
	near, far *node
	dir       string
}

// node is one of them; its key and place outlive its daemon.
type node struct {
	name    string
	id      peer.Identity
	drivers daemon.Drivers
	daemon  *daemon.Daemon
	stop    func() error
}

// newPair makes both, which do not run yet.
func newPair(near, far daemon.Drivers) (*pair, error) {
	p := &pair{net: transporttest.New()}
	p.net.SetLatency(roundTrip / 2)
	var err error
	if p.dir, err = os.MkdirTemp("", "antipode-bench-"); err != nil {
		return nil, err
	}
	for _, n := range []struct {
		node    **node
		name    string
		drivers daemon.Drivers
	}{{&p.near, "near", near}, {&p.far, "far", far}} {
		id, err := peer.NewIdentity()
		if err != nil {
			return nil, err
		}
		*n.node = &node{name: n.name, id: id, drivers: n.drivers}
	}
	return p, nil
}

func (p *pair) close() error {
	for _, n := range []*node{p.near, p.far} {
		if n.stop != nil {
			if err := n.stop(); err != nil {
				return err
			}
		}
	}
	return os.RemoveAll(p.dir)
}

// start runs both with a job over a pattern of datasets, received below into.
func (p *pair) start(driver policy.Driver, datasets policy.Patterns, into string, verbose bool) error {
	near, far := p.configure(p.near, p.far), p.configure(p.far, p.near)
	near.Jobs = []policy.Job{{ID: job, Driver: driver, Datasets: datasets, ReplicateTo: []string{"far"}, Location: time.UTC}}
	far.Accepts = []policy.Accept{{From: "near", Driver: driver, Into: into, Location: time.UTC}}
	if err := p.run(p.far, far, verbose); err != nil {
		return err
	}
	return p.run(p.near, near, verbose)
}

func (p *pair) configure(own, other *node) *config.Config {
	return &config.Config{
		Path: filepath.Join(p.dir, own.name, "antipode.toml"), Node: own.name, StateDir: filepath.Join(p.dir, own.name),
		Listen: own.name + ":8771", Transport: config.Transport{Lanes: 4, Window: window},
		Peers: []policy.Peer{{Name: other.name, Address: other.name + ":8771", Key: other.id.Fingerprint().String()}},
	}
}

func (p *pair) run(n *node, cfg *config.Config, verbose bool) error {
	if err := os.MkdirAll(cfg.StateDir, 0o700); err != nil {
		return err
	}
	history, err := ledger.Open(ledger.Path(cfg.StateDir), time.Now)
	if err != nil {
		return err
	}
	listener, err := p.net.Listen(cfg.Listen)
	if err != nil {
		return err
	}
	level := zerolog.ErrorLevel
	if verbose {
		level = zerolog.WarnLevel
	}
	n.daemon, err = daemon.New(daemon.Options{
		Config: cfg, Identity: n.id, Drivers: n.drivers, Ledger: history, Listener: listener, Dial: p.net.Dial,
		Now: time.Now, Log: zerolog.New(os.Stderr).Level(level), Version: "bench",
		Reload: func() (*config.Config, error) { return cfg, nil },
		Tell:   func(context.Context, []string, time.Duration, map[string]string) error { return nil },
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- n.daemon.Serve(ctx) }()
	n.stop = sync.OnceValue(func() error {
		cancel()
		err := <-served
		if closeErr := history.Close(); err == nil {
			err = closeErr
		}
		return err
	})
	return nil
}

// carried is what went over the link in both directions, TLS and all.
func (p *pair) carried() int64 {
	return p.net.Carried(transporttest.ToListener) + p.net.Carried(transporttest.ToCaller)
}

// replicated is one round of the job.
type replicated struct {
	took  time.Duration
	bytes int64 // on the link
	steps int
}

func (p *pair) replicate(ctx context.Context) (replicated, error) {
	began, before := time.Now(), p.carried()
	tally, err := p.near.daemon.Replicate(ctx, job)
	return replicated{time.Since(began), p.carried() - before, tally.Steps}, err
}

// quiet returns when this process has little to do.
func quiet(ctx context.Context) error {
	for last := work(); ; {
		select {
		case <-ctx.Done():
			return fmt.Errorf("the daemons do not come to rest: %w", context.Cause(ctx))
		case <-time.After(quietFor):
		}
		now := work()
		if now-last < quietWork {
			return nil
		}
		last = now
	}
}

// work is the processor time of this process.
func work() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
