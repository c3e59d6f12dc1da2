package reverse_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"antipode/fsdrivers/dataset"
	"antipode/transport/client"
	"antipode/transport/peer"
	"antipode/transport/reverse"
	"antipode/transport/server"
	"antipode/transport/transporttest"
	"antipode/transport/wire"
)

// backend keeps what it receives, and says who asked.
type backend struct {
	server.Backend

	mu  sync.Mutex
	got map[string][]byte // by peer and dataset
}

func (b *backend) Hello(_ context.Context, peer string) (wire.Hello, error) {
	return wire.Hello{Version: wire.Version, Software: "test", Node: "sin1 for " + peer, Now: time.Now()}, nil
}

func (b *backend) Receive(_ context.Context, peer string, open wire.Open, r io.Reader) (wire.Committed, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return wire.Committed{}, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.got[peer+string(open.Step.Dataset.Path)] = data
	return wire.Committed{Published: true, Snapshot: open.Step.To}, nil
}

// pair is fra1, which listens and calls, and sin1, which dials and is called, in
// a synctest bubble. Nobody listens for sin1.
type pair struct {
	t          *testing.T
	net        *transporttest.Net
	fra, sin   peer.Identity
	pool       *reverse.Pool
	wanted     atomic.Bool
	target     *backend
	lender     *reverse.Lender
	open       atomic.Int64
	problem    atomic.Pointer[error]
	down       func() // ends fra1's server
	mu         sync.Mutex
	held       []net.Conn
	stopLender func()
}

const address = "fra1:8771"

func identity(t *testing.T) peer.Identity {
	t.Helper()
	id, err := peer.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func knows(name string, id peer.Identity) func(peer.Fingerprint) (string, bool) {
	return func(f peer.Fingerprint) (string, bool) { return name, f == id.Fingerprint() }
}

// run runs a test on a pair; the lender is not started.
func run(t *testing.T, test func(t *testing.T, p *pair)) {
	synctest.Test(t, func(t *testing.T) {
		p := &pair{t: t, net: transporttest.New(), fra: identity(t), sin: identity(t), target: &backend{got: map[string][]byte{}}}
		p.wanted.Store(true)
		p.pool = reverse.NewPool(func(name string, key peer.Fingerprint) bool {
			return p.wanted.Load() && name == "sin1" && key == p.sin.Fingerprint()
		})
		p.listen()
		inlet := reverse.NewInlet()
		serve(t, func(ctx context.Context) error {
			return server.New(server.Options{Identity: p.sin, Peers: knows("fra1", p.fra), Backend: p.target, Log: zerolog.Nop()}).ServeDialed(ctx, inlet)
		})
		p.lender = reverse.NewLender(reverse.Lending{
			Identity: p.sin, Key: p.fra.Fingerprint(), Inlet: inlet,
			Dial: func(ctx context.Context) (net.Conn, error) {
				c, err := p.net.Dial(ctx, address)
				if err != nil {
					return nil, err
				}
				return server.Eager(c), nil
			},
			Report: func(open int, problem error) {
				runtime.Gosched() // a report that another one may overtake
				p.open.Store(int64(open))
				p.problem.Store(&problem)
			},
		})
		test(t, p)
		p.stop()
	})
}

// serve runs f until the test ends.
func serve(t *testing.T, f func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- f(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// listen starts fra1's server.
func (p *pair) listen() {
	p.t.Helper()
	ln, err := p.net.Listen(address)
	if err != nil {
		p.t.Fatal(err)
	}
	fra := server.New(server.Options{Identity: p.fra, Peers: knows("sin1", p.sin), Log: zerolog.Nop(), Reversed: p.pool})
	p.down = serve(p.t, func(ctx context.Context) error { return fra.Serve(ctx, ln) })
}

func (p *pair) lend() {
	p.stopLender = serve(p.t, func(ctx context.Context) error { p.lender.Serve(ctx); return nil })
	after(time.Second)
}

// take is fra1's, which keeps what it takes until the end.
func (p *pair) take(ctx context.Context, key peer.Fingerprint) (net.Conn, error) {
	c, err := p.pool.Take(ctx, "sin1", key)
	if err == nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.held = append(p.held, c)
	}
	return c, err
}

// use takes so many connections and begins a request on each.
func (p *pair) use(n int) {
	p.t.Helper()
	for range n {
		c, err := p.take(p.t.Context(), p.sin.Fingerprint())
		if err != nil {
			p.t.Fatal(err)
		}
		if _, err := c.Write([]byte("G")); err != nil {
			p.t.Fatal(err)
		}
	}
}

func (p *pair) letGo() {
	for _, c := range p.held {
		_ = c.Close()
	}
}

func (p *pair) stop() {
	p.letGo()
	if p.stopLender != nil {
		p.stopLender()
	}
	p.down()
}

// after lets time pass and everything come to rest.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// client is fra1's, for sin1; all that it sends goes over connections it did not make.
func (p *pair) client() *client.Client {
	c := client.New(client.Options{
		Identity: p.fra, Key: p.sin.Fingerprint(), Address: "sin1", Log: zerolog.Nop(),
		Take: func(ctx context.Context) (net.Conn, error) { return p.pool.Take(ctx, "sin1", p.sin.Fingerprint()) },
		Dial: func(context.Context, string) (net.Conn, error) {
			return nil, errors.New("sin1 cannot be dialed")
		},
	})
	p.t.Cleanup(c.Close)
	return c
}

func (p *pair) lastProblem() error {
	if e := p.problem.Load(); e != nil {
		return *e
	}
	return nil
}

// raw dials fra1 as the test wishes, and returns what it is greeted with.
func (p *pair) raw(id peer.Identity) (*tls.Conn, byte, error) {
	p.t.Helper()
	below, err := p.net.Dial(p.t.Context(), address)
	if err != nil {
		return nil, 0, err
	}
	c := tls.Client(below, peer.ReverseConfig(id, p.fra.Fingerprint()))
	var b [1]byte
	_, err = io.ReadFull(c, b[:])
	return c, b[0], err
}

func opening(name string) wire.Open {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return wire.Open{
		Step: dataset.Step{
			Job: "db", Dataset: dataset.Dataset{Path: "/data/" + dataset.Path(name), ID: "d1"},
			To: dataset.Snapshot{Name: "antipode_" + name, ID: "0123456789abcdef", Created: at, Retain: at},
		},
		Driver: "btrfs", Incarnation: strings.Repeat("5", 32), ChunkBytes: wire.MinChunk,
	}
}

func TestAStreamReachesAPeerThatCannotBeDialed(t *testing.T) {
	for name, size := range map[string]int{"a small step": 1000, "over lanes": 20 << 20} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, p *pair) {
				p.net.SetLatency(20 * time.Millisecond)
				p.lend()
				want := bytes.Repeat([]byte("antipode"), size/8)
				open := opening("db")
				c := p.client()
				if _, err := c.Send(t.Context(), open, bytes.NewReader(want), nil); err != nil {
					t.Fatalf("Send: %v", err)
				}
				if got := p.target.got["fra1/data/db"]; !bytes.Equal(got, want) {
					t.Errorf("sin1 has %d bytes from fra1, want the %d that were sent", len(got), len(want))
				}
				h, err := c.Hello(t.Context())
				if err != nil || h.Node != "sin1 for fra1" {
					t.Errorf("Hello: got %q, %v, want the answer that fra1's pinned key is due", h.Node, err)
				}
				c.Close()
				after(3 * time.Minute)
				if got := p.pool.Idle("sin1"); got < 8 || got > 32 {
					t.Errorf("%d connections lie idle afterwards, want 8 to 32", got)
				}
			})
		})
	}
}

func TestALenderMakesUpForWhatIsTaken(t *testing.T) {
	run(t, func(t *testing.T, p *pair) {
		p.net.SetLatency(50 * time.Millisecond)
		p.lend()
		p.use(200)
		after(time.Second)
		if got := p.open.Load(); got != 232 {
			t.Errorf("%d connections are open, want the 200 that are in use and 32 more", got)
		}
		p.letGo()
		after(time.Second)
		if got := p.open.Load(); got < 8 || got > 32 {
			t.Errorf("%d connections are open when nobody uses them, want 8 to 32", got)
		}
	})
}

func TestALenderIsNotMadeToDialWithoutEnd(t *testing.T) {
	run(t, func(t *testing.T, p *pair) {
		p.lend()
		p.use(511)
		synctest.Wait()
		if got := p.net.Dials(); got > 512 {
			t.Errorf("sin1 dialed %d times for one peer that lets go of nothing, want 512 at most", got)
		}
	})
}

func TestWhatDiesIsReplacedAndAPeerThatIsAwayIsNotDialedInHaste(t *testing.T) {
	run(t, func(t *testing.T, p *pair) {
		p.lend()
		after(time.Minute)
		p.net.CutAll()
		after(2 * time.Second)
		if got := p.pool.Idle("sin1"); got != 8 {
			t.Fatalf("%d connections two seconds after all were cut, want 8 again", got)
		}
		p.net.Down(transporttest.Outage{Refuse: true, Reset: true})
		after(time.Second)
		before := p.net.Dials()
		after(time.Hour)
		if p.lastProblem() == nil || p.open.Load() != 0 {
			t.Errorf("an hour without a link: %d open, problem %v; want none and a problem", p.open.Load(), p.lastProblem())
		}
		p.net.Up()
		after(45 * time.Second)
		if got := p.pool.Idle("sin1"); got != 8 {
			t.Errorf("%d connections 45 s after the link is back, want 8", got)
		}
		if got := p.net.Dials() - before; got > 12 {
			t.Errorf("%d connections were made for the 8, want few more", got)
		}
		if err := p.lastProblem(); err != nil {
			t.Errorf("the problem stays: %v", err)
		}
	})
}

func TestAPeerThatHangsUpIsDialedEverLessOften(t *testing.T) {
	run(t, func(t *testing.T, p *pair) {
		p.net.OnConnect(func(l *transporttest.Link) {
			go func() {
				time.Sleep(time.Second)
				l.Cut()
			}()
		})
		p.lend()
		after(time.Hour)
		if got := p.net.Dials(); got > 400 {
			t.Errorf("%d dials in an hour to a peer that hangs up after a second, want few", got)
		}
		p.stopLender() // whoever is cut off last has no successor
		after(2 * time.Second)
	})
}

func TestWhoIsNotWantedIsToldSoAndLeftAlone(t *testing.T) {
	run(t, func(t *testing.T, p *pair) {
		p.wanted.Store(false)
		p.lend()
		after(10 * time.Minute)
		if err := p.lastProblem(); !errors.Is(err, reverse.ErrUnwanted) {
			t.Errorf("the problem is %v, want %v", err, reverse.ErrUnwanted)
		}
		if got := p.net.Dials(); got > 60 {
			t.Errorf("%d dials in ten minutes where none is wanted", got)
		}
		p.wanted.Store(true)
		after(time.Minute)
		if got := p.pool.Idle("sin1"); got != 8 {
			t.Fatalf("%d idle a minute after the reload there, want 8", got)
		}
		p.wanted.Store(false)
		p.pool.Review()
		after(time.Second)
		if got := p.pool.Idle("sin1"); got != 0 {
			t.Errorf("%d idle after the peer was dropped, want none", got)
		}
	})
}

func TestAnUnknownKeyGetsNoPlace(t *testing.T) {
	run(t, func(t *testing.T, p *pair) {
		if _, _, err := p.raw(identity(t)); !errors.As(peer.ExplainRefusal(err, ""), new(*peer.RefusedError)) {
			t.Errorf("a stranger is greeted with %v, want the refusal of its key", err)
		}
		after(time.Second)
		if got := p.pool.Idle("sin1"); got != 0 {
			t.Errorf("%d connections lie in the pool, want none", got)
		}
	})
}

func TestALenderTellsItsKeyFromAnothers(t *testing.T) {
	run(t, func(t *testing.T, p *pair) {
		p.down()
		synctest.Wait()
		p.fra = identity(t) // another machine answers at the address
		p.listen()
		p.lend()
		if err := p.lastProblem(); !errors.As(err, new(*peer.MismatchError)) {
			t.Errorf("the problem is %v, want that the key is another", err)
		}
	})
}

func TestAConnectionIsUsedForTheKeyThatItHasProvenOnly(t *testing.T) {
	run(t, func(t *testing.T, p *pair) {
		if _, greeting, err := p.raw(p.sin); greeting != 1 {
			t.Fatalf("greeted with %d, %v, want 1", greeting, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		c, err := p.take(ctx, identity(t).Fingerprint())
		if none, ok := errors.AsType[*reverse.NoneError](err); !ok || none.Peer != "sin1" {
			t.Errorf("Take for a new key: got %v, %v, want none", c, err)
		}
	})
}

func TestAFloodOfConnectionsIsBounded(t *testing.T) {
	run(t, func(t *testing.T, p *pair) {
		greetings := map[byte]int{}
		for range 200 {
			_, greeting, err := p.raw(p.sin)
			if err != nil {
				t.Fatal(err)
			}
			greetings[greeting]++
		}
		synctest.Wait()
		if greetings[1] != 64 || greetings[3] != 136 || p.pool.Idle("sin1") != 64 || len(p.net.Links()) > 200 {
			t.Errorf("of 200 connections %v were greeted so, %d idle; want 64 with 1, the others with 3", greetings, p.pool.Idle("sin1"))
		}
		p.net.CutAll()
		after(time.Second)
		if got := p.pool.Idle("sin1"); got != 0 {
			t.Errorf("%d idle after all were cut, want none", got)
		}
	})
}

func TestWhoSpeaksBeforeItIsAskedIsLetGo(t *testing.T) {
	run(t, func(t *testing.T, p *pair) {
		c, _, err := p.raw(p.sin)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte("HTTP/1.1 200 OK\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		after(time.Second)
		if got := p.pool.Idle("sin1"); got != 0 {
			t.Errorf("%d idle, want none: an answer that nobody asked for would be read as the next one's", got)
		}
	})
}

func TestATakerWaitsForTheNextConnection(t *testing.T) {
	run(t, func(t *testing.T, p *pair) {
		taken := make(chan error, 3)
		for range 3 {
			go func() {
				_, err := p.take(t.Context(), p.sin.Fingerprint())
				taken <- err
			}()
		}
		early, cancel := context.WithCancel(t.Context())
		go func() {
			_, err := p.take(early, p.sin.Fingerprint())
			taken <- err
		}()
		after(time.Minute)
		cancel()
		if err := <-taken; !errors.Is(err, context.Canceled) {
			t.Errorf("who gave up: got %v, want its cause", err)
		}
		p.lend()
		for range 3 {
			if err := <-taken; err != nil {
				t.Errorf("Take: %v", err)
			}
		}
	})
}

// Who proves its key and then says nothing, or what means nothing, keeps nobody
// waiting, and says why nothing comes of it.
func TestAPeerWithoutAGreetingIsGivenUp(t *testing.T) {
	for name, tc := range map[string]struct {
		says []byte
		want string
	}{
		"nothing":        {nil, "hear the peer's greeting"},
		"what is no one": {[]byte{9}, "greets with 9"},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, p *pair) {
				p.down()
				ln, err := p.net.Listen(address)
				if err != nil {
					t.Fatal(err)
				}
				p.down = func() { _ = ln.Close() }
				go func() {
					for {
						c, err := ln.Accept()
						if err != nil {
							return
						}
						go func() { _, _ = tls.Server(c, peer.ServerConfig(p.fra, knows("sin1", p.sin), nil)).Write(tc.says) }()
					}
				}()
				p.lend()
				after(20 * time.Second)
				if err := p.lastProblem(); err == nil || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("the problem is %v, want %q", err, tc.want)
				}
			})
		})
	}
}

func TestASilentPeerIsGivenUp(t *testing.T) {
	run(t, func(t *testing.T, p *pair) {
		p.net.OnConnect(func(l *transporttest.Link) { l.StallAfter(transporttest.ToCaller, 0) })
		p.lend()
		after(time.Minute)
		if p.lastProblem() == nil || p.open.Load() != 0 {
			t.Errorf("%d open, problem %v; want none and why", p.open.Load(), p.lastProblem())
		}
		p.net.CutAll()
	})
}
