// Command demo shows Antipode's main job to a person: two file systems, Btrfs or
// ZFS, two daemons, a first copy over a link that breaks, increments, retention, the loss
// of the primary, and the standby live and compared with a manifest.
//
// The daemons are real processes with nothing in common but the link: the demo
// talks to them as an operator does, through the command line. It runs as root,
// touches only a temporary directory, loop devices and pools of its own, and takes everything down
// again, also after an error, a signal or a panic.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"antipode/integration/loopfs"
	"antipode/integration/stage"
)

// How long the story may take: what hangs is a failure. ZFS may be that of an
// emulated machine.
const (
	atMost    = 90 * time.Second
	atMostZFS = 10 * time.Minute
)

func main() {
	bin := flag.String("antipode", "bin/antipode", "the `PROGRAM` to show")
	on := flag.String("fs", "btrfs", "the `FILE SYSTEM` to show it on: btrfs or zfs")
	width := flag.Int("terminal", 0, "write as to a terminal of so many `COLUMNS`, wherever the output goes")
	flag.Parse()
	os.Exit(run(*bin, *on, *width))
}

// missing says what the story lacks here; "" for nothing.
func missing(on string) string {
	switch on {
	case "btrfs":
		return loopfs.Missing()
	case "zfs":
		return missingZFS()
	}
	return fmt.Sprintf("it knows no file system %q, only btrfs and zfs", on)
}

// run returns the exit code.
func run(bin, on string, width int) int {
	// Root's PATH of a plain login lacks these, and deps.sh looks there too.
	os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	bin, err := filepath.Abs(bin)
	if err == nil {
		_, err = os.Stat(bin)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "The demo needs the program that it shows (run `make demo`): %v.\n", err)
		return 1
	}
	if lacks := missing(on); lacks != "" {
		fmt.Fprintf(os.Stderr, "The demo cannot run here: %s.\n", lacks)
		return 1
	}
	// A killed `go run` does not tell us; the kernel does. A reader that goes away
	// is noticed by the screen, and must not kill us before we have cleaned up.
	_ = unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGTERM), 0, 0, 0)
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	bound := atMost
	if on == "zfs" {
		bound = atMostZFS
	}
	ctx, cancel := context.WithTimeoutCause(ctx, bound, fmt.Errorf("the demo did not end within %s", bound))
	defer cancel()
	ctx, quit := context.WithCancelCause(ctx)
	scr := newScreen(os.Stdout, time.Now, quit)
	scr.assume(width)
	return perform(ctx, scr, bin, on)
}

// perform tells the story and takes the stage down, whatever happens.
func perform(ctx context.Context, scr *screen, bin, on string) (code int) {
	set, err := stage.New("", "antipode-demo")
	if err != nil {
		scr.bad("no temporary directory: %v", err)
		return 1
	}
	d := &demo{screen: scr, Stage: set, bin: bin, ground: &btrfs{stage: set}}
	if on == "zfs" {
		d.ground = &zfs{stage: set}
	}
	defer func() {
		caught := recover()
		if err := set.Strike(); err != nil {
			scr.bad("clean up: %v", err)
			code = 1
		}
		if caught != nil {
			panic(caught)
		}
		if code == 0 {
			scr.good("Everything is unmounted and removed again. %.0f s in all.", scr.elapsed().Seconds())
		}
	}()
	if err := d.tell(ctx); err != nil {
		d.explain(ctx, err)
		return 1
	}
	return 0
}

// explain says why the story ended early, with the last lines of both logs.
func (d *demo) explain(ctx context.Context, err error) {
	if errors.Is(ctx.Err(), context.Canceled) {
		d.bad("Stopped early (%v); cleaning up.", context.Cause(ctx))
		return
	}
	d.bad("The demo failed: %v", err)
	for _, n := range []*stage.Node{d.fra1, d.sin1} {
		if n == nil {
			continue
		}
		for i, line := range n.Tail(logTail) {
			if i == 0 {
				d.say("The last lines of the log of %s:", n.Name)
			}
			d.say("  %s", d.Short(line))
		}
	}
}

const logTail = 12
