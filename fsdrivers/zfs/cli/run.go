// Package cli runs `zfs` and tells what became of it: who hangs, which error of the domain its
// text means and what to do then, of which version it is, how its pools are. It does not know
// what the commands are about.
package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/internal/command"
	"antipode/fsdrivers/zfs/naming"
)

const (
	// defaultGiveUp is how long a short command may take. The longest list that
	// was seen takes a minute; a suspended pool takes for ever.
	defaultGiveUp = 3 * time.Minute
	// A zfs that waits in the kernel feels no signal, so it is killed soon. It may then
	// wait for the pool's next transaction group, every 5 s and later under load: only
	// what outlasts a few of these hangs.
	killGrace    = 2 * time.Second
	killPatience = 20 * time.Second
	// maxAtomicBytes is MaxArgBytes where all that one command does counts as one.
	maxAtomicBytes = 1 << 20
)

// MaxArgBytes is how long one command line gets; Linux takes 128 KiB for one argument and 2 MiB
// for all.
const MaxArgBytes = 64 << 10

// Tool runs zfs. A command that hangs is given up on, and while it hangs no other is started
// on its pool by the same Tool.
type Tool struct {
	binary string
	giveUp time.Duration

	mu    sync.Mutex           // guards hung and looks
	hung  map[string][]process // by pool
	looks map[string]*look     // by pool: go-zfs was asked and has not answered
}

// process is one process, distinct from a later one with the same number.
type process struct {
	pid   int
	start string // field 22 of /proc/PID/stat
}

// New makes one, with the zfs of that path, or "" for the one in PATH. A short command may take
// so long, 0 is 3 minutes. It touches nothing.
func New(binary string, giveUp time.Duration) *Tool {
	if binary == "" {
		binary = "zfs"
	}
	if giveUp <= 0 {
		giveUp = defaultGiveUp
	}
	return &Tool{binary: binary, giveUp: giveUp, hung: make(map[string][]process), looks: make(map[string]*look)}
}

// Patience is how long a short command may take.
func (t *Tool) Patience() time.Duration { return t.giveUp }

// Run runs `zfs args` to its end. on is the dataset it is about. What it printed
// before it failed comes with the error.
func (t *Tool) Run(ctx context.Context, on string, args ...string) (string, error) {
	ctx, stop := context.WithTimeoutCause(ctx, t.giveUp, ErrSlow)
	defer stop()
	c, err := t.Start(ctx, on, command.Spec{Args: args})
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	n, err := io.Copy(&out, io.LimitReader(c.Output(), command.MaxOutput+1))
	if err == nil && n > command.MaxOutput {
		err = fmt.Errorf("zfs %s: %w", args[0], command.ErrTooLong)
	}
	return out.String(), t.End(c, on, err)
}

// plain hides everything of a reader but Read.
type plain struct{ io.Reader }

// Child is a zfs that runs.
type Child struct {
	*command.Child
	self process
}

// Output is what the child prints.
func (c *Child) Output() io.Reader { return plain{c.Stdout()} }

// Start starts `zfs spec.Args`. Errors: ErrStuck where another hangs on the pool,
// ErrToolMissing.
func (t *Tool) Start(ctx context.Context, on string, spec command.Spec) (*Child, error) {
	if err := t.mayStart(on); err != nil {
		return nil, err
	}
	spec.Args = append([]string{t.binary}, spec.Args...)
	spec.Grace, spec.Patience = killGrace, killPatience
	c, err := command.Start(ctx, spec)
	if err != nil {
		return nil, Explain(on, err, "")
	}
	return &Child{Child: c, self: identify(c.Pid())}, nil
}

// End ends the child and says what its end, or err before it, means. It remembers
// a child that does not end.
func (t *Tool) End(c *Child, on string, err error) error {
	if cerr := c.Close(); cerr != nil {
		err = cerr
	}
	if errors.Is(err, command.ErrStuck) {
		t.mu.Lock()
		t.hung[naming.PoolOf(on)] = append(t.hung[naming.PoolOf(on)], c.self)
		t.mu.Unlock()
	}
	return Explain(on, err, "")
}

// mayStart refuses while a child hangs on the pool.
func (t *Tool) mayStart(on string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	pool := naming.PoolOf(on)
	t.hung[pool] = slices.DeleteFunc(t.hung[pool], func(p process) bool { return p.start == "" || identify(p.pid) != p })
	if len(t.hung[pool]) == 0 {
		delete(t.hung, pool)
		return nil
	}
	return fmt.Errorf("process %d still hangs on pool %s, so nothing else is started there; look at `zpool status %s`: %w",
		t.hung[pool][0].pid, pool, pool, dataset.ErrStuck)
}

// identify tells which process has that number now.
func identify(pid int) process {
	p := process{pid: pid}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return p
	}
	// The name, in parentheses, may hold anything.
	if f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])); len(f) > 19 {
		p.start = f[19]
	}
	return p
}

// InBatches calls do with as many names at a time as a command line takes.
func InBatches(names []string, do func(some []string) error) error {
	return inBatchesOf(MaxArgBytes, names, do)
}

// ByPool is InBatches with full names, of one pool at a time: on several, one that hangs would
// keep what is asked of the others, and it would not be known which one a child hangs on.
func ByPool(names []string, do func(some []string) error) error {
	for len(names) > 0 {
		var here, others []string
		for _, name := range names {
			if naming.PoolOf(name) == naming.PoolOf(names[0]) {
				here = append(here, name)
			} else {
				others = append(others, name)
			}
		}
		if err := InBatches(here, do); err != nil {
			return err
		}
		names = others
	}
	return nil
}

// AtOnce calls do with all names, unless they are more than a command line takes.
func AtOnce(names []string, do func(some []string) error) error {
	return inBatchesOf(maxAtomicBytes, names, do)
}

func inBatchesOf(most int, names []string, do func(some []string) error) error {
	for len(names) > 0 {
		n, size := 0, 0
		for n < len(names) && (n == 0 || size+len(names[n]) < most) {
			size += len(names[n]) + 1
			n++
		}
		if err := do(names[:n]); err != nil {
			return err
		}
		names = names[n:]
	}
	return nil
}
