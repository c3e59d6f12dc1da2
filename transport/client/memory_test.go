package client_test

import (
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"antipode/transport/client"
	"antipode/transport/server"
	"antipode/transport/stripe"
	"antipode/transport/wire"
)

// Transfers whose driver takes nothing must not hold a whole window each.
func TestWindowsShareTheMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const transfers = 16
		p := newPair(t, func(o *server.Options) { o.Window, o.Memory = 4*mib, 8*mib })
		p.target.receiving = func(_ wire.Open, r io.Reader) (io.Reader, error) {
			<-time.After(2 * time.Minute)
			return r, nil
		}
		c := p.client(func(o *client.Options) { o.Memory = stripe.NewShare(8 * mib) })
		var sends sync.WaitGroup
		for i := range transfers {
			open, want := opening(fmt.Sprintf("db%d", i)), content(6*mib)
			sends.Go(func() {
				if _, err := c.Send(t.Context(), open, plainReader(want), nil); err != nil {
					t.Errorf("Send: %v", err)
				}
				p.mustHave(open, want)
			})
		}
		<-time.After(time.Minute)
		var held int64
		for _, s := range p.server.Transfers() {
			held += s.Received
		}
		// The k-th was granted its part while there were k: 4 + 4 + 8/3 + ... + 8/16.
		if held > 24*mib || held < 8*mib {
			t.Errorf("%d transfers hold %d MiB, want 8 to 24, not 4 each", transfers, held/mib)
		}
		sends.Wait()
	})
}
