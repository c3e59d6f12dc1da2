package transporttest_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"antipode/transport/transporttest"
)

const addr = "sin1:8771"

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// pair is a connection and the link below it.
type pair struct {
	net              *transporttest.Net
	link             *transporttest.Link
	caller, listener *transporttest.Conn
}

func connected(t *testing.T) pair {
	t.Helper()
	n := transporttest.New()
	l, err := n.Listen(addr)
	must(t, err)
	return connect(t, n, l)
}

func connect(t *testing.T, n *transporttest.Net, l net.Listener) pair {
	t.Helper()
	c, err := n.Dial(t.Context(), addr)
	must(t, err)
	s, err := l.Accept()
	must(t, err)
	caller := c.(*transporttest.Conn)
	return pair{net: n, link: caller.Link(), caller: caller, listener: s.(*transporttest.Conn)}
}

// result of a call that may block.
type result struct {
	text  string
	err   error
	after time.Duration // since it was started
}

// start runs f beside the test.
func start(f func() (string, error)) <-chan result {
	began, done := time.Now(), make(chan result, 1)
	go func() {
		text, err := f()
		done <- result{text, err, time.Since(began)}
	}()
	return done
}

func readAll(c io.Reader) func() (string, error) {
	return func() (string, error) {
		b, err := io.ReadAll(c)
		return string(b), err
	}
}

func read(c io.Reader) (string, error) {
	b := make([]byte, 1<<20)
	n, err := c.Read(b)
	return string(b[:n]), err
}

func pass(d time.Duration) { <-time.After(d) }

// pending tells whether nothing has come after everybody has come to rest.
func pending(t *testing.T, what string, done <-chan result) {
	t.Helper()
	synctest.Wait()
	select {
	case r := <-done:
		t.Errorf("%s: got %q, %v, want it to wait", what, r.text, r.err)
	default:
	}
}

func TestBytesArriveInOrderBothWays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := connected(t)
		long := strings.Repeat("0123456789", 100_000) // several buffers
		there, back := start(readAll(p.listener)), start(readAll(p.caller))
		for _, c := range []*transporttest.Conn{p.caller, p.listener} {
			go func() {
				if n, err := io.WriteString(c, long); n != len(long) || err != nil {
					t.Errorf("Write: got %d, %v, want %d", n, err, len(long))
				}
				must(t, c.CloseWrite())
			}()
		}
		for _, done := range []<-chan result{there, back} {
			if r := <-done; r.text != long || r.err != nil {
				t.Errorf("got %d bytes, %v, want the %d bytes that were sent, and EOF", len(r.text), r.err, len(long))
			}
		}
		for _, d := range []transporttest.Direction{transporttest.ToListener, transporttest.ToCaller} {
			if got := p.link.Carried(d); got != int64(len(long)) || p.net.Carried(d) != got {
				t.Errorf("carried %s: got %d and %d in all, want %d", d, got, p.net.Carried(d), len(long))
			}
		}
		if p.listener.LocalAddr().String() != addr || p.caller.RemoteAddr().String() != addr ||
			p.caller.LocalAddr().String() != p.listener.RemoteAddr().String() {
			t.Errorf("addresses do not fit: %v -> %v, %v -> %v",
				p.caller.LocalAddr(), p.caller.RemoteAddr(), p.listener.LocalAddr(), p.listener.RemoteAddr())
		}
	})
}

func TestBufferIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := transporttest.New()
		n.SetBuffer(10)
		l, err := n.Listen(addr)
		must(t, err)
		p := connect(t, n, l)
		done := start(func() (string, error) {
			_, err := io.WriteString(p.caller, "0123456789abc")
			return "", err
		})
		pending(t, "a write beyond the buffer", done)
		if got := p.link.Carried(transporttest.ToListener); got != 10 {
			t.Errorf("taken from the writer: got %d, want the buffer's 10", got)
		}
		if got, err := read(p.listener); got != "0123456789" || err != nil {
			t.Errorf("Read: got %q, %v", got, err)
		}
		if r := <-done; r.err != nil {
			t.Errorf("the write, once there is room: %v", r.err)
		}
	})
}

func TestHowAConnectionEnds(t *testing.T) {
	tests := []struct {
		name string
		end  func(t *testing.T, p pair)
		text string // what the listener still reads
		err  error  // behind it; nil is EOF
	}{
		{"closed by the caller", func(t *testing.T, p pair) { must(t, p.caller.Close()) }, "hello", nil},
		{"half-closed by the caller", func(t *testing.T, p pair) { must(t, p.caller.CloseWrite()) }, "hello", nil},
		{"closed by the listener", func(t *testing.T, p pair) { must(t, p.listener.Close()) }, "", net.ErrClosed},
		{"cut", func(_ *testing.T, p pair) { p.link.Cut() }, "", syscall.ECONNRESET},
		{"all cut", func(_ *testing.T, p pair) { p.net.CutAll() }, "", syscall.ECONNRESET},
		{"down with a reset", func(_ *testing.T, p pair) { p.net.Down(transporttest.Outage{Reset: true}) }, "", syscall.ECONNRESET},
		{"cut after what is written", func(_ *testing.T, p pair) { p.link.CutAfter(transporttest.ToListener, 5) }, "hello", syscall.ECONNRESET},
		{"cut before what is written", func(_ *testing.T, p pair) { p.link.CutAfter(transporttest.ToListener, 4) }, "", syscall.ECONNRESET},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := connected(t)
				_, err := io.WriteString(p.caller, "hello")
				must(t, err)
				tt.end(t, p)
				r := <-start(readAll(p.listener))
				if r.text != tt.text || !errors.Is(r.err, tt.err) {
					t.Errorf("the listener: got %q, %v, want %q, %v", r.text, r.err, tt.text, tt.err)
				}
			})
		})
	}
}

func TestUseAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := connected(t)
		reading := start(readAll(p.caller))
		pending(t, "a read with nothing to read", reading)
		must(t, p.caller.Close())
		if r := <-reading; !errors.Is(r.err, net.ErrClosed) {
			t.Errorf("a read that waited: got %v, want net.ErrClosed", r.err)
		}
		_, writeErr := p.caller.Write([]byte("x"))
		for what, err := range map[string]error{
			"write": writeErr, "close": p.caller.Close(), "half-close": p.caller.CloseWrite(), "deadline": p.caller.SetDeadline(time.Now()),
		} {
			if !errors.Is(err, net.ErrClosed) {
				t.Errorf("%s after close: got %v, want net.ErrClosed", what, err)
			}
		}
		if got := p.net.Links(); len(got) != 1 {
			t.Errorf("links with one end open: got %d, want 1", len(got))
		}
		if _, err := p.listener.Write([]byte("x")); err != nil {
			t.Errorf("first write to who has closed: got %v, want it swallowed as TCP does", err)
		}
		if _, err := p.listener.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("second write to who has closed: got %v, want EPIPE", err)
		}
		must(t, p.listener.Close())
		if got := p.net.Links(); len(got) != 0 {
			t.Errorf("links with both ends closed: got %d, want 0", len(got))
		}
	})
}

func TestCloseReachesAWriterThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := connected(t)
		writing := start(func() (string, error) {
			_, err := p.caller.Write(make([]byte, transporttest.DefaultBuffer+1))
			return "", err
		})
		pending(t, "a write to a full buffer", writing)
		must(t, p.listener.Close())
		if r := <-writing; !errors.Is(r.err, syscall.EPIPE) {
			t.Errorf("got %v, want EPIPE", r.err)
		}
	})
}

func TestCutAtAnExactByte(t *testing.T) {
	const size = 100
	for _, at := range []int64{0, 1, 42, size - 1, size} {
		for _, d := range []transporttest.Direction{transporttest.ToListener, transporttest.ToCaller} {
			synctest.Test(t, func(t *testing.T) {
				p := connected(t)
				from, to := p.caller, p.listener
				if d == transporttest.ToCaller {
					from, to = to, from
				}
				p.link.CutAfter(d, at)
				reading := start(readAll(to))
				waiting := start(func() (string, error) { return read(from) })
				n, err := from.Write(make([]byte, size))
				if wantErr := at < size; int64(n) != at || wantErr != errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("%s at %d: writer got %d, %v, want %d and a reset: %v", d, at, n, err, at, wantErr)
				}
				if r := <-reading; int64(len(r.text)) != at || !errors.Is(r.err, syscall.ECONNRESET) {
					t.Errorf("%s at %d: reader got %d bytes, %v, want %d and a reset", d, at, len(r.text), r.err, at)
				}
				if r := <-waiting; !errors.Is(r.err, syscall.ECONNRESET) {
					t.Errorf("%s at %d: the way back got %v, want a reset", d, at, r.err)
				}
				if _, err := to.Write([]byte("x")); !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("%s at %d: a write on the way back got %v, want a reset", d, at, err)
				}
				if got := p.net.Carried(d); got != at || len(p.net.Links()) != 0 {
					t.Errorf("%s at %d: carried %d, %d links open, want %d and none", d, at, got, len(p.net.Links()), at)
				}
			})
		}
	}
}

func TestCorruptionIsOneBit(t *testing.T) {
	tests := []struct {
		name string
		at   int64
		want string
	}{
		{"first byte", 0, "cbbbbbbbbb"},
		{"across writes", 7, "bbbbbbbcbb"},
		{"last byte", 9, "bbbbbbbbbc"},
		{"beyond the end", 10, "bbbbbbbbbb"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := connected(t)
				p.link.CorruptAt(transporttest.ToListener, tt.at)
				sent := []byte("bbbbb")
				for range 2 {
					_, err := p.caller.Write(sent)
					must(t, err)
				}
				must(t, p.caller.Close())
				got, err := readAll(p.listener)()
				if got != tt.want || err != nil || string(sent) != "bbbbb" {
					t.Errorf("got %q, %v, want %q and the writer's slice %q untouched", got, err, tt.want, sent)
				}
			})
		})
	}
}

func TestStalls(t *testing.T) {
	tests := []struct {
		name          string
		stall, resume func(p pair)
		text          string // what arrives during the stall
	}{
		{"one connection", func(p pair) { p.link.Stall() }, func(p pair) { p.link.Resume() }, ""},
		{"after three bytes", func(p pair) { p.link.StallAfter(transporttest.ToListener, 3) }, func(p pair) { p.link.Resume() }, "hel"},
		{"the cable is pulled", func(p pair) { p.net.Down(transporttest.Outage{}) }, func(p pair) { p.net.Up() }, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := connected(t)
				tt.stall(p)
				_, err := io.WriteString(p.caller, "hello")
				must(t, err)
				must(t, p.caller.CloseWrite())
				if tt.text != "" {
					if got, err := read(p.listener); got != tt.text || err != nil {
						t.Errorf("before the stall: got %q, %v, want %q", got, err, tt.text)
					}
				}
				rest := start(readAll(p.listener))
				pass(time.Hour)
				pending(t, "a read during the stall", rest)
				tt.resume(p)
				if r := <-rest; tt.text+r.text != "hello" || r.err != nil || r.after != time.Hour {
					t.Errorf("afterwards: got %q, %v after %v, want the rest of hello and EOF at once", r.text, r.err, r.after)
				}
			})
		})
	}
}

func TestStallHidesTheOtherSidesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := connected(t)
		p.net.Down(transporttest.Outage{})
		must(t, p.caller.Close())
		for range 3 {
			if _, err := p.listener.Write([]byte("x")); err != nil {
				t.Errorf("write into the silence: got %v, want nil", err)
			}
		}
		reading := start(readAll(p.listener))
		pending(t, "a read into the silence", reading)
		p.net.Up()
		if r := <-reading; r.err != nil {
			t.Errorf("after Up: got %v, want EOF", r.err)
		}
		if _, err := p.listener.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("write after Up: got %v, want EPIPE", err)
		}
	})
}

func TestLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := transporttest.New()
		n.SetLatency(100 * time.Millisecond)
		l, err := n.Listen(addr)
		must(t, err)
		began := time.Now()
		p := connect(t, n, l)
		if got := time.Since(began); got != 200*time.Millisecond {
			t.Errorf("dial: got %v, want a round trip of 200ms", got)
		}
		reading := start(readAll(p.listener))
		_, err = io.WriteString(p.caller, "slow ")
		must(t, err)
		pass(30 * time.Millisecond)
		n.SetLatency(time.Millisecond) // what comes later still comes later
		_, err = io.WriteString(p.caller, "but sure")
		must(t, err)
		must(t, p.caller.CloseWrite())
		if r := <-reading; r.text != "slow but sure" || r.err != nil || r.after != 100*time.Millisecond {
			t.Errorf("got %q, %v after %v, want all in order after 100ms", r.text, r.err, r.after)
		}
	})
}

// With latency the buffer is a window: 1000 bytes each 100 ms.
func TestBufferAndLatencyBoundTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := transporttest.New()
		n.SetLatency(100 * time.Millisecond)
		n.SetBuffer(1000)
		l, err := n.Listen(addr)
		must(t, err)
		p := connect(t, n, l)
		reading := start(readAll(p.listener))
		_, err = p.caller.Write(make([]byte, 10_000))
		must(t, err)
		must(t, p.caller.Close())
		if r := <-reading; len(r.text) != 10_000 || r.after != time.Second {
			t.Errorf("got %d bytes after %v, want 10000 after 1s", len(r.text), r.after)
		}
	})
}

func TestDeadlines(t *testing.T) {
	full := make([]byte, transporttest.DefaultBuffer+1)
	tests := []struct {
		name string
		set  func(c *transporttest.Conn, at time.Time) error
		do   func(c *transporttest.Conn) error
	}{
		{"read", (*transporttest.Conn).SetReadDeadline, func(c *transporttest.Conn) error { _, err := read(c); return err }},
		{"write", (*transporttest.Conn).SetWriteDeadline, func(c *transporttest.Conn) error { _, err := c.Write(full); return err }},
		{"both: read", (*transporttest.Conn).SetDeadline, func(c *transporttest.Conn) error { _, err := read(c); return err }},
		{"both: write", (*transporttest.Conn).SetDeadline, func(c *transporttest.Conn) error { _, err := c.Write(full); return err }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := connected(t).caller
				expect := func(what string, done <-chan result, after time.Duration) {
					t.Helper()
					r := <-done
					var timeout net.Error
					if !errors.Is(r.err, os.ErrDeadlineExceeded) || !errors.As(r.err, &timeout) || !timeout.Timeout() || r.after != after {
						t.Errorf("%s: got %v after %v, want a timeout after %v", what, r.err, r.after, after)
					}
				}
				run := func() <-chan result { return start(func() (string, error) { return "", tt.do(c) }) }

				must(t, tt.set(c, time.Now().Add(time.Second)))
				expect("set before", run(), time.Second)
				expect("still passed", run(), 0)

				must(t, tt.set(c, time.Time{}))
				done := run()
				pass(time.Minute)
				pending(t, "without a deadline", done)
				must(t, tt.set(c, time.Now().Add(time.Second)))
				must(t, tt.set(c, time.Now().Add(time.Hour)))
				expect("moved while waiting", done, time.Hour+time.Minute)

				must(t, tt.set(c, time.Time{}))
				done = run()
				synctest.Wait()
				must(t, tt.set(c, time.Now()))
				expect("set to now while waiting", done, 0)
			})
		})
	}
}

func TestDialing(t *testing.T) {
	tests := []struct {
		name  string
		setup func(t *testing.T, n *transporttest.Net, stop func())
		want  error
		after time.Duration
	}{
		{"nobody listens", func(*testing.T, *transporttest.Net, func()) {}, syscall.ECONNREFUSED, 0},
		{"the listener has closed", func(t *testing.T, n *transporttest.Net, _ func()) {
			l, err := n.Listen(addr)
			must(t, err)
			must(t, l.Close())
		}, syscall.ECONNREFUSED, 0},
		{"the cable is pulled", func(t *testing.T, n *transporttest.Net, stop func()) {
			listen(t, n)
			n.Down(transporttest.Outage{})
			time.AfterFunc(time.Minute, stop)
		}, context.Canceled, time.Minute},
		{"the cable is back", func(t *testing.T, n *transporttest.Net, _ func()) {
			listen(t, n)
			n.Down(transporttest.Outage{})
			time.AfterFunc(time.Minute, n.Up)
		}, nil, time.Minute},
		{"down and refusing", func(t *testing.T, n *transporttest.Net, _ func()) {
			listen(t, n)
			n.Down(transporttest.Outage{Refuse: true})
		}, syscall.ENETUNREACH, 0},
		{"given up before", func(t *testing.T, n *transporttest.Net, stop func()) {
			listen(t, n)
			stop()
		}, context.Canceled, 0},
		{"given up on the way", func(t *testing.T, n *transporttest.Net, stop func()) {
			listen(t, n)
			n.SetLatency(time.Second)
			time.AfterFunc(time.Second, stop)
		}, context.Canceled, time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				n := transporttest.New()
				tt.setup(t, n, stop)
				r := <-start(func() (string, error) {
					_, err := n.DialContext(ctx, "tcp", addr)
					return "", err
				})
				if !errors.Is(r.err, tt.want) || r.after != tt.after {
					t.Errorf("got %v after %v, want %v after %v", r.err, r.after, tt.want, tt.after)
				}
			})
		})
	}
}

func listen(t *testing.T, n *transporttest.Net) *transporttest.Listener {
	t.Helper()
	l, err := n.Listen(addr)
	must(t, err)
	return l
}

func TestListening(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := transporttest.New()
		l := listen(t, n)
		if _, err := n.Listen(addr); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("second listener: got %v, want EADDRINUSE", err)
		}
		waiting := start(func() (string, error) { _, err := l.Accept(); return "", err })
		pending(t, "Accept", waiting)
		must(t, l.Close())
		if r := <-waiting; !errors.Is(r.err, net.ErrClosed) {
			t.Errorf("Accept that waited: got %v, want net.ErrClosed", r.err)
		}
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("second Close: got %v, want net.ErrClosed", err)
		}

		l = listen(t, n) // as a daemon that starts again
		if l.Addr().String() != addr {
			t.Errorf("Addr: got %s, want %s", l.Addr(), addr)
		}
		c, err := n.Dial(t.Context(), addr)
		must(t, err)
		must(t, l.Close())
		if _, err := read(c); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("dialled and never accepted: got %v, want a reset", err)
		}
	})
}

func TestBacklogIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := transporttest.New()
		listen(t, n)
		for i := range 129 {
			_, err := n.Dial(t.Context(), addr)
			if want := i == 128; want != errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("dial %d: got %v, want refused: %v", i, err, want)
			}
		}
	})
}

func TestFaultsAreSetBeforeTheFirstByte(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := transporttest.New()
		l := listen(t, n)
		n.OnConnect(func(l *transporttest.Link) {
			if l.Number() == 2 {
				l.CutAfter(transporttest.ToListener, 3)
			}
		})
		for i, want := range []string{"hello", "hel", "hello"} {
			p := connect(t, n, l)
			p.caller.Write([]byte("hello"))
			p.caller.Close()
			if got, _ := readAll(p.listener)(); got != want {
				t.Errorf("connection %d: got %q, want %q", i+1, got, want)
			}
			p.listener.Close()
		}
		if n.Dials() != 3 || len(n.Links()) != 0 || n.Carried(transporttest.ToListener) != 13 {
			t.Errorf("got %d dials, %d links, %d bytes, want 3, 0 and 13", n.Dials(), len(n.Links()), n.Carried(transporttest.ToListener))
		}
	})
}

func TestAnOutageWithResetIsOverForNewConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := transporttest.New()
		l := listen(t, n)
		old := connect(t, n, l)
		n.Down(transporttest.Outage{Refuse: true, Reset: true})
		n.Up()
		if _, err := read(old.caller); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the old connection: got %v, want a reset", err)
		}
		p := connect(t, n, l)
		_, err := p.caller.Write([]byte("x"))
		must(t, err)
		if got, err := read(p.listener); got != "x" || err != nil {
			t.Errorf("a new connection: got %q, %v", got, err)
		}
	})
}
