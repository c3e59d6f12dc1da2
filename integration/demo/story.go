package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"antipode/daemon/control"
	"antipode/daemon/status"
	"antipode/integration/link"
	"antipode/integration/manifest"
	"antipode/integration/stage"
)

const (
	job       = "files"
	outage    = 3 * time.Second
	cutAt     = 45 // per cent of the first copy
	keepHere  = `{ last = 3 }`
	keepThere = `{ last = 4, hourly = 24 }`
)

// demo is the story and what it has come to so far.
type demo struct {
	*screen
	*stage.Stage
	bin        string
	fra1, sin1 *stage.Node
	ground     ground
	link       *link.Link
	data       *maker

	full       int64         // bytes of the first copy's stream
	atCut      int64         // bytes that had been sent when the link was cut
	extra      int64         // bytes that the first copy sent beyond its stream
	copied     time.Duration // of the first copy
	increments []int64
	manifests  map[string][]manifest.Entry // by name of the snapshot
	promoted   control.PromoteResponse
	took       time.Duration // of the promotion, as the operator saw it
	entries    int           // that were compared
}

func (d *demo) tell(ctx context.Context) error {
	d.title("Antipode in a minute: fra1 is the primary, sin1 the standby on the far side of the world.")
	d.manifests = map[string][]manifest.Entry{}
	for _, chapter := range []func(context.Context) error{
		d.setUp, d.firstCopy, d.incrementals, d.retention, d.loseThePrimary, d.compare, d.sumUp,
	} {
		if err := chapter(ctx); err != nil {
			return err
		}
	}
	return nil
}

// rate is the rate limit as people read it.
func (d *demo) rate() string { return strings.Replace(d.ground.sizes().rate, "Mbit", " Mbit", 1) }

// setUp makes two machines that know each other.
func (d *demo) setUp(ctx context.Context) (err error) {
	d.chapter("Two machines")
	if err := d.ground.raise(ctx); err != nil {
		return err
	}
	if d.fra1, err = d.Node(ctx, d.bin, "fra1", "127.0.0.1"); err != nil {
		return err
	}
	if d.sin1, err = d.Node(ctx, d.bin, "sin1", "127.0.0.2"); err != nil {
		return err
	}
	if d.link, err = link.Open("127.0.0.3:0", d.sin1.Address); err != nil {
		return err
	}
	d.Later(func(context.Context) error { return d.link.Close() })
	rows := [][]string{}
	for _, n := range []*stage.Node{d.fra1, d.sin1} {
		row, err := d.raise(ctx, n)
		if err != nil {
			return err
		}
		rows = append(rows, row)
	}
	d.columns(rows...)
	return d.pair(ctx)
}

// raise starts the daemon of a machine and introduces it. Others reach sin1 over
// the link only.
func (d *demo) raise(ctx context.Context, n *stage.Node) ([]string, error) {
	advertise := n.Address
	if n == d.sin1 {
		advertise = d.link.Address()
	}
	if err := n.Configure(advertise, ""); err != nil {
		return nil, err
	}
	if err := n.Start(ctx, d.Stage); err != nil {
		return nil, err
	}
	key, err := n.Run(ctx, "identity")
	if err != nil {
		return nil, err
	}
	return []string{n.Name, n.Address, fmt.Sprintf("pid %d", n.PID()), d.ground.describe(n.Name), "key " + brief(key)}, nil
}

// brief shortens a key for the eye.
func brief(key string) string { return key[:min(len(key), 16)] + "…" }

// pair has each node pin the other's key, by a token that serves once.
func (d *demo) pair(ctx context.Context) error {
	token, err := d.sin1.Run(ctx, "pair")
	if err != nil {
		return err
	}
	var paired control.PairAcceptResponse
	if err := d.fra1.Ask(ctx, &paired, "pair", token); err != nil {
		return err
	}
	if _, err := d.fra1.Run(ctx, "pair", token); err == nil {
		return errors.New("a pairing token was taken twice")
	}
	d.good("antipode pair: one token, and each has the other's key pinned. A second use was refused.")
	d.say("Between them: a proxy on loopback that counts every byte and can cut the link.")
	return nil
}

// configureBoth gives the nodes their work and has them reload.
func (d *demo) configureBoth(ctx context.Context) error {
	size := d.ground.sizes()
	err := errors.Join(
		d.fra1.Configure(d.fra1.Address, fmt.Sprintf("[[job]]\nid = %q\ndriver = %q\ndatasets = [%q]\nevery = %q\n"+
			"replicate_to = [\"sin1\"]\nrpo = \"1m\"\nrate_limit = %q\nmay_promote = true\nkeep = %s\n",
			job, d.ground.driver(), d.ground.dataset(), size.every, size.rate, keepHere)),
		d.sin1.Configure(d.link.Address(), fmt.Sprintf("[[accept]]\nfrom = \"fra1\"\ndriver = %q\ninto = %q\nlive = %q\n"+
			"rpo = \"1m\"\nprotect = %q\nkeep = %s\n", d.ground.driver(), d.ground.into(), d.ground.live(), size.protect, keepThere)),
	)
	if err != nil {
		return err
	}
	for _, n := range []*stage.Node{d.sin1, d.fra1} {
		if _, err := n.Run(ctx, "reload"); err != nil {
			return err
		}
	}
	return nil
}

// line asks fra1 how its dataset stands to sin1.
func (d *demo) line(ctx context.Context) (status.Pair, error) {
	var s status.Status
	if err := d.fra1.Ask(ctx, &s, "status"); err != nil {
		return status.Pair{}, err
	}
	for _, j := range s.Jobs {
		if j.Problem != nil {
			return status.Pair{}, fmt.Errorf("job %s: %s", j.ID, j.Problem.Text)
		}
		for _, ds := range j.Datasets {
			for _, p := range ds.Peers {
				return p, nil
			}
		}
	}
	return status.Pair{}, nil
}

// watch looks at the line until look is content.
func (d *demo) watch(ctx context.Context, look func(status.Pair) bool) error {
	return stage.Until(ctx, func() (bool, error) {
		p, err := d.line(ctx)
		return err == nil && look(p), err
	})
}

// incrementals lets users change files, and shows what each run sent.
func (d *demo) incrementals(ctx context.Context) error {
	d.chapter("Increments, every " + d.ground.sizes().every)
	widths := []int{38, -9, -11, -10, -11}
	d.row(widths, "what was changed", "sent", "a full copy", "times less", "there after")
	for _, c := range changes(d.ground.sizes()) {
		before := d.link.Total()
		c.make(d.data)
		if d.data.err != nil {
			return fmt.Errorf("%s: %w", c.what, d.data.err)
		}
		took, err := d.arrival(ctx, time.Now())
		if err != nil {
			return fmt.Errorf("%s: %w", c.what, err)
		}
		sent := d.link.Total() - before
		d.increments = append(d.increments, sent)
		d.row(widths, c.what, status.Bytes(sent), status.Bytes(d.full), fmt.Sprintf("%d×", d.full/max(sent, 1)), seconds(took))
	}
	d.say("Sent is all that passed the link in both directions, with TLS and every question asked.")
	return nil
}

// arrival waits until what was changed before a moment is on the standby. It
// returns how old the snapshot was when that was seen.
func (d *demo) arrival(ctx context.Context, changed time.Time) (took time.Duration, err error) {
	err = d.watch(ctx, func(p status.Pair) bool {
		if m := p.Moving; m != nil {
			d.progress("sending %s  %s", m.Snapshot, status.Bytes(m.Bytes))
		} else {
			d.progress("waiting for the next snapshot ...")
		}
		took = p.Lag
		return !p.LastPoint.Time.Before(changed)
	})
	return took, err
}

// points lists the snapshots in a directory, oldest first.
func points(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "antipode_"+job+"_") {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, err
}

// retention shows that both sides prune by their own policy. Users go on writing
// meanwhile: what nobody writes to gets no snapshots, and then nothing has to go.
func (d *demo) retention(ctx context.Context) error {
	d.chapter("Retention, on each side by its own policy")
	var destroyed []string
	err := stage.Until(ctx, func() (bool, error) {
		if d.data.note(); d.data.err != nil {
			return false, d.data.err
		}
		destroyed = nil
		rows := [][]string{}
		for _, side := range []struct {
			n          *stage.Node
			verb, keep string
			list       func(context.Context) ([]string, error)
		}{
			{d.fra1, "made", "keep = " + keepHere, d.ground.made},
			{d.sin1, "received", fmt.Sprintf("keep = %s, protect = %q", keepThere, d.ground.sizes().protect), d.ground.received},
		} {
			gone, err := side.n.Events("destroyed")
			if err != nil {
				return false, err
			}
			left, err := side.list(ctx)
			if err != nil || len(gone) == 0 {
				d.progress("waiting for %s to prune ...", side.n.Name)
				return false, err
			}
			last := gone[len(gone)-1]
			destroyed = append(destroyed, fmt.Sprintf("%s destroyed %s: %s.", side.n.Name, last.Snapshot, last.Why))
			rows = append(rows, []string{
				side.n.Name, side.keep, fmt.Sprintf("%d %s", len(left)+len(gone), side.verb),
				fmt.Sprintf("%d destroyed", len(gone)), fmt.Sprintf("%d left", len(left)),
			})
		}
		d.columns(rows...)
		return true, nil
	})
	for _, line := range destroyed {
		d.say("%s", line)
	}
	return err
}
