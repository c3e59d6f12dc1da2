// Command policy measures the pure cores of planning and retention: datasets with a
// thousand snapshots on each side, one at a time, as a daemon goes over them. It
// prints one line a figure, as ../ does, and needs no root and no file system.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	_ "time/tzdata"

	"antipode/daemon/plan"
	"antipode/daemon/policy"
	"antipode/daemon/prune"
	"antipode/fsdrivers/dataset"
)

const snapshots = 1000

func main() {
	many := flag.Int("datasets", 10_000, "how many datasets the larger figure has; the smaller has a tenth")
	flag.Parse()
	few := *many / 10
	small, _ := measure(few)
	used := cpu()
	large, tally := measure(*many)
	used = cpu() - used
	name := func(n int) string {
		if n%1000 == 0 {
			return strconv.Itoa(n/1000) + "k"
		}
		return strconv.Itoa(n)
	}
	fmt.Printf("bench: plan_%s_seconds %.3f s\n", name(few), small.Seconds())
	fmt.Printf("bench: plan_%s_seconds %.3f s\n", name(*many), large.Seconds())
	fmt.Printf("bench: plan_%s_cpu_seconds %.3f s\n", name(*many), used.Seconds())
	fmt.Printf("bench: plan_%s_mib %.0f MiB\n", name(*many), peak())
	if tally.steps != int64(*many) || tally.doomed == 0 || tally.kept == 0 {
		fmt.Fprintf(os.Stderr, "bench failed: %d steps, %d destroyed, %d kept\n", tally.steps, tally.doomed, tally.kept)
		os.Exit(1)
	}
}

type tally struct{ steps, doomed, kept int64 }

// measure plans and prunes n datasets on all cores.
func measure(n int) (time.Duration, tally) {
	var next, steps, doomed, kept atomic.Int64
	var workers sync.WaitGroup
	began := time.Now()
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			w := newWorker()
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				t := w.dataset(int(i))
				steps.Add(t.steps)
				doomed.Add(t.doomed)
				kept.Add(t.kept)
			}
		})
	}
	workers.Wait()
	return time.Since(began), tally{steps.Load(), doomed.Load(), kept.Load()}
}

// worker streams datasets through one Decider each.
type worker struct {
	plan           plan.Decider
	prune          prune.Decider
	source, target []dataset.Snapshot
	ids            []byte
	loc            *time.Location
}

func newWorker() *worker {
	loc, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		panic(err) // time/tzdata is built in
	}
	return &worker{loc: loc, source: make([]dataset.Snapshot, snapshots), target: make([]dataset.Snapshot, snapshots-1)}
}

// dataset makes the lists of the i-th dataset, whose target lacks the newest, and
// decides on them.
func (w *worker) dataset(i int) tally {
	start := time.Date(2026, 1, 1, 0, i%60, 0, 0, time.UTC)
	const zero = "00000000-0000-4000-8000-000000000000"
	w.ids = w.ids[:0]
	for k := range w.source {
		from := len(w.ids)
		w.ids = append(w.ids, zero...)
		digits(w.ids[from:from+8], i)
		digits(w.ids[from+24:], k)
	}
	ids := string(w.ids)
	for k := range w.source {
		at := start.Add(time.Duration(k) * time.Hour)
		w.source[k] = dataset.Snapshot{
			Name: "antipode_db_20260101T000000Z", ID: dataset.ID(ids[k*len(zero) : (k+1)*len(zero)]), Order: uint64(k + 1), Created: at, Retain: at,
		}
	}
	copy(w.target, w.source)
	base := &w.source[snapshots-2]
	base.Holds = []dataset.Tag{"base.db.sin1"}
	now := start.Add(snapshots * time.Hour)
	d := dataset.Dataset{Path: "/data/db", ID: "d"}
	p, err := w.plan.Decide(plan.Input{Job: "db", Dataset: d, Source: w.source, Target: w.target, TargetID: d.ID})
	if err != nil {
		return tally{}
	}
	t := tally{steps: int64(len(p.Steps))}
	for _, v := range w.prune.Decide(prune.Input{
		Side: prune.Source, Points: w.source, Now: now, Location: w.loc, Backlog: policy.DefaultBacklog,
		Keep:  policy.Keep{Last: 4, Hourly: 48, Daily: 14, Weekly: 8, Monthly: 12, Yearly: 3},
		Peers: []prune.Peer{{Name: "sin1", Base: base.ID}},
	}) {
		if v.Destroy {
			t.doomed++
		} else {
			t.kept++
		}
	}
	return t
}

// digits writes n to the end of into, in hexadecimal.
func digits(into []byte, n int) {
	for at := len(into) - 1; n > 0; at-- {
		into[at] = "0123456789abcdef"[n&15]
		n >>= 4
	}
}

// cpu is the processor time that the process took: on a machine that has other work
// to do, it says more than the clock on the wall.
func cpu() time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// peak is the most memory that the process ever had, in MiB.
func peak() float64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "VmHWM:" {
			kib, _ := strconv.ParseFloat(f[1], 64)
			return kib / 1024
		}
	}
	return 0
}
