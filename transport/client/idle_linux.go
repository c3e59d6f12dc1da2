package client

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
)

// idleProcessors returns a function that tells how many of this machine's
// processors had nothing to do, or waited for a disk, since it was called last
// (proc_stat(5)). Not more than this process may use count.
func idleProcessors() func() float64 {
	var mu sync.Mutex // guards the last sight
	var idle, total float64
	return func() float64 {
		mu.Lock()
		defer mu.Unlock()
		nowIdle, nowTotal := processorTimes()
		share := 0.0
		if nowTotal > total {
			share = max(0, nowIdle-idle) / (nowTotal - total)
		}
		idle, total = nowIdle, nowTotal
		return min(share*float64(runtime.NumCPU()), float64(runtime.GOMAXPROCS(0)))
	}
}

// processorTimes reads the first line of /proc/stat: user, nice, system, idle,
// iowait, irq, softirq, steal, in ticks. Zero if it cannot be read.
func processorTimes() (idle, total float64) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0
	}
	line, _, _ := strings.Cut(string(text), "\n")
	fields := strings.Fields(line)
	for i := 1; i < len(fields) && i <= 8; i++ {
		v, err := strconv.ParseFloat(fields[i], 64)
		if err != nil {
			return 0, 0
		}
		total += v
		if i == 4 || i == 5 {
			idle += v
		}
	}
	return idle, total
}
