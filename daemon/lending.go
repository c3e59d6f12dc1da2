package daemon

import (
	"context"
	"crypto/tls"
	"net"

	"antipode/daemon/config"
	"antipode/daemon/policy"
	"antipode/daemon/status"
	"antipode/transport/client"
	"antipode/transport/peer"
	"antipode/transport/reverse"
	"antipode/transport/server"
)

// lending keeps connections open to one peer, which cannot dial this node.
type lending struct {
	*reverse.Lender
	stop context.CancelFunc
	done chan struct{}
}

func (d *Daemon) newLender(cfg *config.Config, p policy.Peer, key peer.Fingerprint) *lending {
	var told string // the problem that is on the board
	l := &lending{}
	l.Lender = reverse.NewLender(reverse.Lending{
		Identity: d.Identity, Key: key, Inlet: d.inlet,
		Dial: func(ctx context.Context) (net.Conn, error) {
			c, err := d.Dial(ctx, p.Address)
			if err != nil {
				return nil, err
			}
			client.Tune(c, cfg.Transport.Congestion)
			return server.Eager(c), nil
		},
		Report: func(open int, problem error) {
			if d.site().lenders[p.Name] != l {
				return // a reload has dropped it, and what was taken ends later
			}
			d.Board.Peer(p.Name, func(line *status.Peer) {
				line.Lends = open
				if problem != nil {
					told = "cannot keep a connection open for it to call on: " + problem.Error()
					line.Problem = told
				} else if line.Problem == told { // a job of ours may have one of its own
					line.Problem = ""
				}
			})
		},
	})
	return l
}

// launchLender starts one; it lives until it is dismissed or the daemon ends.
func (d *Daemon) launchLender(l *lending) {
	ctx, stop := context.WithCancel(d.ctx)
	l.stop, l.done = stop, make(chan struct{})
	d.running.Go(func() {
		defer close(l.done)
		l.Serve(ctx)
	})
}

// borrowed is what peers have dialed for this node to call on (server.Reversed).
type borrowed struct{ d *Daemon }

func (b borrowed) Serve(name string, key peer.Fingerprint, conn *tls.Conn) {
	b.d.lent.Serve(name, key, conn)
}

// Close waits for couriers first: they may need a connection to tell a target that
// they stop.
func (b borrowed) Close() {
	s := b.d.site()
	for _, w := range s.jobs {
		for _, c := range w.couriers {
			<-c.done
		}
	}
	for _, c := range s.calls {
		c.Close()
	}
	b.d.lent.Close()
}

// wantsLent holds for peers that this node calls and has no address of
// (reverse.NewPool).
func (d *Daemon) wantsLent(name string, key peer.Fingerprint) bool {
	cfg := d.site().cfg
	if cfg == nil {
		return false
	}
	p, ok := cfg.Peer(name)
	return ok && p.Address == "" && p.Key == key.String() && cfg.Calls(name)
}
