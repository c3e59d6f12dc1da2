// Package daemon puts the parts together: from a configuration, a listener, a
// dialer, a clock and the drivers it makes a running node. New takes all of these,
// so that a pair of daemons runs in memory under a test's clock. It parses and
// formats nothing, and knows neither the drivers of this build nor signals.
//
// job.go shows the source's data path, target.go the target's.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"antipode/daemon/board"
	"antipode/daemon/config"
	"antipode/daemon/ledger"
	"antipode/daemon/pair"
	"antipode/daemon/policy"
	"antipode/daemon/quiet"
	"antipode/daemon/schedule"
	"antipode/daemon/status"
	"antipode/daemon/watch"
	"antipode/daemon/wish"
	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
	"antipode/transport/peer"
	"antipode/transport/reverse"
	"antipode/transport/server"
	"antipode/transport/shape"
	"antipode/transport/squeeze"
	"antipode/transport/stripe"
	"antipode/transport/wire"
)

// Drivers makes the drivers that a configuration names. A driver that this build
// does not have is an error that says so.
type Drivers interface {
	Source(kind policy.Driver, include policy.Names) (fsdrivers.Source, error)
	Target(a policy.Accept) (fsdrivers.Target, error)
}

// Options is all that a daemon takes from the world. Every field is needed, but
// for what says so.
type Options struct {
	Config   *config.Config
	Identity peer.Identity
	Drivers  Drivers
	Ledger   *ledger.Ledger
	Listener net.Listener // nil: no peer can dial this node
	Dial     func(ctx context.Context, address string) (net.Conn, error)
	Now      func() time.Time
	Log      zerolog.Logger
	Version  string
	// Reload reads the configuration anew; it is asked for by `antipode reload`,
	// SIGHUP and pairing.
	Reload func() (*config.Config, error)
	// Tell runs the operator's alert command and reports what it answered.
	Tell func(ctx context.Context, argv []string, timeout time.Duration, env map[string]string) error
	// Hook runs one of the operator's commands around a snapshot.
	Hook func(ctx context.Context, argv []string, timeout time.Duration, env map[string]string) error
}

// Daemon is one running node.
type Daemon struct {
	Options
	Board *board.Board

	ledger   *ledger.Ledger
	schedule *schedule.Scheduler // of snapshots
	server   *server.Server
	// replication serves the jobs that replicate apart from their snapshots.
	replication *schedule.Scheduler
	asking      *schedule.Scheduler // of pulls, on a target
	host        *shape.Budget       // the host's rate
	memory      *stripe.Share       // of what is sent, over all peers
	coder       *squeeze.Coder
	watch       *watch.Watch
	pairing     *pair.Desk
	quiet       *quiet.Keeper
	firstCopies *wish.FirstCopies // that were asked for by command
	pauses      *wish.Pauses
	rates       *wish.Rates    // that were set by command
	lent        *reverse.Pool  // connections of peers that cannot be dialed
	inlet       *reverse.Inlet // what peers call on of what we dialed
	rateNews    chan struct{}  // the rates have to be looked at again
	started     time.Time

	ctx context.Context //nolint:containedctx // the life of Serve, for work that no caller waits for
	end context.CancelFunc

	reloading   sync.Mutex // held while a configuration is read and put in force, or a wish to pause
	setting     sync.Mutex // held while rates are set
	mu          sync.Mutex // guards below
	current     *site
	closed      map[board.ReplicaKey]bool         // no receive begins here: it is being promoted
	rivals      map[board.ReplicaKey]dataset.Mark // what a source shows against our mark: split brain
	silentSince map[string]time.Time              // peers that did not answer before a promotion
	facts       map[ledger.FactKey]ledger.Fact    // of the run before this one; not changed after Serve began
	starts      map[ledger.StartKey]time.Time     // when each job began last what its schedules make it do
	pulls       map[pullKey]pullNote              // what targets asked for
	asked       map[roomKey]pullNote              // what sources were asked for
	running     sync.WaitGroup
}

// sendWindows is how many whole windows all that is sent at once may hold.
const sendWindows = 2

// New assembles a daemon that does nothing yet. The errors are those of drivers
// that cannot be made.
func New(o Options) (*Daemon, error) {
	d := &Daemon{
		Options: o, Board: board.New(), ledger: o.Ledger, host: shape.NewBudget(nil), coder: squeeze.NewCoder(),
		memory:  stripe.NewShare(sendWindows * int(o.Config.Transport.Window)),
		started: o.Now(), current: &site{}, closed: map[board.ReplicaKey]bool{}, rivals: map[board.ReplicaKey]dataset.Mark{}, silentSince: map[string]time.Time{},
		rateNews: make(chan struct{}, 1), inlet: reverse.NewInlet(), pulls: map[pullKey]pullNote{}, asked: map[roomKey]pullNote{},
	}
	d.lent = reverse.NewPool(d.wantsLent)
	var err error
	if d.firstCopies, err = wish.LoadFirstCopies(o.Config.StateDir, o.Log); err != nil {
		return nil, err
	}
	if d.pauses, err = wish.LoadPauses(o.Config.StateDir); err != nil {
		return nil, err
	}
	if d.rates, err = wish.LoadRates(o.Config.StateDir); err != nil {
		return nil, err
	}
	if err := d.loadMemory(); err != nil {
		return nil, err
	}
	d.ctx, d.end = context.WithCancel(context.Background())
	d.watch = watch.New(watch.Options{
		Node: o.Config.Node, Now: o.Now, Log: o.Log, Subjects: d.subjects, History: o.Ledger, Tell: o.Tell,
		Before: func(key ledger.FactKey) ledger.Fact { return d.facts[key] }, Stand: d.Board.SetAlerts,
	})
	d.pairing = pair.New(pair.Options{
		Identity: o.Identity, Listens: o.Listener != nil, Advertised: d.advertised, Config: func() *config.Config { return d.site().cfg },
		Reload: func() error { _, err := d.ReloadConfig(); return err }, Dial: o.Dial, Record: o.Ledger.Record, Now: o.Now, Log: o.Log,
	})
	d.quiet = &quiet.Keeper{
		StateDir: o.Config.StateDir, Node: d.node, Hook: o.Hook, Record: o.Ledger.Record, Now: o.Now, Log: o.Log,
		Held:   func(job string, held time.Duration) { d.Board.Job(job, func(j *status.Job) { j.Held = held }) },
		Failed: func(job string, err error) { d.Board.Job(job, func(j *status.Job) { j.Problem = d.problem(err) }) },
	}
	d.schedule = schedule.New(schedule.Options{Now: o.Now, Node: o.Config.Node, Run: d.runJob, Log: o.Log})
	d.replication = schedule.New(schedule.Options{Now: o.Now, Node: o.Config.Node, Run: d.replicateJob, Log: o.Log})
	d.asking = schedule.New(schedule.Options{Now: o.Now, Node: o.Config.Node, Run: d.askFor, Log: o.Log, Concurrency: maxAskers})
	d.server = server.New(server.Options{
		Identity: o.Identity, Peers: d.peerOf, Backend: target{d}, Pairing: d.pairing, Now: o.Now, Log: o.Log,
		Window: int(o.Config.Transport.Window), WaitForLink: d.waitForLink, Reversed: borrowed{d},
	})
	if err := d.install(o.Config); err != nil {
		d.end()
		return nil, err
	}
	return d, nil
}

// Serve runs the daemon until ctx ends, then ends what is under way and waits for
// it: streams stop, children are reaped, history is written.
func (d *Daemon) Serve(ctx context.Context) error {
	d.quiet.MakeLoud(ctx)
	d.sweep(ctx)
	d.recall()
	for _, w := range d.site().jobs {
		d.catchUp(w)
	}
	parts := map[string]func(context.Context) error{
		"schedule":    d.schedule.Serve,
		"replication": d.replication.Serve,
		"pulls":       d.asking.Serve,
		"transport":   d.listen,
		"reverse":     func(ctx context.Context) error { return d.server.ServeDialed(ctx, d.inlet) },
		"watch":       d.watch.Serve,
		"upkeep":      d.upkeep,
		"rates":       d.keepRates,
		"ledger": func(ctx context.Context) error {
			return d.ledger.Serve(ctx, func(err error) { d.Log.Error().Err(err).Msg("history was not written") })
		},
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	failed := make(chan error, len(parts))
	for name, part := range parts {
		go func() {
			err := part(ctx)
			if err != nil {
				err = fmt.Errorf("%s: %w", name, err)
			}
			failed <- err
		}()
	}
	var errs []error
	for range parts {
		errs = append(errs, <-failed)
		stop() // one part that ends takes the others with it
		d.end()
	}
	d.running.Wait()
	return errors.Join(errs...)
}

// End ends what a daemon that is never served has set going.
func (d *Daemon) End() { d.end() }

// listen answers peers that dial this node, if any can.
func (d *Daemon) listen(ctx context.Context) error {
	if d.Listener != nil {
		return d.server.Serve(ctx, d.Listener)
	}
	<-ctx.Done()
	return nil
}

// Listens is the address at which peers can dial this node; "" if none can.
func (d *Daemon) Listens() string {
	if d.Listener == nil {
		return ""
	}
	return d.Listener.Addr().String()
}

// advertised is the address that peers are told to call; "" if none can be told.
func (d *Daemon) advertised() string {
	cfg := d.site().cfg
	if cfg.Advertise != "" {
		return cfg.Advertise
	}
	host, _, err := net.SplitHostPort(d.Listens())
	if ip := net.ParseIP(host); err != nil || ip == nil || ip.IsUnspecified() {
		return ""
	}
	return d.Listens()
}

// background runs work that nobody waits for, until Serve ends. After that it
// does nothing.
func (d *Daemon) background(work func(ctx context.Context)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ctx.Err() != nil {
		return
	}
	d.running.Go(func() { work(d.ctx) })
}

// sweep lets every driver clean up after a crash before anything else is asked of
// it. A source cleans the datasets that it has found.
func (d *Daemon) sweep(ctx context.Context) {
	for id, w := range d.site().jobs {
		_, err := d.find(ctx, w)
		if err == nil {
			continue // what the last run said stands
		}
		d.Board.Job(id, func(j *status.Job) {
			if p := d.problem(err); j.Problem == nil || !strings.HasPrefix(j.Problem.Text, p.Text) { // else a run said more
				j.Problem = p
			}
		})
	}
	for name, s := range d.sweepers() {
		if err := s.Sweep(ctx); err != nil {
			d.Log.Error().Err(err).Str("driver", name).Msg("could not clean up after an earlier run")
		}
	}
}

// tendEvery is how often replicas are looked at and pruned without a new point.
const tendEvery = 10 * time.Minute

// upkeep does what has to be done from time to time, and once at the start.
func (d *Daemon) upkeep(ctx context.Context) error {
	tick := time.NewTicker(tendEvery)
	defer tick.Stop()
	d.finishPromotions(ctx)
	for {
		d.tendReplicas(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			d.sweep(ctx)
		}
	}
}

func (d *Daemon) node() string { return d.site().cfg.Node }

// site is the configuration that is in force.
func (d *Daemon) site() *site {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.current
}

// waitForLink is how long a receive waits for its sender.
func (d *Daemon) waitForLink(open wire.Open) time.Duration {
	return patience(d.site().cfg, policy.Driver(open.Driver))
}

// patience is how long a transfer waits for a lost link: as the file says, or
// what the file system's way to go on makes sensible (decision 5). A ZFS receive has
// its token to fall back on; on Btrfs a lost receive starts anew.
func patience(cfg *config.Config, kind policy.Driver) time.Duration {
	switch {
	case cfg.Transport.WaitForLink > 0:
		return cfg.Transport.WaitForLink
	case kind == policy.ZFS:
		return 15 * time.Minute
	default:
		return 24 * time.Hour
	}
}
