// Command run runs one command as root in the test machine and ends with its
// exit status: 124 when the time limit struck, 125 when the machine itself
// failed. See ../README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"antipode/integration/machine"
)

const (
	statusLimit   = 124
	statusMachine = 125
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	status, err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "machine:", err)
	}
	os.Exit(status)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) (int, error) {
	g := machine.Guest{Stdout: stdout, Stderr: stderr}
	flags := flag.NewFlagSet("run [flags] -- command [argument...]", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&g.ZFS, "zfs", "2.4", "OpenZFS `series`: 2.3 or 2.4")
	flags.Func("share", "`folder` the guest sees at the same path, to read and write; may be repeated", addShare(&g, false))
	flags.Func("read", "the same, to read only", addShare(&g, true))
	flags.StringVar(&g.Dir, "dir", "", "working `folder` inside (default /)")
	flags.Func("env", "`NAME` or NAME=value to pass on; may be repeated", func(s string) error {
		if !strings.Contains(s, "=") {
			s += "=" + os.Getenv(s)
		}
		g.Env = append(g.Env, s)
		return nil
	})
	flags.DurationVar(&g.Limit, "limit", 5*time.Minute, "kill the guest after this `time`")
	flags.IntVar(&g.MemoryMiB, "memory", 2048, "`MiB` of memory")
	flags.IntVar(&g.CPUs, "cpus", 1, "virtual `processors`; see README.md before asking for two")
	flags.StringVar(&g.Console, "console", "", "`file` to keep the guest's console in")
	recipe := flags.String("recipe", "", "`folder` of build.sh (default integration/machine of this module)")
	if err := flags.Parse(args); err != nil {
		return statusMachine, nil // flags has told it
	}
	if flags.NArg() == 0 {
		flags.Usage()
		return statusMachine, errors.New("no command")
	}
	var err error
	if *recipe == "" {
		if *recipe, err = findRecipe(ctx); err != nil {
			return statusMachine, err
		}
	}
	if g.Image, err = machine.Build(ctx, *recipe, stderr); err != nil {
		return statusMachine, err
	}
	status, err := g.Run(ctx, flags.Args())
	switch {
	case errors.Is(err, machine.ErrLimit):
		return statusLimit, err
	case err != nil:
		return statusMachine, err
	}
	return status, nil
}

func addShare(g *machine.Guest, readOnly bool) func(string) error {
	return func(s string) error {
		dir, err := filepath.Abs(s)
		if err != nil {
			return err
		}
		if dir, err = filepath.EvalSymlinks(dir); err != nil {
			return err
		}
		g.Shares = append(g.Shares, machine.Share{Dir: dir, ReadOnly: readOnly})
		return nil
	}
}

func findRecipe(ctx context.Context) (string, error) {
	mod, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w; say -recipe", err)
	}
	return filepath.Join(filepath.Dir(strings.TrimSpace(string(mod))), "integration/machine"), nil
}
