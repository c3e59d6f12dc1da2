//go:build failpoints || machine

package failpoint

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// What a test sets in the environment of a process of its own.
const (
	// Variable is "NAME" or "NAME:N": the N-th time that the place is hit, from 1.
	Variable = "ANTIPODE_FAILPOINT"
	// ActionVariable is what happens there: "kill" (SIGKILL, also if it is not set),
	// or "wait": the name is written to standard output and nothing goes on.
	ActionVariable = "ANTIPODE_FAILPOINT_ACTION"
	// TraceVariable names a file to which each place is added, one a line.
	TraceVariable = "ANTIPODE_FAILPOINT_TRACE"
)

var (
	mu   sync.Mutex // guards hits, and the file of the trace
	hits = map[string]int{}
)

// Hit stops the process if a test wants it to stop here.
func Hit(name string) {
	mu.Lock()
	defer mu.Unlock()
	hits[name]++
	trace(name)
	wanted, count, _ := strings.Cut(os.Getenv(Variable), ":")
	n, err := strconv.Atoi(count)
	if err != nil {
		n = 1
	}
	if wanted != name || hits[name] != n {
		return
	}
	if os.Getenv(ActionVariable) != "wait" {
		_ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
		select {}
	}
	fmt.Println("at " + name)
	select {}
}

func trace(name string) {
	path := os.Getenv(TraceVariable)
	if path == "" {
		return
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return
	}
	defer f.Close()
	fmt.Fprintln(f, name)
}
