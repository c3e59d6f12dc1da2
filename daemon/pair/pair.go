// Package pair is a node's side of pairing: the one token that may be outstanding, a token
// that is taken to another node, and what either writes down. What is said on the wire is
// transport/peer/pairing's.
package pair

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"antipode/daemon/config"
	"antipode/daemon/control"
	"antipode/daemon/ledger"
	"antipode/daemon/policy"
	"antipode/fsdrivers/dataset"
	"antipode/transport/client"
	"antipode/transport/peer"
	"antipode/transport/peer/pairing"
	"antipode/transport/wire"
)

// Options of a Desk. Every field is needed.
type Options struct {
	Identity   peer.Identity
	Listens    bool                  // peers can dial this node
	Advertised func() string         // the address that peers are told to call; "" if none can be told
	Config     func() *config.Config // the one in force
	Reload     func() error          // puts in force what is written
	Dial       func(ctx context.Context, address string) (net.Conn, error)
	Record     func(ledger.Batch)
	Now        func() time.Time
	Log        zerolog.Logger
}

// Desk holds the one token that may be outstanding (server.Pairing), and
// writes what a pairing came to.
type Desk struct {
	o Options

	mu    sync.Mutex // guards offer
	offer *pairing.Offer
}

// New makes one with no token outstanding.
func New(o Options) *Desk { return &Desk{o: o} }

// Issue makes a token; one that was outstanding is void from now on.
func (p *Desk) Issue() (control.PairResponse, error) {
	address := p.o.Advertised()
	if address == "" && !p.o.Listens {
		return control.PairResponse{}, &control.Error{
			Kind: control.KindUsage, Object: "listen.address", Text: "no peer can dial this node",
			Next: "run `antipode pair` on the other node, and `antipode pair TOKEN --reverse` here",
		}
	}
	if address == "" {
		return control.PairResponse{}, &control.Error{
			Kind: control.KindUsage, Object: "listen.address", Text: "it names no host that a peer could call",
			Next: `set advertise = "this-host.example.net:8771" and reload`,
		}
	}
	offer, err := pairing.NewOffer(p.o.Now(), p.o.Identity.Fingerprint(), p.o.Config().Node, address)
	if err != nil {
		return control.PairResponse{}, err
	}
	p.mu.Lock()
	p.offer = offer
	p.mu.Unlock()
	token := offer.Token()
	text, err := token.Text()
	return control.PairResponse{Token: text, Expires: token.Expires}, err
}

// Outstanding reports whether the pairing endpoint exists at this moment.
func (p *Desk) Outstanding() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.offer != nil && p.offer.Outstanding(p.o.Now())
}

// Accept judges a caller's proof and pins its key before it is answered.
func (p *Desk) Accept(exporter []byte, caller peer.Fingerprint, q pairing.Request) (pairing.Response, error) {
	p.mu.Lock()
	offer := p.offer
	p.mu.Unlock()
	if offer == nil {
		return pairing.Response{}, pairing.ErrUsed
	}
	answer, err := offer.Accept(p.o.Now(), exporter, caller, q)
	if err != nil {
		p.o.Log.Warn().Err(err).Str("caller", caller.String()).Msg("a pairing was refused")
		return pairing.Response{}, err
	}
	if _, err := p.pin(policy.Peer{Name: q.Node, Address: q.Address, Key: caller.String()}); err != nil {
		return pairing.Response{}, err
	}
	return answer, nil
}

// Redeem takes another node's token to it and pins that node.
func (p *Desk) Redeem(ctx context.Context, r control.PairAcceptRequest) (control.PairAcceptResponse, error) {
	token, err := pairing.ParseToken(strings.TrimSpace(r.Token))
	if err != nil {
		return control.PairAcceptResponse{}, err
	}
	c := client.New(client.Options{
		Identity: p.o.Identity, Key: token.Issuer, Address: token.Address, Dial: p.o.Dial, Now: p.o.Now, Log: p.o.Log,
	})
	defer c.Close()
	own := p.o.Advertised()
	if r.Reverse {
		own = ""
	}
	answer, err := c.Pair(ctx, token, p.o.Config().Node, own)
	if errors.Is(err, wire.ErrUnknown) {
		return control.PairAcceptResponse{}, &control.Error{
			Kind: control.KindRefused, Object: token.Address, Text: "no token is outstanding there: this one was used, or its time is over",
			Next: "run `antipode pair` there for a new one",
		}
	}
	if err != nil {
		return control.PairAcceptResponse{}, err
	}
	pinned := policy.Peer{Name: answer.Node, Address: token.Address, Key: token.Issuer.String(), Reverse: r.Reverse}
	file, err := p.pin(pinned)
	return control.PairAcceptResponse{Peer: pinned.Name, Address: pinned.Address, Key: pinned.Key, File: file}, err
}

// pin writes the peer beside the operator's file, never into it, and puts it in
// force.
func (p *Desk) pin(n policy.Peer) (string, error) {
	cfg := p.o.Config()
	if known, ok := cfg.Peer(n.Name); ok && known.Key == n.Key {
		return cfg.Path, nil // the operator has written it already
	}
	dir := config.PeersPath(cfg.Path)
	if err := contradiction(cfg, n); err != nil {
		return "", fmt.Errorf("pin %s: %w", n.Name, err)
	}
	if err := config.WritePeer(dir, n); err != nil {
		return "", fmt.Errorf("pin %s: %w", n.Name, err)
	}
	file := filepath.Join(dir, n.Name+".toml")
	p.o.Record(ledger.Batch{Events: []ledger.Event{{At: p.o.Now(), Kind: "paired", Peer: n.Name, Text: n.Key}}})
	if err := p.o.Reload(); err != nil {
		return file, fmt.Errorf("the peer is written to %s, but the configuration was not put in force: %w", file, err)
	}
	return file, nil
}

// contradiction refuses what the configuration in force says otherwise: written
// down, it would keep the daemon from its next start.
func contradiction(cfg *config.Config, n policy.Peer) error {
	for _, known := range cfg.Peers {
		switch {
		case known.Name == n.Name && known.Key != n.Key:
			return fmt.Errorf("%w: a peer of that name is pinned to key %s, and this is key %s; if that machine was given a new key, "+
				"take the old one out of its [[peer]] or its file in %s, reload, and pair again",
				dataset.ErrRefused, known.Key, n.Key, config.PeersPath(cfg.Path))
		case known.Name != n.Name && known.Key == n.Key:
			return fmt.Errorf("%w: this key is pinned already, as that of peer %s; rename that peer, or the node, and pair again", dataset.ErrRefused, known.Name)
		}
	}
	return nil
}
