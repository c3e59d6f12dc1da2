package link

import (
	"bytes"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"
)

// echo answers every connection with what came, once the caller has sent all.
func echo(t *testing.T) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				io.Copy(conn, conn)
			}()
		}
	}()
	return listener.Addr().String()
}

func open(t *testing.T, target string) *Link {
	t.Helper()
	l, err := Open("127.0.0.1:0", target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func dial(t *testing.T, l *Link) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", l.Address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.(*net.TCPConn)
}

// during tries a connection while the link is cut: the kernel accepts it, the
// link does not, and which of the calls sees that is not determined.
func during(l *Link) (answered int, err error) {
	conn, err := net.Dial("tcp", l.Address())
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("during")); err != nil {
		return 0, err
	}
	return conn.Read(make([]byte, 1))
}

func isBroken(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

func TestCarriesBothWaysToTheEndAndCounts(t *testing.T) {
	l := open(t, echo(t))
	conn := dial(t, l)
	sent := bytes.Repeat([]byte("antipode"), 100_000)
	go func() {
		conn.Write(sent)
		conn.CloseWrite()
	}()
	got, err := io.ReadAll(conn)
	if err != nil || !bytes.Equal(got, sent) {
		t.Fatalf("got %d bytes (%v), want the %d that were sent", len(got), err, len(sent))
	}
	if l.There() != int64(len(sent)) || l.Total() != 2*int64(len(sent)) {
		t.Errorf("counted %d there and %d in all, want %d and twice that", l.There(), l.Total(), len(sent))
	}
}

func TestCutEndsWhatIsConnectedAndRefusesMore(t *testing.T) {
	l := open(t, echo(t))
	conn := dial(t, l)
	one := make([]byte, 1)
	if _, err := conn.Write(one); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, one); err != nil {
		t.Fatal(err)
	}
	l.Cut()
	if _, err := conn.Read(one); !isBroken(err) {
		t.Errorf("read after the cut: %v, want a broken connection", err)
	}
	if _, err := during(l); !isBroken(err) {
		t.Errorf("a new connection while cut: %v, want a broken connection", err)
	}
	l.Restore()
	again := dial(t, l)
	again.Write(one)
	if _, err := io.ReadFull(again, one); err != nil {
		t.Errorf("after Restore: %v", err)
	}
}

func TestNobodyAtTheTargetIsABrokenConnection(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := listener.Addr().String()
	listener.Close()
	if _, err := dial(t, open(t, nobody)).Read(make([]byte, 1)); !isBroken(err) {
		t.Errorf("got %v, want a broken connection", err)
	}
}

func TestCutLinkLetsNothingThrough(t *testing.T) {
	l := open(t, echo(t))
	l.Cut()
	if got, err := during(l); got > 0 || !isBroken(err) {
		t.Errorf("the cut link answered %d bytes, %v", got, err)
	}
	if l.Total() != 0 {
		t.Errorf("the cut link let %d bytes through", l.Total())
	}
}

func TestHeldLinkLetsNoMoreThroughAndGoesOn(t *testing.T) {
	l := open(t, echo(t))
	conn := dial(t, l)
	exchange := func() error {
		if _, err := conn.Write(make([]byte, 8)); err != nil {
			return err
		}
		_, err := io.ReadFull(conn, make([]byte, 8))
		return err
	}
	l.HoldAt(8)
	if err := exchange(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- exchange() }()
	select {
	case err := <-done:
		t.Fatalf("the held link carried more than 8 bytes: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	l.HoldAt(0)
	if err := <-done; err != nil {
		t.Errorf("after the hold: %v", err)
	}
}

func TestCutEndsWhatIsHeld(t *testing.T) {
	l := open(t, echo(t))
	conn := dial(t, l)
	l.HoldAt(1)
	if _, err := conn.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	l.Cut()
	if _, err := conn.Read(make([]byte, 1)); !isBroken(err) {
		t.Errorf("read after the cut: %v, want a broken connection", err)
	}
}

func TestClosedLinkIsGone(t *testing.T) {
	l := open(t, echo(t))
	conn := dial(t, l)
	conn.Write([]byte("x"))
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(conn); err == nil {
		t.Error("an open connection outlived the link")
	}
	if conn, err := net.Dial("tcp", l.Address()); err == nil {
		conn.Close()
		t.Error("the closed link takes connections")
	}
}
