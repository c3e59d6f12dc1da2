package pairing

import (
	"crypto/hmac"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"antipode/transport/peer"
)

const (
	// Lifetime of a token, by the issuer's clock.
	Lifetime = 10 * time.Minute
	// MaxAttempts is how many proofs may fail before a token is void.
	MaxAttempts = 5
)

const again = "make a new one with `antipode pair` on the node that issued it"

// Why a pairing fails. The texts are for the operator of either side.
var (
	ErrExpired         = errors.New("the pairing token has expired, it lives ten minutes: " + again)
	ErrUsed            = errors.New("the pairing token has been used, it serves once: " + again)
	ErrTooManyAttempts = errors.New("the pairing token is void after five failed attempts: make sure that nobody else knows it and " + again)
	ErrProof           = errors.New("the pairing proof is wrong: the token belongs to another pairing, or somebody sits in between: " + again)
)

// state of an Offer:
//
//	outstanding -> used       a proof was right
//	outstanding -> expired    Accept or Outstanding came too late
//	outstanding -> exhausted  MaxAttempts proofs were wrong
//
// The last three are final, also when the clock is set back.
type state int

const (
	outstanding state = iota
	used
	expired
	exhausted
)

func (s state) String() string {
	return [...]string{"outstanding", "used", "expired", "exhausted"}[s]
}

func (s state) err() error {
	return [...]error{nil, ErrUsed, ErrExpired, ErrTooManyAttempts}[s]
}

// Offer is the issuer's memory of one token. It is safe for concurrent use,
// and lives no longer than the process: a restart voids the token.
type Offer struct {
	token Token
	node  string

	mu       sync.Mutex // guards what follows
	state    state
	attempts int // wrong ones so far
}

// NewOffer makes a token of the node `node` with the key issuer, which the
// acceptor is to reach at address ("host:port").
func NewOffer(now time.Time, issuer peer.Fingerprint, node, address string) (*Offer, error) {
	if err := errors.Join(CheckNode(node), CheckAddress(address)); err != nil {
		return nil, fmt.Errorf("offer pairing: %w", err)
	}
	if _, err := issuer.Digest(); err != nil {
		return nil, fmt.Errorf("offer pairing: %w", err)
	}
	t := Token{Address: address, Issuer: issuer, Expires: now.Add(Lifetime)}
	if _, err := rand.Read(t.secret[:]); err != nil {
		return nil, fmt.Errorf("offer pairing: %w", err)
	}
	return &Offer{token: t, node: node}, nil
}

// Token is what the acceptor must be given.
func (o *Offer) Token() Token { return o.token }

// Outstanding tells whether the offer can still be accepted; while it cannot,
// the endpoint for it must not exist.
func (o *Offer) Outstanding(now time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.look(now) == outstanding
}

// Accept answers a request that came over the connection of exporter from the
// key acceptor, which TLS has proven. Without an error the offer is used up,
// and the caller pins acceptor under q.Node. ErrExpired, ErrUsed,
// ErrTooManyAttempts or ErrProof otherwise; a request that is malformed counts
// as an attempt too.
func (o *Offer) Accept(now time.Time, exporter []byte, acceptor peer.Fingerprint, q Request) (Response, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if s := o.look(now); s != outstanding {
		return Response{}, s.err()
	}
	if err := o.verify(exporter, acceptor, q); err != nil {
		return Response{}, o.failed(err)
	}
	r := Response{Version: Version, Node: o.node}
	p, err := o.token.responseProof(exporter, acceptor, q, r.Node)
	if err != nil {
		return Response{}, err
	}
	r.Proof = p
	o.become(used)
	return r, nil
}

func (o *Offer) verify(exporter []byte, acceptor peer.Fingerprint, q Request) error {
	if err := q.check(); err != nil {
		return err
	}
	if acceptor == o.token.Issuer || acceptor.IsZero() {
		return fmt.Errorf("the caller shows the issuer's key or none: %w", ErrProof)
	}
	if q.Node == o.node {
		return fmt.Errorf("%w: the caller's node name %q is also ours: give one of the two another `node`", ErrMessage, q.Node)
	}
	want, err := o.token.requestProof(exporter, acceptor, q)
	if err != nil {
		return err
	}
	if !hmac.Equal(want, q.Proof) {
		return ErrProof
	}
	return nil
}

func (o *Offer) failed(err error) error {
	o.attempts++
	if o.attempts >= MaxAttempts {
		o.become(exhausted)
	}
	return fmt.Errorf("pairing attempt %d of %d: %w", o.attempts, MaxAttempts, err)
}

// look returns the state at now; the caller holds mu.
func (o *Offer) look(now time.Time) state {
	if o.state == outstanding && !now.Before(o.token.Expires) {
		o.become(expired)
	}
	return o.state
}

// become is the only change of state; the caller holds mu.
func (o *Offer) become(s state) {
	if o.state != outstanding {
		panic(fmt.Sprintf("pairing: offer goes from %s to %s", o.state, s))
	}
	o.state = s
}
