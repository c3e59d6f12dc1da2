package client_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"antipode/transport/client"
	"antipode/transport/peer"
	"antipode/transport/peer/pairing"
	"antipode/transport/server"
	"antipode/transport/wire"
)

type offered struct{ offer *pairing.Offer }

func (o *offered) Outstanding() bool { return o.offer.Outstanding(time.Now()) }

func (o *offered) Accept(exporter []byte, caller peer.Fingerprint, q pairing.Request) (pairing.Response, error) {
	return o.offer.Accept(time.Now(), exporter, caller, q)
}

func TestPair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o offered
		p := newPair(t, func(s *server.Options) {
			offer, err := pairing.NewOffer(time.Now(), s.Identity.Fingerprint(), "sin1", "sin1.example:8771")
			if err != nil {
				t.Fatal(err)
			}
			o.offer = offer
			s.Pairing = &o
		})
		stranger := identity(t)
		c := p.client(func(o *client.Options) { o.Identity = stranger })
		wrong, err := pairing.NewOffer(time.Now(), p.key, "sin1", "sin1.example:8771")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Pair(t.Context(), wrong.Token(), "lon1", ""); !errors.Is(err, wire.ErrPairing) {
			t.Errorf("Pair by another token: %v, want %v", err, wire.ErrPairing)
		}
		r, err := c.Pair(t.Context(), o.offer.Token(), "lon1", "")
		if err != nil || r.Node != "sin1" {
			t.Errorf("Pair = %+v, %v; want sin1", r, err)
		}
		if _, err := c.Pair(t.Context(), o.offer.Token(), "lon1", ""); err == nil {
			t.Error("the token serves twice")
		}
	})
}
