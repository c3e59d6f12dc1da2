package client_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"antipode/fsdrivers/dataset"
	"antipode/transport/client"
	"antipode/transport/peer"
	"antipode/transport/server"
	"antipode/transport/shape"
	"antipode/transport/transporttest"
	"antipode/transport/wire"
)

const (
	address = "sin1:8771"
	kib     = 1 << 10
	mib     = 1 << 20
)

// target is a backend that keeps what it receives in memory.
type target struct {
	mu        sync.Mutex
	got       map[string][]byte // by snapshot id
	receives  int
	ended     []error
	receiving func(open wire.Open, r io.Reader) (io.Reader, error) // may replace the reader or refuse
	publish   func(ctx context.Context) error                      // between the last byte and the answer
	asked     int
}

func newTarget() *target { return &target{got: map[string][]byte{}} }

func (b *target) Hello(_ context.Context, peer string) (wire.Hello, error) {
	return wire.Hello{Version: wire.Version, Software: "test", Node: "sin1 for " + peer, Now: time.Now()}, nil
}

func (b *target) Tips(context.Context, string, wire.TipsRequest) (wire.Tips, error) {
	return wire.Tips{Now: time.Now(), Same: true}, nil
}

func (b *target) Inventory(_ context.Context, _ string, q wire.InventoryRequest) (wire.Inventory, error) {
	v := wire.Inventory{Now: time.Now()}
	for _, d := range q.Datasets {
		v.Replicas = append(v.Replicas, wire.Replica{Path: d.Dataset.Path})
	}
	return v, nil
}

func (b *target) Receive(ctx context.Context, peer string, open wire.Open, r io.Reader) (wire.Committed, error) {
	b.mu.Lock()
	b.receives++
	b.mu.Unlock()
	data, err := b.read(open, r)
	if err == nil && b.publish != nil {
		err = b.publish(ctx)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = append(b.ended, err)
	if err != nil {
		return wire.Committed{}, fmt.Errorf("receive %s: %w", open.Step.Dataset.Path, err)
	}
	b.got[peer+string(open.Step.To.ID)] = data
	return wire.Committed{Published: true, Snapshot: open.Step.To}, nil
}

func (b *target) read(open wire.Open, r io.Reader) ([]byte, error) {
	if b.receiving != nil {
		var err error
		if r, err = b.receiving(open, r); err != nil {
			return nil, err
		}
	}
	return io.ReadAll(r)
}

func (b *target) Committed(_ context.Context, peer string, q wire.CommitQuery) (wire.Committed, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked++
	if _, ok := b.got[peer+string(q.Step.To.ID)]; !ok {
		return wire.Committed{}, nil
	}
	return wire.Committed{Published: true, Snapshot: q.Step.To}, nil
}

func (b *target) has(peer string, open wire.Open) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.got[peer+string(open.Step.To.ID)]
}

func (b *target) lastEnd() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.ended) == 0 {
		return errors.New("no receive has ended")
	}
	return b.ended[len(b.ended)-1]
}

// pair is a server and its network; it lives in a synctest bubble.
type pair struct {
	t        *testing.T
	net      *transporttest.Net
	target   *target
	server   *server.Server
	key      peer.Fingerprint
	fra, ams peer.Identity
	opts     server.Options
	stop     func()
}

func identity(t *testing.T) peer.Identity {
	t.Helper()
	id, err := peer.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// newPair starts a server that knows fra1 and ams1; change may alter it.
func newPair(t *testing.T, change func(*server.Options)) *pair {
	t.Helper()
	p := &pair{t: t, net: transporttest.New(), target: newTarget(), fra: identity(t), ams: identity(t)}
	own := identity(t)
	p.key = own.Fingerprint()
	p.opts = server.Options{
		Identity: own, Backend: p.target, Log: zerolog.Nop(),
		Peers: func(f peer.Fingerprint) (string, bool) {
			name, ok := map[peer.Fingerprint]string{p.fra.Fingerprint(): "fra1", p.ams.Fingerprint(): "ams1"}[f]
			return name, ok
		},
	}
	if change != nil {
		change(&p.opts)
	}
	p.start()
	t.Cleanup(func() { p.stop() })
	return p
}

// start runs a new daemon: it knows nothing of the one before.
func (p *pair) start() {
	p.server = server.New(p.opts)
	ln, err := p.net.Listen(address)
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- p.server.Serve(ctx, ln) }()
	p.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			p.t.Errorf("Serve: %v", err)
		}
	})
}

func (p *pair) client(change func(*client.Options)) *client.Client {
	o := client.Options{
		Identity: p.fra, Key: p.key, Address: address, Log: zerolog.Nop(),
		Dial: func(ctx context.Context, a string) (net.Conn, error) { return p.net.DialContext(ctx, "tcp", a) },
	}
	if change != nil {
		change(&o)
	}
	c := client.New(o)
	p.t.Cleanup(c.Close)
	return c
}

// opening announces a new incarnation of a step named by name.
func opening(name string) wire.Open {
	var b [16]byte
	rand.Read(b[:])
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return wire.Open{
		Step: dataset.Step{
			Job: "db", Dataset: dataset.Dataset{Path: "/data/" + dataset.Path(name), ID: "d1"},
			To: dataset.Snapshot{Name: "antipode_" + name, ID: dataset.ID(hex.EncodeToString([]byte(name))), Created: at, Retain: at},
		},
		Driver: "btrfs", Incarnation: hex.EncodeToString(b[:]), ChunkBytes: wire.MinChunk,
	}
}

// content is n bytes that differ from chunk to chunk.
func content(n int) []byte {
	b := make([]byte, n)
	r := mrand.New(mrand.NewPCG(1, uint64(n)))
	for i := range b {
		b[i] = byte(r.Uint64())
	}
	return b
}

func (p *pair) mustHave(open wire.Open, want []byte) {
	p.t.Helper()
	if got := p.target.has("fra1", open); !bytes.Equal(got, want) {
		p.t.Errorf("target has %d bytes, want %d equal ones", len(got), len(want))
	}
}

// plainReader hides all but Read.
func plainReader(b []byte) io.Reader { return struct{ io.Reader }{bytes.NewReader(b)} }

func TestSendWhole(t *testing.T) {
	for _, tc := range []struct {
		name string
		size int
	}{
		{"nothing", 0},
		{"one byte", 1},
		{"one byte below a chunk", wire.MinChunk - 1},
		{"exactly one chunk", wire.MinChunk},
		{"one byte above a chunk", wire.MinChunk + 1},
		{"a whole number of chunks", 8 * wire.MinChunk},
		{"many chunks", 5*mib + 12345},
		{"more than the windows", 64 * mib},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t, nil)
				open, want := opening("db"), content(tc.size)
				var last client.Progress
				got, err := p.client(nil).Send(t.Context(), open, plainReader(want), func(p client.Progress) { last = p })
				if err != nil {
					t.Fatalf("Send: %v", err)
				}
				if !got.Published || got.Snapshot.ID != open.Step.To.ID {
					t.Errorf("Send answered %+v, want the published snapshot", got)
				}
				p.mustHave(open, want)
				if last.Acked != int64(tc.size) || last.Wire < int64(tc.size) {
					t.Errorf("progress says %+v, want %d bytes", last, tc.size)
				}
				if p.target.receives != 1 {
					t.Errorf("%d receives, want 1", p.target.receives)
				}
			})
		})
	}
}

// A step in one request takes as long as its bytes; only silence ends it.
func TestSendWholeOverASlowLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, func(o *server.Options) {
			o.WaitForLink = func(wire.Open) time.Duration { return time.Minute }
		})
		slow := shape.NewBudget(nil)
		slow.SetRate(4 * kib)
		c := p.client(func(o *client.Options) { o.Budget, o.WaitForLink = slow, 10*time.Minute })
		open, want := opening("db"), content(wire.MaxChunk-1)
		open.ChunkBytes = wire.MaxChunk
		began := time.Now()
		if _, err := c.Send(t.Context(), open, plainReader(want), nil); err != nil {
			t.Fatalf("Send: %v", err)
		}
		if took := time.Since(began); took < 4*time.Minute || took > 5*time.Minute {
			t.Errorf("it took %v, want 256 s at 4 KiB/s", took)
		}
		p.mustHave(open, want)
	})
}

func TestCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, nil)
		c := p.client(nil)
		h, err := c.Hello(t.Context())
		if err != nil || h.Node != "sin1 for fra1" {
			t.Errorf("Hello = %+v, %v; want node of sin1 as fra1 sees it", h, err)
		}
		q := wire.InventoryRequest{Job: "db", Driver: "btrfs", Datasets: []wire.InventoryAsk{{Dataset: dataset.Dataset{Path: "/data/db", ID: "d1"}}}}
		v, err := c.Inventory(t.Context(), q)
		if err != nil || len(v.Replicas) != 1 || v.Replicas[0].Path != "/data/db" {
			t.Errorf("Inventory = %+v, %v", v, err)
		}
		q.Datasets = nil
		if _, err := c.Inventory(t.Context(), q); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("empty inventory request: %v, want %v", err, wire.ErrMalformed)
		}
		open := opening("db")
		cm, err := c.Commit(t.Context(), wire.CommitQuery{Step: open.Step, Driver: "btrfs"})
		if err != nil || cm.Published {
			t.Errorf("Commit = %+v, %v; want unpublished", cm, err)
		}
		if err := c.Abort(t.Context(), open.Incarnation); err != nil {
			t.Errorf("Abort of what is not there: %v", err)
		}
	})
}

func TestKeysThatAreNotKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, nil)
		began := time.Now()
		stranger := identity(t)
		_, err := p.client(func(o *client.Options) { o.Identity = stranger }).Hello(t.Context())
		if _, ok := errors.AsType[*peer.RefusedError](err); !ok {
			t.Errorf("stranger's Hello: %v, want a RefusedError", err)
		}
		_, err = p.client(func(o *client.Options) { o.Key = stranger.Fingerprint() }).Hello(t.Context())
		if _, ok := errors.AsType[*peer.MismatchError](err); !ok {
			t.Errorf("Hello to another key: %v, want a MismatchError", err)
		}
		_, err = p.client(func(o *client.Options) { o.Key = stranger.Fingerprint() }).Send(t.Context(), opening("db"), plainReader(content(mib)), nil)
		if err == nil || !strings.Contains(err.Error(), "antipode identity") {
			t.Errorf("Send to another key: %v, want what to do", err)
		}
		if d := time.Since(began); d > 5*time.Second {
			t.Errorf("it took %s: a wrong key was tried again", d)
		}
	})
}
