package client_test

import (
	"bytes"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"antipode/transport/client"
	"antipode/transport/shape"
	"antipode/transport/squeeze"
)

// prose packs to less than half.
func prose(n int) []byte {
	noise := content(n / 8)
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%x the snapshot of the dataset was received and published by the peer\n", noise[i%(n/16)*4:][:4])
	}
	return b.Bytes()[:n]
}

func TestCompression(t *testing.T) {
	for _, tc := range []struct {
		name   string
		data   []byte
		idle   float64
		wanted bool
		rate   int64
		below  float64 // of what is put on the wire over what there is
		above  float64
	}{
		{"text over a slow link", prose(24 * mib), 2, true, mib, 0.75, 0},
		{"text, and no processor is idle", prose(12 * mib), 0, true, mib, 1.01, 1},
		{"text, and nobody wants it packed", prose(12 * mib), 2, false, mib, 1.01, 1},
		{"text over a link without a limit", prose(12 * mib), 2, true, 0, 1.1, 1},
		{"films over a slow link", content(12 * mib), 2, true, mib, 1.01, 1},
		{"a small step of text", prose(200 * kib), 0, true, 0, 0.6, 0},
		{"a small step of film", content(200 * kib), 0, true, 0, 1.01, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t, nil)
				budget := shape.NewBudget(nil)
				budget.SetRate(tc.rate)
				c := p.client(func(o *client.Options) {
					o.Budget, o.Coder = budget, squeeze.NewCoder()
					o.Idle, o.Compress = func() float64 { return tc.idle }, func() bool { return tc.wanted }
				})
				if _, err := c.Hello(t.Context()); err != nil {
					t.Fatal(err)
				}
				open := opening("db")
				open.ChunkBytes = 256 * kib
				var last client.Progress
				began := time.Now()
				if _, err := c.Send(t.Context(), open, plainReader(tc.data), func(p client.Progress) { last = p }); err != nil {
					t.Fatal(err)
				}
				p.mustHave(open, tc.data)
				if last.Acked != int64(len(tc.data)) {
					t.Errorf("%d bytes are acknowledged, want %d", last.Acked, len(tc.data))
				}
				if got := float64(last.Wire) / float64(len(tc.data)); got > tc.below || got < tc.above {
					t.Errorf("on the wire: got %.2f of what there was, want %.2f to %.2f; %s at the end", got, tc.above, tc.below, last.Packing)
				}
				if took := time.Since(began).Seconds(); tc.rate > 0 && float64(last.Wire) > (took+0.2)*float64(tc.rate)*1.02 {
					t.Errorf("the budget counts what is packed: %d bytes in %.1f s", last.Wire, took)
				}
			})
		})
	}
}

// Repetition and packing do not mix two chunks up.
func TestPackedOverABadLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, nil)
		for _, at := range []time.Duration{3, 5, 8} {
			during(t, at*time.Second, p.net.CutAll)
		}
		budget := shape.NewBudget(nil)
		budget.SetRate(mib)
		c := p.client(func(o *client.Options) {
			o.Budget, o.Coder, o.Idle = budget, squeeze.NewCoder(), func() float64 { return 4 }
		})
		open, want := opening("db"), prose(24*mib)
		if _, err := c.Send(t.Context(), open, plainReader(want), nil); err != nil {
			t.Fatal(err)
		}
		p.mustHave(open, want)
	})
}
