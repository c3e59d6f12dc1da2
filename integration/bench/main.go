// Command bench measures what Antipode promises of its speed, on real Btrfs with
// real daemon processes, and prints one line a figure:
//
//	bench: NAME VALUE UNIT
//
// What is compared runs in turn (A B A B ...) on the same kind of backing file,
// each time onto a new file system. Every copy starts from a new snapshot, so that
// both sides find the file system's cache cold and the backing file in memory.
// It needs root, touches only a temporary directory and loop devices, and takes
// everything down again, also after an error or a signal.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"antipode/integration/loopfs"
	"antipode/integration/stage"
)

// atMost bounds the whole run: what hangs is a failure.
const atMost = 30 * time.Minute

func main() {
	bin := flag.String("antipode", "bin/antipode", "the `PROGRAM` to measure")
	dir := flag.String("dir", "", "where the file systems are put; a temporary directory if left out")
	rounds := flag.Int("rounds", 5, "how often each copy is measured")
	only := flag.String("only", "", "measure only these of retention, gate, copies, link and kills; separated by commas")
	verbose := flag.Bool("v", false, "print each round as well")
	flag.Parse()
	if flag.NArg() == 2 { // we are one end of a rival
		os.Exit(tlsPipe(flag.Arg(0), flag.Arg(1)))
	}
	os.Exit(run(options{bin: *bin, below: *dir, rounds: *rounds, only: *only, verbose: *verbose}))
}

type options struct {
	bin, below, only string
	rounds           int
	verbose          bool
}

// run returns the exit code.
func run(o options) int {
	os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	bin, err := filepath.Abs(o.bin)
	if err == nil {
		_, err = os.Stat(bin)
	}
	if err != nil || o.rounds < 1 {
		fmt.Fprintf(os.Stderr, "bench needs the program that it measures (run `make bench`) and at least one round: %v\n", err)
		return 1
	}
	o.bin = bin
	if missing := loopfs.Missing(); missing != "" {
		fmt.Fprintf(os.Stderr, "bench cannot run here: %s.\n", missing)
		return 1
	}
	// A killed `go run` does not tell us; the kernel does.
	_ = unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGTERM), 0, 0, 0)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, atMost, fmt.Errorf("bench did not end within %s", atMost))
	defer cancel()
	if err := measure(ctx, o); err != nil {
		fmt.Fprintf(os.Stderr, "bench failed: %v\n", err)
		return 1
	}
	return 0
}

// bench is one run of all measurements.
type bench struct {
	options
	*stage.Stage
	source  *stage.Volume
	dataset string // the subvolume that is copied
	bytes   int64  // of its content
}

// measure sets up the source and takes everything down, whatever happens.
func measure(ctx context.Context, o options) (err error) {
	set, err := stage.New(o.below, "antipode-bench")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, set.Strike()) }()
	b := &bench{options: o, Stage: set}
	if err := b.setUp(ctx); err != nil {
		return fmt.Errorf("make the source: %w", err)
	}
	for _, part := range []struct {
		name string
		run  func(context.Context) error
	}{{"retention", b.retention}, {"gate", b.gate}, {"copies", b.copies}, {"link", b.link}, {"kills", b.kills}} {
		if b.only != "" && !strings.Contains(","+b.only+",", ","+part.name+",") {
			continue
		}
		if err := part.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", part.name, errors.Join(err, context.Cause(ctx)))
		}
	}
	return nil
}

func (b *bench) setUp(ctx context.Context) (err error) {
	if b.source, err = b.Volume(ctx, "source", volumeBytes); err != nil {
		return err
	}
	b.dataset = filepath.Join(b.source.Dir, "data")
	if _, err := stage.Tool(ctx, "btrfs", "subvolume", "create", b.dataset); err != nil {
		return err
	}
	if b.bytes, err = fill(b.dataset); err != nil {
		return err
	}
	if _, err := stage.Tool(ctx, "sync", "-f", b.source.Dir); err != nil {
		return err
	}
	b.note("source: %d MiB of content", b.bytes>>20)
	return nil
}

// figure prints one result, with four digits or all that stand before the point.
func figure(name string, value float64, unit string) {
	format := "%.4g"
	if value >= 1000 {
		format = "%.0f"
	}
	fmt.Printf("bench: %s "+format+" %s\n", name, value, unit)
}

// note prints what is no result, where that is wanted.
func (b *bench) note(format string, args ...any) {
	if b.verbose {
		fmt.Printf("# "+format+"\n", args...)
	}
}
