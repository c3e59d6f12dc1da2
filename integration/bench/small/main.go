// Command small measures what the protocol costs where little or nothing is to be
// sent: two daemons in this process, TLS and all, on file systems in memory (and last
// on real Btrfs, which shows what that adds), over a
// link in memory with a round trip of 200 ms on which every byte is counted. It
// prints one line a figure:
//
//	bench: NAME VALUE UNIT
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"
)

// atMost bounds the whole run: what hangs is a failure.
const atMost = 15 * time.Minute

func main() {
	verbose := flag.Bool("v", false, "print each round as well, and what the daemons log")
	rounds := flag.Int("rounds", 5, "how often each figure is measured")
	only := flag.String("only", "", "measure only this one of small, noop and btrfs")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, atMost, fmt.Errorf("the bench did not end within %s", atMost))
	defer cancel()
	b := bench{verbose: *verbose, rounds: max(1, *rounds)}
	for _, part := range []struct {
		name string
		run  func(context.Context) error
	}{{"small", b.small}, {"noop", b.noop}, {"btrfs", b.smallBtrfs}} {
		if *only != "" && *only != part.name {
			continue
		}
		if err := part.run(ctx); err != nil {
			fmt.Fprintf(os.Stderr, "bench failed: %v\n", errors.Join(err, context.Cause(ctx)))
			os.Exit(1)
		}
	}
}

type bench struct {
	verbose bool
	rounds  int
}

// figure prints one result, with four digits or all that stand before the point.
func figure(name string, value float64, unit string) {
	format := "%.4g"
	if value >= 1000 {
		format = "%.0f"
	}
	fmt.Printf("bench: %s "+format+" %s\n", name, value, unit)
}

func (b bench) note(format string, args ...any) {
	if b.verbose {
		fmt.Printf("# "+format+"\n", args...)
	}
}

func median[T float64 | int64 | time.Duration](values []T) T {
	return slices.Sorted(slices.Values(values))[len(values)/2]
}
