package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"antipode/daemon/control"
	"antipode/integration/stage"
)

// stepsEach is how many small steps are timed in each round.
const stepsEach = 4

// copied is one first copy.
type copied struct {
	took   time.Duration
	cpu    time.Duration // of all processes, the kernel's own threads left out
	daemon time.Duration // the daemons' part of cpu
	peak   int64         // bytes, of the larger daemon
	stream int64         // bytes of the stream, of a copy of ours
	steps  []time.Duration
	become time.Duration // of the promotion
}

// copies measures whole first copies against the pipe, in turn, and on the
// standbys that they make small steps and the promotion.
func (b *bench) copies(ctx context.Context) error {
	var ratios, ours, theirs, cpus, daemons, pipeCPUs, steps, promotions []float64
	var peak int64
	others, stopRivals, err := b.prepareRivals(ctx)
	if err != nil {
		return err
	}
	defer stopRivals()
	for round := range b.rounds {
		pipe, err := b.clean(func() (copied, error) { return b.pipe(ctx) })
		if err != nil {
			return fmt.Errorf("pipe: %w", err)
		}
		own, err := b.clean(func() (copied, error) { return b.antipode(ctx) })
		if err != nil {
			return fmt.Errorf("antipode: %w", err)
		}
		if err := others.run(ctx, pipe, own); err != nil {
			return err
		}
		b.note("round %d: pipe %.2f s (cpu %.2f s), antipode %.2f s (cpu %.2f s, daemons %.2f s), ratio %.3f, peak %d MiB, steps %v, promotion %v", round+1,
			pipe.took.Seconds(), pipe.cpu.Seconds(), own.took.Seconds(), own.cpu.Seconds(), own.daemon.Seconds(),
			pipe.took.Seconds()/own.took.Seconds(), own.peak>>20, own.steps, own.become)
		ratios = append(ratios, pipe.took.Seconds()/own.took.Seconds())
		ours, theirs = append(ours, own.took.Seconds()), append(theirs, pipe.took.Seconds())
		cpus, daemons = append(cpus, own.cpu.Seconds()), append(daemons, own.daemon.Seconds())
		pipeCPUs = append(pipeCPUs, pipe.cpu.Seconds())
		promotions = append(promotions, own.become.Seconds())
		for _, s := range own.steps {
			steps = append(steps, s.Seconds())
		}
		peak = max(peak, own.peak)
	}
	figure("local_vs_pipe", median(ratios), "ratio")
	figure("local_seconds", median(ours), "s")
	figure("pipe_seconds", median(theirs), "s")
	figure("local_cpu_seconds", median(cpus), "s")
	figure("local_daemons_cpu_seconds", median(daemons), "s")
	figure("pipe_cpu_seconds", median(pipeCPUs), "s")
	others.figures()
	figure("rss_full_rate", float64(peak)/(1<<20), "MiB")
	figure("small_step_seconds", median(steps), "s")
	figure("promote_seconds", median(promotions), "s")
	return nil
}

// clean runs a copy and takes down what it has set up.
func (b *bench) clean(run func() (copied, error)) (copied, error) {
	mark := b.Mark()
	c, err := run()
	return c, errors.Join(err, b.StrikeTo(mark))
}

// pipe copies a new snapshot with the tools alone, to where it is durable.
func (b *bench) pipe(ctx context.Context) (copied, error) {
	return b.piped(ctx, "pipe", `btrfs send -q "$0" | btrfs receive -q "$1"`)
}

// piped copies a new snapshot by a script of bash, which finds it in $0, the
// target's directory in $1, and what else it needs behind.
func (b *bench) piped(ctx context.Context, name, script string, args ...string) (copied, error) {
	target, err := b.Volume(ctx, "target", volumeBytes)
	if err != nil {
		return copied{}, err
	}
	point := filepath.Join(b.source.Dir, "point")
	if _, err := stage.Tool(ctx, "btrfs", "subvolume", "snapshot", "-r", b.dataset, point); err != nil {
		return copied{}, err
	}
	b.Later(func(ctx context.Context) error {
		_, err := stage.Tool(ctx, "btrfs", "subvolume", "delete", point)
		return err
	})
	if err := b.settle(ctx, target); err != nil {
		return copied{}, err
	}
	began := time.Now()
	_, cpu, err := stage.Timed(ctx, "bash", append([]string{"-c", "set -o pipefail; " + script, point, target.Dir}, args...)...)
	if err != nil {
		return copied{}, err
	}
	moved := time.Since(began)
	_, syncCPU, err := stage.Timed(ctx, "sync", "-f", target.Dir)
	took := time.Since(began)
	b.note("%s: %.2f s for the stream, %.2f s for the sync", name, moved.Seconds(), (took - moved).Seconds())
	return copied{took: took, cpu: cpu + syncCPU}, err
}

// settle lets no copy begin with another's unwritten data.
func (b *bench) settle(ctx context.Context, target *stage.Volume) error {
	_, err := stage.Tool(ctx, "sync", "-f", b.source.Dir)
	_, targetErr := stage.Tool(ctx, "sync", "-f", target.Dir)
	_, diskErr := stage.Tool(ctx, "sync", "-f", b.Dir)
	return errors.Join(err, targetErr, diskErr)
}

// antipode copies a new snapshot through two daemons. The daemon makes the
// snapshot, and that time counts as ours.
func (b *bench) antipode(ctx context.Context) (c copied, err error) {
	p, err := b.pair(ctx, "", nil)
	if err != nil {
		return copied{}, err
	}
	if err := b.settle(ctx, p.target); err != nil {
		return copied{}, err
	}
	daemons, all, err := p.cpu()
	if err != nil {
		return copied{}, err
	}
	if c.took, c.stream, err = p.trigger(ctx); err != nil {
		return copied{}, err
	}
	if c.stream < b.bytes {
		return copied{}, fmt.Errorf("the run that was timed sent %d bytes of %d", c.stream, b.bytes)
	}
	daemonsNow, allNow, err := p.cpu()
	if err != nil {
		return copied{}, err
	}
	c.cpu, c.daemon = allNow-all, daemonsNow-daemons
	for _, n := range []*stage.Node{p.near, p.far} {
		peak, err := n.PeakMemory()
		if err != nil {
			return copied{}, err
		}
		c.peak = max(c.peak, peak)
	}
	if c.steps, err = p.smallSteps(ctx); err != nil {
		return copied{}, err
	}
	c.become, err = p.promote(ctx)
	return c, err
}

// cpu adds up both daemons; all has their children too.
func (p *pair) cpu() (daemons, all time.Duration, err error) {
	for _, n := range []*stage.Node{p.near, p.far} {
		own, children, err := n.CPU()
		if err != nil {
			return 0, 0, err
		}
		daemons += own
		all += own + children
	}
	return daemons, all, nil
}

// smallSteps times increments after a small file was written.
func (p *pair) smallSteps(ctx context.Context) ([]time.Duration, error) {
	var took []time.Duration
	for i := range stepsEach {
		if err := os.WriteFile(filepath.Join(p.dataset, "note"), fmt.Appendf(nil, "small step %d\n", i), 0o600); err != nil {
			return nil, err
		}
		t, _, err := p.trigger(ctx)
		if err != nil {
			return nil, fmt.Errorf("small step: %w", err)
		}
		took = append(took, t)
	}
	return took, nil
}

// promote kills the source and makes the standby live: from the call of the
// command to its answer.
func (p *pair) promote(ctx context.Context) (time.Duration, error) {
	if err := p.near.Kill(); err != nil {
		return 0, err
	}
	var r control.PromoteResponse
	began := time.Now()
	if err := p.far.Ask(ctx, &r, "promote", p.dataset, "--yes", "--reason", "bench"); err != nil {
		return 0, err
	}
	took := time.Since(began)
	if err := os.WriteFile(filepath.Join(r.Live, "written"), nil, 0o600); err != nil {
		return 0, fmt.Errorf("the standby is not live: %w", err)
	}
	return took, nil
}

func median(values []float64) float64 {
	s := slices.Sorted(slices.Values(values))
	n := len(s)
	return (s[(n-1)/2] + s[n/2]) / 2
}
