package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"strings"
	"sync/atomic"

	"antipode/daemon/board"
	"antipode/daemon/config"
	"antipode/daemon/policy"
	"antipode/daemon/receive"
	"antipode/daemon/replicate"
	"antipode/daemon/status"
	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
	"antipode/transport/client"
	"antipode/transport/peer"
	"antipode/transport/shape"
	"antipode/transport/wire"
)

// site is what one configuration became. It is not changed once it is in force;
// a reload makes the next one, which takes over what stays the same.
type site struct {
	cfg     *config.Config
	pins    map[peer.Fingerprint]string
	calls   map[string]*client.Client // for questions, by peer
	sources map[sourceKey]fsdrivers.Source
	jobs    map[string]*work
	rooms   map[roomKey]*room
	lenders map[string]*lending // by peer
}

// sourceKey names a driver: jobs that include the same snapshots of others share it.
type sourceKey struct {
	driver  policy.Driver
	include string // one pattern a line
	forward string // the peer whose replicas it offers, "" for datasets of this node
}

func sourceOf(j policy.Job) sourceKey {
	return sourceKey{j.Driver, strings.Join(j.Include, "\n"), j.Forward}
}

// work is one job with what it runs on.
type work struct {
	job      policy.Job
	source   fsdrivers.Source
	budget   *shape.Budget
	compress *atomic.Bool         // as the newest configuration has it
	running  turn                 // of runs; one job does not run twice at once
	couriers map[string]*delivery // by peer
	onward   *onward              // of a job that forwards
}

// delivery is a courier that runs, with the connection it uses.
type delivery struct {
	*replicate.Courier
	peer   policy.Peer
	client *client.Client
	stop   context.CancelCauseFunc
	done   chan struct{}
}

// errDropped ends what a reload took out of the configuration.
var errDropped = errors.New("the configuration no longer names it")

// install puts a configuration in force: all of the new is made before anything
// of the old is touched, so that one that cannot be made changes nothing. d.reloading
// is held, but by New.
func (d *Daemon) install(cfg *config.Config) error {
	old := d.site()
	next, err := d.build(cfg, old)
	if err != nil {
		return err
	}
	d.applyRates(func() *site { return next }) // before anything new can send
	rerouted := map[string]*work{}             // jobs that were there, with a courier that was not
	for id, w := range next.jobs {
		w.compress.Store(w.job.Compress)
		for _, c := range w.couriers {
			c.SetJob(w.job)
			if c.done == nil {
				d.launch(c)
				if old.jobs[id] != nil || old.cfg != nil && w.job.Forward != "" { // which no schedule makes up for
					rerouted[id] = w
				}
			}
		}
	}
	var changed []*room
	for _, a := range cfg.Accepts {
		key := roomOf(a)
		r := next.rooms[key]
		if was := r.policy.Swap(&a); old.rooms[key] == r && !reflect.DeepEqual(*was, a) {
			changed = append(changed, r)
		}
	}
	d.mu.Lock()
	d.current = next
	d.mu.Unlock()
	d.firstCopies.Retain(next.sends)
	d.hastenRates()
	for _, l := range next.lenders {
		if l.done == nil {
			d.launchLender(l)
		}
	}
	d.dismiss(old, next)
	d.pinUp(next)
	d.setSchedules(cfg.Jobs, cfg.Accepts)
	for _, w := range next.jobs {
		if err := d.applyPause(w); err != nil {
			d.Log.Error().Err(err).Str("job", w.job.ID).Msg("cannot pause")
		}
	}
	for _, w := range rerouted {
		d.catchUp(w)
	}
	for _, r := range changed {
		d.background(func(ctx context.Context) { d.tendAnew(ctx, r.Accept().From, r) })
	}
	d.watch.Configure(cfg.Alert)
	return nil
}

// pinUp has the board show what a site names, and nothing else.
func (d *Daemon) pinUp(s *site) {
	d.Board.Retain(board.Named{
		Peer:    func(name string) bool { _, ok := s.cfg.Peer(name); return ok },
		Job:     func(id string) bool { return s.jobs[id] != nil },
		Pair:    func(k board.PairKey) bool { return s.sends(k.Job, k.Peer) },
		Replica: func(k board.ReplicaKey) bool { return s.accepts(k) },
	})
	for id, w := range s.jobs {
		d.Board.Job(id, func(j *status.Job) { j.Driver, j.Forward = string(w.job.Driver), w.job.Forward })
	}
	for _, p := range s.cfg.Peers {
		d.Board.Peer(p.Name, func(line *status.Peer) { line.Address = p.Address })
	}
}

// build makes the next site out of a configuration and of what the old one has
// that still fits.
func (d *Daemon) build(cfg *config.Config, old *site) (*site, error) {
	next := &site{
		cfg: cfg, pins: map[peer.Fingerprint]string{}, calls: map[string]*client.Client{},
		sources: map[sourceKey]fsdrivers.Source{}, jobs: map[string]*work{}, rooms: map[roomKey]*room{},
		lenders: map[string]*lending{},
	}
	for _, p := range cfg.Peers {
		key, err := peer.ParseFingerprint(p.Key)
		if err != nil {
			return nil, fmt.Errorf("peer %s: %w", p.Name, err)
		}
		next.pins[key] = p.Name
		was, ok := old.peer(p.Name)
		isSame := ok && was == p
		switch {
		case p.Address == "" && !cfg.Calls(p.Name): // it only calls us
		case isSame && old.calls[p.Name] != nil:
			next.calls[p.Name] = old.calls[p.Name]
		default:
			next.calls[p.Name] = d.newClient(cfg, p, key, client.Options{})
		}
		switch {
		case !p.Reverse:
		case isSame:
			next.lenders[p.Name] = old.lenders[p.Name]
		default:
			next.lenders[p.Name] = d.newLender(cfg, p, key)
		}
	}
	for _, a := range cfg.Accepts {
		if err := d.buildRoom(next, old, a); err != nil {
			return nil, err
		}
	}
	for _, j := range cfg.Jobs {
		if err := d.buildWork(next, old, j); err != nil {
			return nil, err
		}
	}
	return next, nil
}

func (d *Daemon) buildRoom(next, old *site, a policy.Accept) error {
	key := roomOf(a)
	if was, ok := old.rooms[key]; ok && was.Accept().Into == a.Into && was.Accept().Live == a.Live && was.Accept().Strip == a.Strip {
		next.rooms[key] = was
		return nil
	}
	driver, err := d.Drivers.Target(a)
	if err != nil {
		return fmt.Errorf("accept from %s into %s: %w", a.From, a.Into, err)
	}
	r := &room{driver: driver, tending: newTurn(), surveying: newTurn()}
	r.policy.Store(&a)
	r.Room = receive.Room{Node: next.cfg.Node, Accept: func() policy.Accept { return *r.policy.Load() }, Driver: driver, Now: d.Now}
	next.rooms[key] = r
	return nil
}

func (d *Daemon) buildWork(next, old *site, j policy.Job) error {
	w := &work{job: j, couriers: map[string]*delivery{}, onward: &onward{}}
	was, key := old.jobs[j.ID], sourceOf(j)
	if err := d.buildSource(next, old, j); err != nil {
		return err
	}
	w.source, w.budget, w.running, w.compress = next.sources[key], shape.NewBudget(d.host), newTurn(), new(atomic.Bool)
	if was != nil {
		w.budget, w.running, w.compress = was.budget, was.running, was.compress
	}
	for _, name := range j.ReplicateTo {
		p, ok := next.cfg.Peer(name)
		if !ok {
			return fmt.Errorf("job %s: there is no peer %q", j.ID, name)
		}
		if was != nil && was.source == w.source && was.couriers[name] != nil && was.couriers[name].peer == p {
			w.couriers[name] = was.couriers[name]
			continue
		}
		pin, err := peer.ParseFingerprint(p.Key)
		if err != nil {
			return fmt.Errorf("peer %s: %w", p.Name, err)
		}
		c := d.newClient(next.cfg, p, pin, client.Options{Budget: w.budget, Coder: d.coder, Compress: w.compress.Load, WaitForLink: patience(next.cfg, j.Driver)})
		w.couriers[name] = &delivery{peer: p, client: c, Courier: replicate.New(replicate.Options{
			Node: next.cfg.Node, Job: j, Peer: name, Near: w.source, Far: c, Board: d.Board, History: d.ledger,
			Now: d.Now, Log: d.Log.With().Str("job", j.ID).Str("peer", name).Logger(), Alarm: d.watch.Alarm, Clear: d.watch.Clear,
			FirstCopies: d.firstCopies.To(j.ID, name),
		})}
	}
	next.jobs[j.ID] = w
	return nil
}

// buildSource finds the driver of a job's datasets, or makes it.
func (d *Daemon) buildSource(next, old *site, j policy.Job) error {
	key := sourceOf(j)
	if next.sources[key] != nil {
		return nil
	}
	if j.Forward != "" {
		s, err := forwarded(next, old, j)
		next.sources[key] = s
		return err
	}
	if driver, ok := old.sources[key]; ok {
		next.sources[key] = driver
		return nil
	}
	driver, err := d.Drivers.Source(j.Driver, j.Include)
	if err != nil {
		return fmt.Errorf("job %s: %w", j.ID, err)
	}
	next.sources[key] = driver
	return nil
}

// newClient fills in what every client of a peer has.
func (d *Daemon) newClient(cfg *config.Config, p policy.Peer, key peer.Fingerprint, o client.Options) *client.Client {
	o.Identity, o.Key, o.Address = d.Identity, key, p.Address
	o.Now, o.Log = d.Now, d.Log.With().Str("peer", p.Name).Logger()
	o.Dial = d.Dial
	if p.Address == "" {
		o.Address, o.Take = p.Name, func(ctx context.Context) (net.Conn, error) { return d.lent.Take(ctx, p.Name, key) }
	}
	o.Connected = func(path client.Path) {
		d.Board.Peer(p.Name, func(line *status.Peer) { line.CongestionControl = path.Congestion })
	}
	o.Lanes, o.Window, o.Memory, o.Congestion = cfg.Transport.Lanes, int(cfg.Transport.Window), d.memory, cfg.Transport.Congestion
	return client.New(o)
}

// launch starts a courier; it lives until it is dismissed or the daemon ends.
func (d *Daemon) launch(c *delivery) {
	ctx, stop := context.WithCancelCause(d.ctx)
	c.stop, c.done = stop, make(chan struct{})
	d.running.Go(func() {
		defer close(c.done)
		defer c.client.Close()
		_ = c.Serve(ctx) // always nil
	})
}

// dismiss ends what the next site no longer has: couriers at once, and receives
// that wait for a link that may never come back.
func (d *Daemon) dismiss(old, next *site) {
	for id, w := range old.jobs {
		if next.jobs[id] == nil {
			d.watch.Forget("job " + id)
		}
		for name, c := range w.couriers {
			if now, ok := next.jobs[id]; !ok || now.couriers[name] != c {
				c.stop(errDropped)
				<-c.done
			}
		}
	}
	for name, c := range old.calls {
		if next.calls[name] != c {
			c.Close()
		}
	}
	for name, l := range old.lenders {
		if next.lenders[name] != l {
			l.stop()
			<-l.done
			if next.lenders[name] == nil {
				d.Board.Peer(name, func(line *status.Peer) { line.Lends = 0 })
			}
		}
	}
	d.lent.Review()
	// What cannot end in the server's bounds is logged there; the reload stands.
	if err := d.server.EndTransfers(d.ctx, errDropped, func(from string, open wire.Open) bool {
		key := roomKey{from, open.Driver}
		r, still := next.rooms[key]
		return !still || r != old.rooms[key]
	}); err != nil {
		d.Log.Error().Err(err).Msg("a receive of a dropped peer did not end")
	}
}

// initPairs puts a line on the board for each dataset and peer, so that one that
// was never sent is seen as such.
func (d *Daemon) initPairs(w *work, paths []dataset.Path) {
	for name := range w.couriers {
		for _, p := range paths {
			d.Board.Pair(board.PairKey{Job: w.job.ID, Dataset: p, Peer: name}, func(line *status.Pair) { line.RPO = w.job.RPO })
		}
	}
}

func (s *site) peer(name string) (policy.Peer, bool) {
	if s.cfg == nil {
		return policy.Peer{}, false
	}
	return s.cfg.Peer(name)
}

// sends reports whether a job goes to a peer.
func (s *site) sends(job, peer string) bool {
	w := s.jobs[job]
	return w != nil && w.couriers[peer] != nil
}

func (s *site) accepts(k board.ReplicaKey) bool {
	return s.rooms[roomKey{k.From, string(policy.DriverOf(k.Dataset))}] != nil
}

// sweepers are the drivers of both sides, by a name for the log.
func (d *Daemon) sweepers() map[string]fsdrivers.Sweeper {
	s := d.site()
	all := map[string]fsdrivers.Sweeper{}
	for key, source := range s.sources {
		if key.forward != "" {
			continue // a room's
		}
		all[strings.TrimSpace("source "+string(key.driver)+" "+strings.ReplaceAll(key.include, "\n", " "))] = source
	}
	for key, r := range s.rooms {
		all["target of "+key.from+" ("+key.driver+")"] = r.driver
	}
	return all
}

// peerOf names the peer that a key is pinned for (server.Options.Peers).
func (d *Daemon) peerOf(key peer.Fingerprint) (string, bool) {
	name, ok := d.site().pins[key]
	return name, ok
}

// heard notes that a peer called.
func (d *Daemon) heard(from string) {
	now := d.Now()
	d.Board.Peer(from, func(p *status.Peer) { p.LastContact = now })
}
