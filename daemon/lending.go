package daemon

import (
	"context"
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
