package client_test

import (
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"antipode/transport/client"
	"antipode/transport/transporttest"
	"antipode/transport/wire"
)

const rtt = 40 * time.Millisecond

// look is what a kernel would tell of a connection in memory.
func look(c net.Conn) (client.Path, bool) {
	m, ok := c.(*transporttest.Conn)
	if !ok {
		return client.Path{}, false
	}
	return client.Path{RTT: rtt, MinRTT: rtt, Acked: uint64(m.Link().Delivered(transporttest.ToListener)), Congestion: "bbr"}, true
}

// A connection that is stuck, without a reset, is found out in the time of a few
// round trips and not in 15 s, and what it held goes by another.
func TestStuckLaneIsReplacedSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, nil)
		p.net.SetLatency(rtt / 2)
		var connections atomic.Int64
		p.net.OnConnect(func(l *transporttest.Link) {
			if connections.Add(1); l.Number() == 3 || l.Number() == 4 {
				l.StallAfter(transporttest.ToListener, 400*kib)
			}
		})
		open, want := opening("db"), content(24*mib)
		began := time.Now()
		var last client.Progress
		if _, err := p.client(func(o *client.Options) { o.Look = look }).Send(t.Context(), open, slowly(want), func(p client.Progress) { last = p }); err != nil {
			t.Fatalf("Send: %v", err)
		}
		p.mustHave(open, want)
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("it took %s, so that the stuck lanes were not noticed for long", took)
		}
		if again := last.Wire - int64(len(want)); again > 3*mib {
			t.Errorf("%d bytes were sent again for two lanes that held 1 MiB at most", again)
		}
	})
}

// A target that takes nothing for long is no stuck connection: nothing is dialled
// again, and nothing sent twice.
func TestClosedCreditIsNoStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, nil)
		p.net.SetLatency(rtt / 2)
		var connections atomic.Int64
		p.net.OnConnect(func(*transporttest.Link) { connections.Add(1) })
		p.target.receiving = func(_ wire.Open, r io.Reader) (io.Reader, error) {
			<-time.After(5 * time.Minute)
			return r, nil
		}
		open, want := opening("db"), content(48*mib)
		var last client.Progress
		if _, err := p.client(func(o *client.Options) { o.Look = look }).Send(t.Context(), open, plainReader(want), func(p client.Progress) { last = p }); err != nil {
			t.Fatalf("Send: %v", err)
		}
		p.mustHave(open, want)
		if n := connections.Load(); n > 8 {
			t.Errorf("%d connections were made", n)
		}
		if again := last.Wire - int64(len(want)); again > 64*kib {
			t.Errorf("%d bytes more than the content were sent", again)
		}
	})
}

// The lanes of a job are divided among its transfers, and the bound is never
// passed: what the transfers are of does not matter.
func TestTransfersShareTheLanes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const bound, transfers = 6, 3
		p := newPair(t, nil)
		p.net.SetLatency(rtt / 2)
		lossy := func(c net.Conn) (client.Path, bool) {
			path, ok := look(c)
			path.LossBased, path.Lost, path.Congestion = true, path.Acked, "cubic"
			return path, ok
		}
		c := p.client(func(o *client.Options) { o.Look, o.Lanes = lossy, bound })
		var sends sync.WaitGroup
		for i := range transfers {
			sends.Go(func() {
				open, want := opening(fmt.Sprint("db", i)), content(24*mib)
				if _, err := c.Send(t.Context(), open, plainReader(want), nil); err != nil {
					t.Errorf("Send: %v", err)
				}
				p.mustHave(open, want)
			})
		}
		done := make(chan struct{})
		go func() { sends.Wait(); close(done) }()
		most := 0
		for {
			select {
			case <-done:
				if most < bound {
					t.Errorf("%d lanes at most, so that the bound of %d was not reached", most, bound)
				}
				return
			case <-time.After(100 * time.Millisecond):
			}
			running := p.server.Transfers()
			lanes := 0
			for _, s := range running {
				lanes += s.Lanes
			}
			most = max(most, lanes)
			if len(running) == transfers && lanes > bound+transfers {
				t.Errorf("%d lanes, more than %d", lanes, bound)
			}
		}
	})
}

// With losses that keep each lane slow the number grows, while it runs, and all
// arrives in order.
func TestLanesGrowOnALossyPath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, nil)
		p.net.SetLatency(100 * time.Millisecond) // and 256 KiB in each connection: 1.3 MB/s
		lossy := func(c net.Conn) (client.Path, bool) {
			path, ok := look(c)
			path.RTT, path.MinRTT = 200*time.Millisecond, 200*time.Millisecond
			path.LossBased, path.Lost, path.Congestion = true, path.Acked, "cubic"
			return path, ok
		}
		var most int
		open, want := opening("db"), content(64*mib)
		open.ChunkBytes = mib
		during(t, 2*time.Second, func() {
			if running := p.server.Transfers(); len(running) != 1 || running[0].Open.ChunkBytes != 64*kib {
				t.Errorf("transfers: %+v, want one of chunks of 64 KiB", running)
			}
		})
		c := p.client(func(o *client.Options) { o.Look = lossy })
		if _, err := c.Hello(t.Context()); err != nil { // so that the path is known
			t.Fatal(err)
		}
		began := time.Now()
		if _, err := c.Send(t.Context(), open, plainReader(want), func(p client.Progress) { most = max(most, p.Lanes) }); err != nil {
			t.Fatalf("Send: %v", err)
		}
		p.mustHave(open, want)
		if took := time.Since(began); most < 32 || took > 10*time.Second {
			t.Errorf("%d lanes at most, in %s; 4 lanes take 13 s", most, took)
		}
	})
}
