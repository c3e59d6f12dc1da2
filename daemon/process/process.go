// Package process is what a daemon is on a real machine: the lock of its state directory,
// the sockets it listens on, the drivers of this build, the clock, signals, and a stop
// that is bounded. It must not know what a daemon does with them.
package process

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"antipode/daemon"
	"antipode/daemon/config"
	"antipode/daemon/control"
	"antipode/daemon/hook"
	"antipode/daemon/ledger"
	"antipode/daemon/policy"
	"antipode/fsdrivers"
	"antipode/fsdrivers/btrfs"
	"antipode/fsdrivers/zfs"
	"antipode/transport/client"
	"antipode/transport/peer"
	"antipode/transport/server"
)

// stopPatience bounds a graceful stop. What hangs in the kernel is left behind
// then, and the next daemon finds it by its lock.
const stopPatience = 30 * time.Second

// Options is what a process knows that becomes a daemon.
type Options struct {
	ConfigPath string
	Version    string
	// NewLog makes the log that the configuration asks for.
	NewLog func(config.Log) zerolog.Logger
}

// ErrRunning means that another daemon works on the same state directory.
var ErrRunning = errors.New("another daemon runs on this state directory")

// Run is `antipode daemon`: it makes everything that daemon.New wants out of the real
// world and serves until ctx ends. SIGHUP reloads.
func Run(ctx context.Context, o Options) (err error) {
	cfg, err := config.Load(o.ConfigPath)
	if err != nil {
		return err
	}
	log := o.NewLog(cfg.Log)
	if err := slackTimers(); err != nil {
		log.Debug().Err(err).Msg("timers are as exact as the kernel makes them, which costs CPU time")
	}
	for _, w := range cfg.Warnings {
		log.Warn().Msg(w.String())
	}
	if err := os.MkdirAll(cfg.StateDir, 0o700); err != nil {
		return fmt.Errorf("make the state directory: %w", err)
	}
	lock, err := lockState(cfg.StateDir)
	if err != nil {
		return err
	}
	defer lock.Close()
	identity, err := peer.LoadOrCreate(cfg.StateDir)
	if err != nil {
		return err
	}
	history, err := ledger.Open(ledger.Path(cfg.StateDir), time.Now)
	if err != nil {
		return fmt.Errorf("open the ledger: %w", err)
	}
	defer func() { err = errors.Join(err, history.Close()) }()
	if aside := history.SetAside(); aside != "" {
		log.Warn().Str("file", aside).Msg("the ledger was damaged and is set aside; history begins anew")
	}
	listener, err := listenAt(ctx, cfg.Listen)
	if err != nil {
		return fmt.Errorf("listen for peers: %w", err)
	}
	if listener != nil {
		defer listener.Close() //nolint:errcheck // the server has closed it; this is for the ways out before that
	}
	dialer := client.Dialer()
	// One disk that is not mounted at boot keeps nobody else waiting. A reload, at
	// which somebody looks on, is strict.
	drivers := newDrivers(log)
	d, err := daemon.New(daemon.Options{
		Config: cfg, Identity: identity, Drivers: drivers, Ledger: history, Listener: listener,
		Dial: func(ctx context.Context, address string) (net.Conn, error) {
			return dialer.DialContext(ctx, "tcp", address)
		},
		Now: time.Now, Log: log, Version: o.Version,
		Reload: func() (*config.Config, error) { return config.Load(o.ConfigPath) }, Tell: tell, Hook: tell,
	})
	if err != nil {
		return err
	}
	drivers.patient = false
	return serve(ctx, d, cfg.SocketPath)
}

// listenAt listens for peers; nil where the configuration wants none.
func listenAt(ctx context.Context, address string) (net.Listener, error) {
	if address == config.ListenNone {
		return nil, nil //nolint:nilnil // there is none, and that is right
	}
	return server.ListenConfig().Listen(ctx, "tcp", address)
}

// serve serves peers and the control socket, and reloads on SIGHUP. A stop
// is bounded by stopPatience.
func serve(ctx context.Context, d *daemon.Daemon, socket string) error {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	door, err := control.Listen(socket)
	if err != nil {
		d.End()
		return fmt.Errorf("open the control socket %s: %w", socket, err)
	}
	verbs := control.NewServer(d.Log)
	d.Register(verbs)
	ended := make(chan error, 2)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() { ended <- verbs.Serve(ctx, door) }()
	go func() { ended <- d.Serve(ctx) }()
	d.Log.Info().Str("node", d.Config.Node).Str("listen", d.Listens()).Str("socket", socket).
		Str("key", d.Identity.Fingerprint().String()).Str("version", d.Version).Msg("daemon is up")
	var errs []error
	for parts := 2; parts > 0; {
		select {
		case <-hup:
			d.ReloadBeside()
		case err := <-ended:
			errs = append(errs, err)
			parts--
			stop()
		case <-ctx.Done():
			return waitFor(d.Log, ended, parts, errs)
		}
	}
	return errors.Join(errs...)
}

// waitFor waits for what is under way to end, within the bound.
func waitFor(log zerolog.Logger, ended <-chan error, parts int, errs []error) error {
	log.Info().Dur("at_most", stopPatience).Msg("daemon stops")
	late := time.NewTimer(stopPatience)
	defer late.Stop()
	for ; parts > 0; parts-- {
		select {
		case err := <-ended:
			errs = append(errs, err)
		case <-late.C:
			return fmt.Errorf("what was under way did not end within %s; the next daemon goes on from the disk", stopPatience)
		}
	}
	return errors.Join(errs...)
}

// lockState keeps a second daemon off the state directory for as long as the
// file is open.
func lockState(dir string) (*os.File, error) {
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the state directory: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("%w: %s is locked (%w); stop that one, or give this one a state_dir of its own", ErrRunning, path, err)
	}
	return f, nil
}

// realDrivers makes the drivers that this build has.
type realDrivers struct {
	log     zerolog.Logger
	zfs     *zfs.Host // of all: what hangs on a pool concerns whoever wants something of it
	patient bool      // with an `into` that cannot be used yet; not changed once the daemon serves
}

// newDrivers makes drivers that are patient.
func newDrivers(log zerolog.Logger) *realDrivers {
	return &realDrivers{log: log, zfs: zfs.NewHost("", 0), patient: true}
}

// Source makes the driver of the datasets of this host, which lists those snapshots
// of others that include names.
func (r *realDrivers) Source(kind policy.Driver, include policy.Names) (fsdrivers.Source, error) {
	var others func(string) bool
	if len(include) > 0 {
		others = include.Match
	}
	switch kind {
	case policy.Btrfs:
		return btrfs.NewSource(btrfs.Options{Log: r.log, Include: others}), nil
	case policy.ZFS:
		return zfs.NewSource(zfs.Options{Log: r.log, Host: r.zfs, Now: time.Now, Include: others}), nil
	}
	return nil, fmt.Errorf("this build has no driver %q; it has %q and %q", kind, policy.Btrfs, policy.ZFS)
}

// Target makes the driver of one `into`.
func (r *realDrivers) Target(a policy.Accept) (fsdrivers.Target, error) {
	switch a.Driver {
	case policy.Btrfs:
		return btrfs.NewTarget(btrfs.TargetOptions{Into: a.Into, Live: a.Live, Strip: a.Strip, Now: time.Now, Log: r.log, Patient: r.patient})
	case policy.ZFS:
		return zfs.NewTarget(zfs.TargetOptions{Into: a.Into, Live: a.Live, Strip: a.Strip, Now: time.Now, Clock: time.Now, Log: r.log, Host: r.zfs, Patient: r.patient})
	}
	return nil, fmt.Errorf("this build has no driver %q; it has %q and %q", a.Driver, policy.Btrfs, policy.ZFS)
}

// tell runs a command of the operator's.
func tell(ctx context.Context, argv []string, timeout time.Duration, env map[string]string) error {
	_, err := hook.Run(ctx, hook.Command{Argv: argv, Timeout: timeout}, env)
	return err
}
