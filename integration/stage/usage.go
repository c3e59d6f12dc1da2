package stage

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of times in /proc/PID/stat (USER_HZ, proc(5)).
const tick = 10 * time.Millisecond

// PeakMemory is the most that the daemon has had resident, in bytes (VmHWM).
func (n *Node) PeakMemory() (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.PID()))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, found := strings.CutPrefix(line, "VmHWM:"); found {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("no VmHWM of %s", n.Name)
}

// CPU is the processor time of the daemon and of the children that it has waited
// for.
func (n *Node) CPU() (own, children time.Duration, err error) { return CPU(n.PID()) }

// CPU is the processor time of a process and of the children that it has waited
// for.
func CPU(pid int) (own, children time.Duration, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	// Behind the name, which is in brackets, utime is the 12th field.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	var ticks [4]time.Duration
	for i := range ticks {
		v, err := strconv.ParseInt(fields[11+i], 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("processor time of process %d: %w", pid, err)
		}
		ticks[i] = time.Duration(v) * tick
	}
	return ticks[0] + ticks[1], ticks[2] + ticks[3], nil
}
