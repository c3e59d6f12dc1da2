package daemon

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"antipode/daemon/control"
	"antipode/daemon/hook"
	"antipode/daemon/policy"
	"antipode/daemon/retain"
	"antipode/daemon/status"
	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
	"antipode/transport/reverse"
	"antipode/transport/wire"
)

// maxSkew is how far two clocks may be apart before it is worth a word: targets
// clamp what is further ahead (prune.ClampAhead).
const maxSkew = time.Minute

// check looks at everything that the configuration in force names. It writes
// nothing.
func (d *Daemon) check(ctx context.Context, r control.CheckRequest) (control.CheckResponse, error) {
	c := checker{d: d, site: d.site()}
	hellos := c.peers(ctx)
	for _, id := range slices.Sorted(maps.Keys(c.site.jobs)) {
		c.job(ctx, c.site.jobs[id], hellos)
	}
	for key, s := range c.site.sources {
		if key.forward == "" { // else it is a room's
			c.probe(s.Probe(ctx))
		}
	}
	for key, room := range c.site.rooms {
		c.probe(room.driver.Probe(ctx))
		if offer := room.offer(ctx); offer.Problem != "" {
			c.add(control.Fatal, "accept from "+key.from, offer.Problem, "make room, or lower min_free")
		} else {
			c.add(control.Good, "accept from "+key.from, "takes "+key.driver+" datasets into "+room.Accept().Into, "")
			c.costs(ctx, "accept from "+key.from, room.driver)
		}
		if keep, err := c.d.targetRetention(ctx, key.from, room); err == nil {
			c.frozen(ctx, keep)
		}
		c.pulls(room.Accept(), hellos)
	}
	if r.Deep {
		c.deep(ctx)
	}
	if len(c.site.cfg.Alert.Exec) == 0 {
		c.add(control.Warning, "alert", "nobody is told when an rpo is missed", `set exec = ["/path/to/command"] in [alert]`)
	}
	c.program("alert", "exec", c.site.cfg.Alert.Exec)
	severity := map[control.Severity]int{control.Fatal: 0, control.Warning: 1, control.Good: 2}
	slices.SortStableFunc(c.found, func(a, b control.Finding) int { return severity[a.Severity] - severity[b.Severity] })
	return control.CheckResponse{Findings: c.found}, ctx.Err()
}

// checker collects findings.
type checker struct {
	d     *Daemon
	site  *site
	found []control.Finding
}

func (c *checker) add(s control.Severity, object, what, cure string) {
	c.found = append(c.found, control.Finding{Severity: s, Object: object, What: what, Cure: cure})
}

// program finds a command of the operator's that could not be started when it counts.
func (c *checker) program(object, key string, argv []string) {
	if len(argv) == 0 {
		return
	}
	if err := hook.Startable(argv[0]); err != nil {
		c.add(control.Fatal, object, fmt.Sprintf("%s cannot be run: %v", key, err), "put the program there, executable by the daemon's user, or correct "+key)
	}
}

// peers asks every peer who it is: key, reachability, version, clock.
func (c *checker) peers(ctx context.Context) map[string]wire.Hello {
	hellos := map[string]wire.Hello{}
	for _, p := range c.site.cfg.Peers {
		object := "peer " + p.Name
		call := c.site.calls[p.Name]
		if call == nil {
			c.add(control.Good, object, "has no address; it calls us", "")
			continue
		}
		c.lends(object, p)
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		asked := c.d.Now()
		hello, err := call.Hello(ctx)
		cancel()
		switch {
		case err != nil && p.Address == "":
			if c.d.lent.Idle(p.Name) == 0 {
				err = &reverse.NoneError{Peer: p.Name, Err: err}
			}
			c.add(control.Fatal, object, fmt.Sprintf("cannot be called: %v", err),
				fmt.Sprintf("on %s, give [[peer]] %s its address and reverse = true and see what its status says of it; or set address here, if it can be dialed", p.Name, c.d.node()))
			continue
		case err != nil:
			c.add(control.Fatal, object, fmt.Sprintf("does not answer at %s: %v", p.Address, err),
				"see that its daemon runs, that the address is right and the port open, and that both sides pin each other's key (antipode identity)")
			continue
		}
		hellos[p.Name] = hello
		c.hello(object, p, hello, asked)
	}
	return hellos
}

// lends tells whether a peer that cannot dial us can call us.
func (c *checker) lends(object string, p policy.Peer) {
	if !p.Reverse {
		return
	}
	for _, line := range c.d.Board.Read().Peers {
		switch {
		case line.Name != p.Name:
		case line.Lends > 0:
			c.add(control.Good, object, fmt.Sprintf("%d connections are open for it to call on", line.Lends), "")
		default:
			c.add(control.Fatal, object, "no connection is open for it to call on. "+line.Problem,
				fmt.Sprintf("see that its [[peer]] %s has no address, and that a job there replicates to %s", c.d.node(), c.d.node()))
		}
	}
}

func (c *checker) hello(object string, p policy.Peer, h wire.Hello, asked time.Time) {
	now, at := c.d.Now(), "at "+p.Address
	if p.Address == "" {
		at = "over a connection that it keeps open"
	}
	c.add(control.Good, object, fmt.Sprintf("answers %s: node %s, %s, protocol %d, round trip %s",
		at, h.Node, h.Software, h.Version, now.Sub(asked).Round(100*time.Microsecond)), "")
	if h.Node != p.Name {
		c.add(control.Warning, object, "calls itself "+h.Node, "use one name in both files, so that marks and alerts name the same node")
	}
	// The peer read its clock somewhere between the question and the answer.
	if skew := h.Now.Sub(asked.Add(now.Sub(asked) / 2)); skew.Abs() > maxSkew {
		c.add(control.Warning, object, fmt.Sprintf("its clock is %s %s ours", skew.Abs().Round(time.Second), map[bool]string{true: "ahead of", false: "behind"}[skew > 0]),
			"synchronise both clocks (chrony, systemd-timesyncd): retention and rpo go by them")
	}
}

// job looks at a job's datasets and at what its targets would refuse.
func (c *checker) job(ctx context.Context, w *work, hellos map[string]wire.Hello) {
	object := "job " + w.job.ID
	c.program(object, "before", w.job.Hooks.Before)
	c.program(object, "after", w.job.Hooks.After)
	paths, err := c.d.find(ctx, w)
	if err != nil {
		c.add(control.Fatal, object, err.Error(), "correct the patterns, or make the dataset")
	}
	if len(paths) > 0 {
		c.add(control.Good, object, fmt.Sprintf("selects %s, the first is %s", status.Count(len(paths), "dataset"), paths[0]), "")
	}
	if w.job.Forward == "" {
		c.instant(object, w.job.Driver, paths)
		live, _, _ := c.d.roles(ctx, w, paths) // a run tells what cannot be read
		c.frozen(ctx, c.d.sourceRetention(w, live, nil))
	} else {
		c.add(control.Good, object, "sends on what "+w.job.Forward+" sends", "")
	}
	if w.job.CompressedData {
		c.add(control.Warning, object, "compressed_data is on: a kernel without the fix of March 2026 may lose an error of writing such data without a word",
			"know that the targets' kernels have it, or take compressed_data out")
	}
	for _, name := range w.job.ReplicateTo {
		hello, ok := hellos[name]
		if !ok {
			continue // said above
		}
		at := slices.IndexFunc(hello.Offers, func(o wire.Offer) bool { return o.Driver == string(w.job.Driver) })
		if at < 0 {
			c.add(control.Fatal, object, fmt.Sprintf("%s accepts no %s datasets from %s", name, w.job.Driver, c.d.node()),
				fmt.Sprintf("add [[accept]] with from = %q and driver = %q on %s", c.d.node(), w.job.Driver, name))
			continue
		}
		c.offer(ctx, object, name, hello.Offers[at], w)
		c.pulled(object, name, hello.Offers[at].Pull, w.job)
	}
}

// frozen tells of a retention that waits for somebody to look.
func (c *checker) frozen(ctx context.Context, r *retain.Retention) {
	if why, is := errors.AsType[*retain.FrozenError](r.Survey(ctx, false).Frozen()); is {
		c.add(control.Warning, r.Object(), strings.TrimPrefix(why.Error(), r.Object()+": "), why.Next())
	}
}

// stripped names a dataset that has no place on the target.
func (c *checker) stripped(object, name string, strip dataset.Path, w *work) {
	if strip.IsZero() {
		return
	}
	var out []dataset.Path
	for _, path := range c.d.Board.Datasets(w.job.ID) {
		if !strip.Contains(path) || path == strip && w.job.Driver == policy.ZFS { // which is into itself there, and that can be no replica
			out = append(out, path)
		}
	}
	if len(out) > 0 {
		c.add(control.Fatal, object, fmt.Sprintf("%s takes only what is below %s (strip): it refuses %d of the job's datasets, the first is %s", name, strip, len(out), out[0]),
			fmt.Sprintf("leave them to a job that does not replicate to %s, or take strip out of [[accept]] from %s there", name, c.d.node()))
	}
}

// pulled compares who says when a job is sent to a target, on the source.
func (c *checker) pulled(object, name, when string, j policy.Job) {
	switch {
	case j.Pulled && when == "":
		c.add(control.Warning, object, fmt.Sprintf("it is pulled, and %s does not pull: nothing is sent there", name),
			fmt.Sprintf(`set pull_every = "1h" in [[accept]] from %s on %s, or take pulled out of the job`, c.d.node(), name))
	case !j.Pulled && when != "":
		c.add(control.Warning, object, fmt.Sprintf("%s pulls %s, and the job decides itself when it sends", name, when),
			fmt.Sprintf("set pulled = true in the job, or take pull_every and pull_cron out on %s", name))
	case j.Pulled:
		c.add(control.Good, object, fmt.Sprintf("is pulled by %s, %s", name, when), "")
	}
}

// pulls does the same on the target.
func (c *checker) pulls(a policy.Accept, hellos map[string]wire.Hello) {
	hello, ok := hellos[a.From]
	if a.Pull.IsZero() || !ok { // that it does not answer is said already
		return
	}
	object := "accept from " + a.From
	var jobs []string
	for _, p := range hello.Pulled {
		if p.Driver == string(a.Driver) {
			jobs = append(jobs, p.Job)
		}
	}
	if len(jobs) == 0 {
		c.add(control.Fatal, object, fmt.Sprintf("pulls %s, and %s has no %s job that %s may pull", a.Pull, a.From, a.Driver, c.d.node()),
			fmt.Sprintf("set pulled = true in a job on %s whose replicate_to names %s", a.From, c.d.node()))
		return
	}
	c.add(control.Good, object, fmt.Sprintf("pulls %s, %s", strings.Join(jobs, ", "), a.Pull), "")
}

// instant says where the snapshots of one run are not of one instant.
func (c *checker) instant(object string, driver policy.Driver, paths []dataset.Path) {
	pools := map[string]bool{}
	for _, p := range paths {
		pool, _, _ := strings.Cut(string(p), "/")
		pools[pool] = true
	}
	switch {
	case driver == policy.Btrfs && len(paths) > 1:
		c.add(control.Good, object, fmt.Sprintf("its %d datasets are snapshotted one right after the other: Btrfs takes no several at one instant", len(paths)),
			"put what has to be of one instant into one subvolume, or make it quiet with hooks")
	case driver == policy.ZFS && len(pools) > 1:
		c.add(control.Good, object, fmt.Sprintf("its datasets are in %d pools: those of one pool are snapshotted at one instant, one pool right after the other", len(pools)),
			"put what has to be of one instant into one pool, or make it quiet with hooks")
	}
}

// offer compares what would be sent with what the target lets in.
func (c *checker) offer(ctx context.Context, object, name string, o wire.Offer, w *work) {
	if o.Problem != "" {
		c.add(control.Fatal, object, name+" takes nothing in: "+o.Problem, "mend it on "+name)
		return
	}
	var need int64
	for _, path := range c.d.Board.Datasets(w.job.ID) {
		snapshots, err := w.source.Snapshots(ctx, path)
		if err != nil || len(snapshots) == 0 || mayHaveBase(snapshots, w.job.ID, name) {
			continue
		}
		if usage, err := w.source.Space(ctx, path); err == nil {
			need = max(need, usage.Size-usage.Free)
		}
	}
	c.stripped(object, name, dataset.Path(o.Strip), w)
	c.refusals(ctx, object, name, o, w)
	if room := o.Usage.Free - o.MinFree; need > room {
		c.add(control.Warning, object, fmt.Sprintf("first copies may need up to %s, and %s has %s above its min_free", status.Bytes(need), name, status.Bytes(room)),
			"make room there before the first copy begins; it would wait half-way")
	}
}

// probe takes over what a driver found.
func (c *checker) probe(findings []fsdrivers.Finding) {
	for _, f := range findings {
		if found := control.FindingOf(f); !slices.Contains(c.found, found) { // several drivers may see the same
			c.found = append(c.found, found)
		}
	}
}
