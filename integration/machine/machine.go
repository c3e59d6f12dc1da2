// Package machine runs commands as root in a small emulated guest that has
// OpenZFS, for hosts whose kernel has none. build.sh makes the guest; this
// package starts it, hands it folders of the host, streams the output of one
// command and returns its exit status.
//
// It knows nothing of the program under test. What the guest offers to tests is
// in README.md beside this file.
package machine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ErrGuest means that the guest did not start, died, or ended without telling
// the exit status of its command. The error's text has the end of its console.
var ErrGuest = errors.New("the test machine failed")

// ErrLimit means that the guest was killed because it reached its limit.
var ErrLimit = errors.New("the test machine was killed at its time limit")

// Share is a folder of the host that the guest sees at the same path. Its path
// must be absolute, without spaces and symbolic links. The guest copies a program
// from it before it runs it.
type Share struct {
	Dir      string
	ReadOnly bool
}

// Guest describes one run of the machine. The zero values of the sizes take
// the defaults named beside them.
type Guest struct {
	Image     string        // folder that Build returned
	ZFS       string        // OpenZFS series: "2.3" or "2.4"
	Shares    []Share       // in the order they are mounted
	Dir       string        // working directory inside; default /
	Env       []string      // "NAME=value", beyond what README.md lists
	Limit     time.Duration // the guest is killed then; default 5 minutes
	MemoryMiB int           // default 2048
	CPUs      int           // default 1: with more, QEMU's emulation now and then aborts or hangs in a boot
	Console   string        // file that keeps the console's output; default none
	Stdout    io.Writer     // nil discards
	Stderr    io.Writer     // nil discards
}

// Build makes the machine with build.sh in folder recipe, if the cache lacks
// it, and returns its folder. Progress goes to log.
func Build(ctx context.Context, recipe string, log io.Writer) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(recipe, "build.sh"))
	cmd.Stderr = log
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("build the test machine by %s: %w", cmd.Path, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// Run starts the guest, runs argv in it as root with the two pools made, and
// returns its exit status once the guest has ended. Errors: ErrGuest, ErrLimit,
// or the context's. No process of the guest is left behind.
func (g Guest) Run(ctx context.Context, argv []string) (int, error) {
	g = g.withDefaults()
	limited, cancel := context.WithTimeoutCause(ctx, g.Limit, ErrLimit)
	defer cancel()
	work, err := os.MkdirTemp("", "machine")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(work)
	r := run{Guest: g, work: work}
	defer r.stop()
	err = r.start(limited, argv)
	if err == nil {
		err = r.wait()
	}
	if g.Console != "" {
		err = errors.Join(err, keep(r.path("console"), g.Console))
	}
	// A status that arrived counts, even when the limit struck a moment later.
	if status, told := r.status(); told {
		return status, nil
	}
	if limited.Err() != nil {
		return 0, fmt.Errorf("%w\n%s", context.Cause(limited), r.lastWords())
	}
	return 0, fmt.Errorf("%w: %w\n%s", ErrGuest, errors.Join(err, r.complaint()), r.lastWords())
}

func (g Guest) withDefaults() Guest {
	if g.Dir == "" {
		g.Dir = "/"
	}
	if g.Limit == 0 {
		g.Limit = 5 * time.Minute
	}
	if g.MemoryMiB == 0 {
		g.MemoryMiB = 2048
	}
	if g.CPUs == 0 {
		g.CPUs = 1
	}
	if g.Stdout == nil {
		g.Stdout = io.Discard
	}
	if g.Stderr == nil {
		g.Stderr = io.Discard
	}
	return g
}

// script is the shell script that the guest's init runs.
func (g Guest) script(argv []string) string {
	var b strings.Builder
	env := append([]string{
		"ANTIPODE_ZFS_SRC=src", "ANTIPODE_ZFS_DST=dst", "ANTIPODE_ZFS_SERIES=" + g.ZFS,
		"ANTIPODE_MACHINE_DISKS=/dev/vdc /dev/vdd", "ANTIPODE_MACHINE=1",
	}, g.Env...)
	for _, pair := range env {
		name, value, _ := strings.Cut(pair, "=")
		fmt.Fprintf(&b, "export %s=%s\n", name, quote(value))
	}
	fmt.Fprintf(&b, "cd %s || exit 125\nexec", quote(g.Dir))
	for _, arg := range argv {
		b.WriteString(" " + quote(arg))
	}
	b.WriteByte('\n')
	return b.String()
}

// quote makes one word for a POSIX shell.
func quote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func keep(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o644)
}

// status is what the guest's init wrote when the command had ended.
func (r *run) status() (int, bool) {
	data, err := os.ReadFile(r.path("control/status"))
	if err != nil {
		return 0, false
	}
	status, err := strconv.Atoi(strings.TrimSpace(string(data)))
	return status, err == nil
}

// complaint is what the guest's init said before it gave up.
func (r *run) complaint() error {
	data, err := os.ReadFile(r.path("control/failed"))
	if err != nil {
		return errors.New("it told no exit status")
	}
	return errors.New(strings.TrimSpace(string(data)))
}

// lastWords is the end of the console and of what QEMU and virtiofsd said.
func (r *run) lastWords() string {
	const most = 40
	var all []string
	for _, name := range []string{"console", "children"} {
		data, _ := os.ReadFile(r.path(name))
		lines := strings.Split(strings.TrimSpace(string(data)), "\n")
		all = append(all, lines[max(0, len(lines)-most):]...)
	}
	return "  " + strings.Join(all, "\n  ")
}
