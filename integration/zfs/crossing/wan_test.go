//go:build zfs

package crossing

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"antipode/integration/node"
)

// wans counts the links of this process.
var wans atomic.Int32

// wan joins two network namespaces by a veth pair whose ends delay and lose.
type wan struct {
	t       *testing.T
	ns      [2]string // of fra1 and of sin1
	addr    [2]string
	quality string   // netem's words
	devices *os.File // /proc/net/dev of fra1's namespace
}

// newWAN makes the link. It goes when the test ends.
func newWAN(t *testing.T, quality string) *wan {
	t.Helper()
	n := wans.Add(1)
	w := &wan{t: t, quality: quality}
	for i, name := range []string{"fra1", "sin1"} {
		w.ns[i] = fmt.Sprintf("apz-%d-%d-%s", os.Getpid(), n, name)
		w.addr[i] = fmt.Sprintf("10.77.%d.%d", n%250, i+1)
		node.Tool(t, "ip", "netns", "add", w.ns[i])
		t.Cleanup(func() { node.Tool(t, "ip", "netns", "delete", w.ns[i]) })
	}
	node.Tool(t, "ip", "-n", w.ns[0], "link", "add", "wan", "type", "veth", "peer", "name", "wan", "netns", w.ns[1])
	for i := range w.ns {
		node.Tool(t, "ip", "-n", w.ns[i], "address", "add", w.addr[i]+"/24", "dev", "wan")
		node.Tool(t, "ip", "-n", w.ns[i], "link", "set", "lo", "up")
		node.Tool(t, "ip", "-n", w.ns[i], "link", "set", "wan", "up")
	}
	devices, err := openDevices(w.ns[0])
	node.Must(t, err)
	t.Cleanup(func() { devices.Close() })
	w.devices = devices
	w.restore()
	return w
}

// cut makes a black hole of the link: nothing is reset, nothing arrives.
func (w *wan) cut() { w.t.Helper(); w.netem("loss", "100%") }

// restore gives the link its quality back.
func (w *wan) restore() { w.t.Helper(); w.netem(strings.Fields(w.quality)...) }

func (w *wan) netem(args ...string) {
	w.t.Helper()
	for _, ns := range w.ns {
		node.Tool(w.t, "tc", append([]string{"-n", ns, "qdisc", "replace", "dev", "wan", "root", "netem"}, args...)...)
	}
}

// sent is how many bytes fra1 has put on the link so far.
func (w *wan) sent() int64 {
	w.t.Helper()
	text := make([]byte, 4096)
	n, err := w.devices.ReadAt(text, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		w.t.Fatal(err)
	}
	for line := range strings.Lines(string(text[:n])) {
		if name, counts, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "wan" {
			sent, err := strconv.ParseInt(strings.Fields(counts)[8], 10, 64)
			node.Must(w.t, err)
			return sent
		}
	}
	w.t.Fatalf("no wan among the devices: %s", text[:n])
	return 0
}

// openDevices opens the counters of a namespace; a process for each look would be
// most of what the guest does.
func openDevices(ns string) (f *os.File, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with its namespace
		var there *os.File
		if there, err = os.Open("/run/netns/" + ns); err != nil {
			return
		}
		defer there.Close()
		if err = unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err == nil {
			f, err = os.Open("/proc/thread-self/net/dev")
		}
	}()
	<-done
	return f, err
}
