package wan

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func open(t testing.TB, s Shape) *WAN {
	t.Helper()
	if why := Missing(); why != "" {
		if os.Getenv("CI") != "" {
			t.Fatalf("CI must run this test, but %s", why)
		}
		t.Skip(why)
	}
	w, err := Open(s, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// connect joins a caller in A with a listener in B.
func connect(t testing.TB, w *WAN) (near, far net.Conn) {
	t.Helper()
	var l net.Listener
	err := w.B.Do(func() (err error) {
		l, err = net.Listen("tcp", net.JoinHostPort(w.B.Address.String(), "0"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, _ := l.Accept()
		accepted <- c
	}()
	err = w.A.Do(func() (err error) {
		near, err = net.Dial("tcp", l.Addr().String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	far = <-accepted
	t.Cleanup(func() { near.Close(); far.Close() })
	return near, far
}

// What TCP carries over a link that loses and reorders nothing of its own arrives
// as it was: trains are split, and their headers rewritten, again and again.
func TestStreamOverALossyLinkIsWhole(t *testing.T) {
	w := open(t, Shape{Delay: 2 * time.Millisecond, Loss: 0.02, Rate: Mbit(2000)})
	near, far := connect(t, w)
	const size = 32 << 20
	sent := sha256.New()
	go func() {
		_, _ = io.Copy(near, io.TeeReader(io.LimitReader(rand.Reader, size), sent))
		_ = near.(*net.TCPConn).CloseWrite()
	}()
	got := sha256.New()
	n, err := io.Copy(got, far)
	if err != nil || n != size || string(got.Sum(nil)) != string(sent.Sum(nil)) {
		t.Errorf("%d of %d bytes arrived, or others: %v", n, size, err)
	}
	there, back := w.Counts()
	if there.Lost == 0 || there.Bytes < size || back.Packets == 0 {
		t.Errorf("counted %+v there and %+v back", there, back)
	}
	if odd := w.ways[0].odd.Load() + w.ways[1].odd.Load(); odd > 0 {
		t.Errorf("%d packets were not understood", odd)
	}
}

// A link that is down is silent: nothing arrives and nobody is told. What was
// sent meanwhile arrives once it is back.
func TestSwitch(t *testing.T) {
	w := open(t, Shape{Delay: time.Millisecond})
	near, far := connect(t, w)
	w.Cut()
	if _, err := near.Write([]byte("hello")); err != nil {
		t.Fatalf("write into a link that is down: %v", err)
	}
	_ = far.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	var b [5]byte
	if n, err := far.Read(b[:]); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("read %d bytes, %v, while the link was down", n, err)
	}
	w.Restore()
	_ = far.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := io.ReadFull(far, b[:]); err != nil || string(b[:]) != "hello" {
		t.Errorf("read %q, %v", b, err)
	}
	if there, _ := w.Counts(); there.Cut == 0 {
		t.Errorf("counted %+v", there)
	}
}

// A round trip takes no less than the link's delay, however fast the machine is.
func TestRoundTripTakesItsTime(t *testing.T) {
	w := open(t, Shape{Delay: 40 * time.Millisecond})
	began := time.Now()
	connect(t, w)
	if took := time.Since(began); took < 80*time.Millisecond {
		t.Errorf("a connection took %s, want at least 80ms", took)
	}
}

// What does not choose for itself gets the congestion control that was set.
func TestCongestionControlOfASide(t *testing.T) {
	w := open(t, Shape{Delay: time.Millisecond})
	for _, name := range []string{"reno", "cubic"} {
		if err := w.A.SetCongestion(name); err != nil {
			t.Fatal(err)
		}
		near, _ := connect(t, w)
		raw, err := near.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		var got string
		_ = raw.Control(func(fd uintptr) { got, err = unix.GetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION) })
		if got = strings.TrimRight(got, "\x00"); got != name || err != nil {
			t.Errorf("the connection has %q, %v; want %q", got, err, name)
		}
	}
}

func TestShapesThatAreNoLink(t *testing.T) {
	for _, s := range []Shape{{Loss: -1}, {Loss: 1.1}, {Delay: -1}, {Rate: -1}, {Queue: -1}} {
		if _, err := Open(s, 1); err == nil {
			t.Errorf("%+v was opened", s)
		}
	}
}

// BenchmarkConnection is what one TCP connection moves, and what it costs.
func BenchmarkConnection(b *testing.B) {
	for name, s := range map[string]Shape{
		"200Mbit-200ms": {Rate: Mbit(200), Delay: 100 * time.Millisecond},
		"1Gbit-20ms":    {Rate: Mbit(1000), Delay: 10 * time.Millisecond},
		"unlimited":     {},
	} {
		b.Run(name, func(b *testing.B) {
			w := open(b, s)
			near, far := connect(b, w)
			block := make([]byte, 256<<10)
			go func() {
				for {
					if _, err := near.Write(block); err != nil {
						return
					}
				}
			}()
			b.SetBytes(1 << 20)
			for b.Loop() {
				if _, err := io.CopyN(io.Discard, far, 1<<20); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
