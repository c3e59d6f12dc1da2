package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"antipode/fsdrivers/dataset"
	"antipode/transport/client"
	"antipode/transport/server"
	"antipode/transport/shape"
	"antipode/transport/transporttest"
	"antipode/transport/wire"
)

// slowReader lets virtual time pass between reads, so that faults come in mid
// stream.
type slowReader struct {
	r     io.Reader
	pause time.Duration
}

func (s slowReader) Read(p []byte) (int, error) {
	<-time.After(s.pause)
	return s.r.Read(p[:min(len(p), 64*kib)])
}

// slowly reads b at 64 KiB each 10 ms.
func slowly(b []byte) io.Reader { return slowReader{bytes.NewReader(b), 10 * time.Millisecond} }

// during runs f beside the test; the bubble waits for it.
func during(t *testing.T, after time.Duration, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		<-time.After(after)
		f()
	}()
	t.Cleanup(func() { <-done })
}

func TestSendThroughFaults(t *testing.T) {
	for _, tc := range []struct {
		name  string
		fault func(t *testing.T, n *transporttest.Net)
		most  int64 // bytes sent at most, beside the content; 0 is the in-flight of all lanes, twice
	}{
		{"every connection is cut at a random byte", func(_ *testing.T, n *transporttest.Net) {
			r := mrand.New(mrand.NewPCG(7, 7))
			var mu sync.Mutex
			n.OnConnect(func(l *transporttest.Link) {
				mu.Lock()
				defer mu.Unlock()
				if l.Number() < 40 {
					l.CutAfter(transporttest.ToListener, 1+r.Int64N(900*kib))
				}
			})
		}, 40 * mib},
		{"every answer is cut at a random byte", func(_ *testing.T, n *transporttest.Net) {
			r := mrand.New(mrand.NewPCG(8, 8))
			var mu sync.Mutex
			n.OnConnect(func(l *transporttest.Link) {
				mu.Lock()
				defer mu.Unlock()
				if l.Number() < 30 {
					l.CutAfter(transporttest.ToCaller, 1+r.Int64N(4*kib))
				}
			})
		}, 40 * mib},
		{"bytes are corrupted on the wire", func(_ *testing.T, n *transporttest.Net) {
			n.OnConnect(func(l *transporttest.Link) {
				if l.Number()%3 == 0 && l.Number() < 20 {
					l.CorruptAt(transporttest.ToListener, 300*kib)
				}
			})
		}, 20 * mib},
		{"all connections are cut", func(t *testing.T, n *transporttest.Net) {
			during(t, 200*time.Millisecond, n.CutAll)
		}, 0},
		{"the link is down for ten minutes and connections stall", func(t *testing.T, n *transporttest.Net) {
			during(t, 200*time.Millisecond, func() { n.Down(transporttest.Outage{}) })
			during(t, 10*time.Minute, n.Up)
		}, 0},
		{"the link is down for ten minutes and connections are reset", func(t *testing.T, n *transporttest.Net) {
			during(t, 200*time.Millisecond, func() { n.Down(transporttest.Outage{Refuse: true, Reset: true}) })
			during(t, 10*time.Minute, n.Up)
		}, 0},
		{"one lane stalls for ever", func(_ *testing.T, n *transporttest.Net) {
			n.OnConnect(func(l *transporttest.Link) {
				if l.Number() == 3 {
					l.StallAfter(transporttest.ToListener, 300*kib)
				}
			})
		}, 0},
		{"all but one lane stall for ever", func(_ *testing.T, n *transporttest.Net) {
			n.OnConnect(func(l *transporttest.Link) {
				if l.Number() > 2 && l.Number() < 6 {
					l.StallAfter(transporttest.ToListener, 300*kib)
				}
			})
		}, 0},
		{"progress stalls", func(_ *testing.T, n *transporttest.Net) {
			n.OnConnect(func(l *transporttest.Link) {
				if l.Number() < 7 {
					l.StallAfter(transporttest.ToCaller, 6*kib)
				}
			})
		}, 8 * mib},
		{"the path is long", func(_ *testing.T, n *transporttest.Net) { n.SetLatency(100 * time.Millisecond) }, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t, nil)
				tc.fault(t, p.net)
				open, want := opening("db"), content(8*mib)
				began := time.Now()
				var last client.Progress
				if _, err := p.client(nil).Send(t.Context(), open, slowly(want), func(p client.Progress) { last = p }); err != nil {
					t.Fatalf("Send: %v", err)
				}
				p.mustHave(open, want)
				// The source takes 1.3 s; a stall is found out after 15 s, before
				// the target's 30 s would.
				if d := time.Since(began); tc.name == "one lane stalls for ever" && d > 20*time.Second {
					t.Errorf("it took %s", d)
				}
				most := tc.most
				if most == 0 {
					// In flight: what lies in a connection's buffer or in the
					// frame being written, on four lanes.
					most = 2 * 4 * 2 * wire.MinChunk
				}
				if again := last.Wire - int64(len(want)); again > most {
					t.Errorf("%d bytes were sent beside the content, want at most %d", again, most)
				}
				if p.target.receives != 1 {
					t.Errorf("%d receives, want 1", p.target.receives)
				}
			})
		})
	}
}

// Every position of a cut in a short transfer, on whichever connection.
func TestSendCutAtManyBytes(t *testing.T) {
	want := content(2*wire.MinChunk + 777)
	for at := int64(1); at < 300*kib; at += 4999 {
		synctest.Test(t, func(t *testing.T) {
			p := newPair(t, nil)
			p.net.OnConnect(func(l *transporttest.Link) {
				if l.Number() <= 6 {
					l.CutAfter(transporttest.ToListener, at)
				}
			})
			open := opening("db")
			if _, err := p.client(nil).Send(t.Context(), open, plainReader(want), nil); err != nil {
				t.Fatalf("cut at %d: Send: %v", at, err)
			}
			p.mustHave(open, want)
		})
	}
}

func TestReceiverErrorReachesSender(t *testing.T) {
	for _, tc := range []struct {
		name string
		size int
		err  error
		want error
	}{
		{"disk full in mid stream", 20 * mib, &dataset.SpaceError{Where: "/backup", Free: 5, Need: 9}, dataset.ErrNoSpace},
		{"gate in mid stream", 20 * mib, dataset.ErrRefused, dataset.ErrRefused},
		{"disk full in one request", 1000, &dataset.SpaceError{Where: "/backup", Free: 5}, dataset.ErrNoSpace},
		{"base missing at once", 20 * mib, dataset.ErrBaseMissing, dataset.ErrBaseMissing},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t, nil)
				p.target.receiving = func(_ wire.Open, r io.Reader) (io.Reader, error) {
					if tc.size < mib || errors.Is(tc.err, dataset.ErrBaseMissing) {
						return nil, tc.err
					}
					return io.MultiReader(io.LimitReader(r, 3*mib), errReader{tc.err}), nil
				}
				_, err := p.client(nil).Send(t.Context(), opening("db"), slowly(content(tc.size)), nil)
				if !errors.Is(err, tc.want) {
					t.Fatalf("Send: %v, want %v", err, tc.want)
				}
				if s, ok := errors.AsType[*dataset.SpaceError](tc.err); ok {
					got, ok := errors.AsType[*dataset.SpaceError](err)
					if !ok || *got != *s {
						t.Errorf("evidence = %+v, want %+v", got, s)
					}
				}
				if len(p.server.Transfers()) != 0 {
					t.Errorf("transfers = %+v, want none", p.server.Transfers())
				}
			})
		})
	}
}

type errReader struct{ err error }

func (e errReader) Read([]byte) (int, error) { return 0, e.err }

func TestSourceFailure(t *testing.T) {
	for _, tc := range []struct {
		name string
		src  io.Reader
		want error
	}{
		{"error in mid stream", io.MultiReader(slowly(content(3*mib)), errReader{dataset.ErrCut}), dataset.ErrCut},
		{"error in the first chunk", io.MultiReader(slowly(content(10)), errReader{dataset.ErrCut}), dataset.ErrCut},
		{"an unexpected end is no end", io.MultiReader(slowly(content(3*mib)), errReader{io.ErrUnexpectedEOF}), io.ErrUnexpectedEOF},
		{"an unexpected end in the first chunk", io.MultiReader(slowly(content(10)), errReader{io.ErrUnexpectedEOF}), io.ErrUnexpectedEOF},
		{"a wrapped end is no end", io.MultiReader(slowly(content(3*mib)), errReader{fmt.Errorf("pipe: %w", io.EOF)}), io.EOF},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t, nil)
				open := opening("db")
				_, err := p.client(nil).Send(t.Context(), open, tc.src, nil)
				if !errors.Is(err, tc.want) {
					t.Errorf("Send: %v, want %v", err, tc.want)
				}
				synctest.Wait()
				if p.target.has("fra1", open) != nil {
					t.Error("the target published a stream that was cut")
				}
				if p.target.receives > 0 && !errors.Is(p.target.lastEnd(), wire.ErrAborted) {
					t.Errorf("receive ended with %v, want %v", p.target.lastEnd(), wire.ErrAborted)
				}
			})
		})
	}
}

// A source that hangs must not keep Send from returning, nor a cancelled one.
func TestCancelWhileSourceHangs(t *testing.T) {
	for _, early := range []bool{true, false} {
		t.Run(fmt.Sprintf("before the first chunk is whole: %v", early), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t, nil)
				r, w := io.Pipe()
				n := 3 * mib
				if early {
					n = 1000
				}
				during(t, 0, func() { w.Write(content(n)) })
				ctx, cancel := context.WithCancelCause(t.Context())
				why := errors.New("somebody said so")
				during(t, time.Minute, func() { cancel(why) })
				began := time.Now()
				_, err := p.client(nil).Send(ctx, opening("db"), r, nil)
				if !errors.Is(err, why) && !errors.Is(err, context.Canceled) {
					t.Errorf("Send: %v, want %v", err, why)
				}
				if d := time.Since(began); d > time.Minute+5*time.Second {
					t.Errorf("Send returned after %s", d)
				}
				synctest.Wait()
				if len(p.server.Transfers()) != 0 {
					t.Errorf("the target still waits: %+v", p.server.Transfers())
				}
			})
		})
	}
}

func TestWaitForLinkEnds(t *testing.T) {
	t.Run("on both sides", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := newPair(t, func(o *server.Options) {
				o.WaitForLink = func(wire.Open) time.Duration { return 3 * time.Minute }
			})
			during(t, 200*time.Millisecond, func() { p.net.Down(transporttest.Outage{}) })
			began := time.Now()
			c := p.client(func(o *client.Options) { o.WaitForLink = 5 * time.Minute })
			_, err := c.Send(t.Context(), opening("db"), slowly(content(20*mib)), nil)
			if !errors.Is(err, wire.ErrLinkWait) {
				t.Errorf("Send: %v, want %v", err, wire.ErrLinkWait)
			}
			if d := time.Since(began); d < 5*time.Minute || d > 6*time.Minute {
				t.Errorf("Send returned after %s, want 5 minutes", d)
			}
			if !errors.Is(p.target.lastEnd(), wire.ErrLinkWait) {
				t.Errorf("receive ended with %v, want %v", p.target.lastEnd(), wire.ErrLinkWait)
			}
			p.net.Up()
		})
	})
	t.Run("not once the stream is whole", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := newPair(t, func(o *server.Options) {
				o.WaitForLink = func(wire.Open) time.Duration { return time.Minute }
			})
			p.target.publish = func(ctx context.Context) error {
				p.net.Down(transporttest.Outage{})
				select {
				case <-time.After(20 * time.Minute):
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			during(t, 30*time.Minute, p.net.Up)
			open, want := opening("db"), content(3*mib)
			if _, err := p.client(nil).Send(t.Context(), open, slowly(want), nil); err != nil {
				t.Errorf("Send: %v", err)
			}
			p.mustHave(open, want)
		})
	})
}

func TestEndTransfersWhileLinkIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, nil)
		open := opening("db")
		during(t, 200*time.Millisecond, func() { p.net.Down(transporttest.Outage{}) })
		during(t, 10*time.Minute, func() {
			states := p.server.Transfers()
			if len(states) != 1 || states[0].WaitingSince.IsZero() || states[0].Received == 0 || states[0].Peer != "fra1" {
				t.Errorf("Transfers = %+v, want one that waits", states)
			}
			if silent := time.Since(states[0].Spoke); silent < 9*time.Minute || silent > 10*time.Minute {
				t.Errorf("it has been silent for %s, want nearly 10 minutes", silent)
			}
			began := time.Now()
			why := fmt.Errorf("%w: it was promoted here", wire.ErrAborted)
			other := func(_ string, o wire.Open) bool { return o.Step.Dataset.Path == "/data/other" }
			this := func(peer string, o wire.Open) bool { return peer == "fra1" && o.Step.Dataset.Path == "/data/db" }
			if err := p.server.EndTransfers(t.Context(), why, other); err != nil || len(p.server.Transfers()) != 1 {
				t.Errorf("EndTransfers of another dataset: %v", err)
			}
			if err := p.server.EndTransfers(t.Context(), why, this); err != nil || len(p.server.Transfers()) != 0 {
				t.Errorf("EndTransfers: %v", err)
			}
			if d := time.Since(began); d != 0 {
				t.Errorf("EndTransfers took %s", d)
			}
			p.net.Up()
		})
		_, err := p.client(nil).Send(t.Context(), open, slowly(content(20*mib)), nil)
		if !errors.Is(err, wire.ErrAborted) || !strings.Contains(err.Error(), "it was promoted here") {
			t.Errorf("Send: %v, want the cause", err)
		}
	})
}

// A window that closed for long, with a reason, opens again.
func TestCreditClosesAndReopens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, func(o *server.Options) { o.Window = mib })
		p.target.receiving = func(_ wire.Open, r io.Reader) (io.Reader, error) {
			r.(server.Noticer).Notice(&dataset.SpaceError{Where: "/backup", Free: 1, Need: 2})
			<-time.After(time.Hour)
			r.(server.Noticer).Notice(nil)
			return r, nil
		}
		var notice error
		var held int64
		open, want := opening("db"), content(20*mib)
		_, err := p.client(nil).Send(t.Context(), open, plainReader(want), func(s client.Progress) {
			if s.Notice != nil {
				notice, held = s.Notice, max(held, s.Acked)
			}
		})
		if err != nil {
			t.Fatalf("Send: %v", err)
		}
		p.mustHave(open, want)
		if !errors.Is(notice, dataset.ErrNoSpace) {
			t.Errorf("notice = %v, want the space", notice)
		}
		if held > mib {
			t.Errorf("%d bytes were taken in while the window was closed, want at most %d", held, mib)
		}
	})
}

// The answer is lost with the daemon: the disk is asked.
func TestLostAnswerIsAskedFromTheDisk(t *testing.T) {
	for _, tc := range []struct {
		name      string
		size      int
		published bool
	}{
		{"published, striped", 3 * mib, true},
		{"not published, striped", 3 * mib, false},
		{"published, one request", 1000, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t, nil)
				open, want := opening("db"), content(tc.size)
				var once sync.Once
				p.target.publish = func(ctx context.Context) error {
					once.Do(func() {
						p.net.Down(transporttest.Outage{Reset: true, Refuse: true})
						if tc.published {
							p.target.mu.Lock()
							p.target.got["fra1"+string(open.Step.To.ID)] = want
							p.target.mu.Unlock()
						}
						go func() {
							p.stop()
							p.start()
							p.net.Up()
						}()
						<-ctx.Done()
					})
					return ctx.Err()
				}
				_, err := p.client(nil).Send(t.Context(), open, slowly(want), nil)
				if tc.published != (err == nil) || !tc.published && !errors.Is(err, wire.ErrUnknown) {
					t.Errorf("Send: %v, published %v", err, tc.published)
				}
			})
		})
	}
}

func TestNewIncarnationEndsTheOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, nil)
		first, second := opening("db"), opening("db")
		reaped := false
		p.target.receiving = func(o wire.Open, r io.Reader) (io.Reader, error) {
			if o.Incarnation == first.Incarnation {
				_, err := io.ReadAll(r)
				<-time.After(5 * time.Second) // its child takes its time to go
				reaped = true
				return nil, err
			}
			if !reaped {
				t.Error("the second receive runs beside the first")
			}
			return r, nil
		}
		var firstErr error
		during(t, 0, func() {
			_, firstErr = p.client(nil).Send(t.Context(), first, slowly(content(20*mib)), nil)
		})
		<-time.After(time.Second)
		want := content(5 * mib)
		if _, err := p.client(nil).Send(t.Context(), second, slowly(want), nil); err != nil {
			t.Errorf("second Send: %v", err)
		}
		p.mustHave(second, want)
		<-time.After(time.Minute)
		if !errors.Is(firstErr, wire.ErrSuperseded) {
			t.Errorf("first Send: %v, want %v", firstErr, wire.ErrSuperseded)
		}
	})
}

func TestTwoPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, nil)
		a, b := opening("db"), opening("db")
		wantA, wantB := content(5*mib), content(6*mib)
		during(t, 0, func() {
			c := p.client(func(o *client.Options) { o.Identity = p.ams })
			if err := c.Abort(t.Context(), a.Incarnation); err != nil {
				t.Errorf("Abort of another's: %v", err)
			}
			if _, err := c.Send(t.Context(), b, slowly(wantB), nil); err != nil {
				t.Errorf("Send of ams1: %v", err)
			}
		})
		if _, err := p.client(nil).Send(t.Context(), a, slowly(wantA), nil); err != nil {
			t.Errorf("Send of fra1: %v", err)
		}
		p.mustHave(a, wantA)
		<-time.After(time.Minute)
		if got := p.target.has("ams1", b); !bytes.Equal(got, wantB) {
			t.Errorf("ams1's: %d bytes, want %d equal ones", len(got), len(wantB))
		}
	})
}

// What is sent again after a cut costs the budget like anything else.
func TestBudgetHoldsWhateverIsRepeated(t *testing.T) {
	const bytesPerSecond = 512 * kib
	for _, size := range []int{1000 * kib, 5 * mib} {
		synctest.Test(t, func(t *testing.T) {
			p := newPair(t, nil)
			during(t, 700*time.Millisecond, p.net.CutAll)
			budget := shape.NewBudget(nil)
			budget.SetRate(bytesPerSecond)
			var last client.Progress
			c := p.client(func(o *client.Options) { o.Budget = budget })
			began := time.Now()
			if _, err := c.Send(t.Context(), opening("db"), plainReader(content(size)), func(p client.Progress) { last = p }); err != nil {
				t.Fatalf("Send: %v", err)
			}
			if most := bytesPerSecond*time.Since(began).Seconds()*1.02 + 8*kib; float64(last.Wire) > most || last.Wire < int64(size) {
				t.Errorf("%d bytes were sent of %d, the budget allowed %.0f", last.Wire, size, most)
			}
		})
	}
}
