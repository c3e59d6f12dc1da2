package main

import (
	"bufio"
	"io"
	"net"
	"testing"
)

// echo answers every line with itself, and returns its address.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn) // ends with the connection
			}()
		}
	}()
	return l.Addr().String()
}

func openTestLink(t *testing.T, target string) *link {
	t.Helper()
	l, err := openLink("127.0.0.1:0", target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.close() })
	return l
}

// say sends a line over a connection and returns the answer.
func say(conn net.Conn, line string) (string, error) {
	if _, err := io.WriteString(conn, line+"\n"); err != nil {
		return "", err
	}
	return bufio.NewReader(conn).ReadString('\n')
}

func dial(t *testing.T, l *link) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", l.address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func TestLinkCarriesAndCounts(t *testing.T) {
	l := openTestLink(t, echo(t))
	for _, conn := range []net.Conn{dial(t, l), dial(t, l)} {
		if got, err := say(conn, "hello"); got != "hello\n" || err != nil {
			t.Fatalf("got %q, %v; want the line back", got, err)
		}
	}
	if l.there.Load() != 12 || l.back.Load() != 12 || l.total() != 24 {
		t.Errorf("counted %d there, %d back, %d in all; want 12, 12, 24", l.there.Load(), l.back.Load(), l.total())
	}
}

func TestLinkHandsTheEndOn(t *testing.T) {
	conn := dial(t, openTestLink(t, echo(t)))
	if _, err := io.WriteString(conn, "last words"); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); string(got) != "last words" || err != nil {
		t.Errorf("got %q, %v; want what was sent before the end", got, err)
	}
}

func TestCutLinkBreaksOldAndRefusesNew(t *testing.T) {
	l := openTestLink(t, echo(t))
	old := dial(t, l)
	if _, err := say(old, "before"); err != nil {
		t.Fatal(err)
	}
	l.cut()
	if got, err := io.ReadAll(old); err == nil {
		t.Errorf("a connection over a link that was cut ended in peace with %q, want a reset", got)
	}
	count := l.total()
	if conn, err := net.Dial("tcp", l.address()); err == nil { // the kernel accepts; the link does not
		defer conn.Close()
		if got, err := say(conn, "during"); err == nil {
			t.Errorf("the cut link answered %q", got)
		}
	}
	if l.total() != count {
		t.Errorf("the cut link let %d bytes through", l.total()-count)
	}
	l.restore()
	if got, err := say(dial(t, l), "after"); got != "after\n" || err != nil {
		t.Errorf("after restore: got %q, %v; want the line back", got, err)
	}
}

func TestLinkToNobodyEndsTheConnection(t *testing.T) {
	nobody, err := freePort("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	conn := dial(t, openTestLink(t, net.JoinHostPort("127.0.0.1", nobody)))
	if got, err := io.ReadAll(conn); len(got) > 0 {
		t.Errorf("got %q, %v; want an end and nothing before it", got, err)
	}
}

func TestClosedLinkIsGone(t *testing.T) {
	l := openTestLink(t, echo(t))
	open := dial(t, l)
	if _, err := say(open, "before"); err != nil {
		t.Fatal(err)
	}
	if err := l.close(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(open); err == nil {
		t.Error("an open connection outlived the link")
	}
	if conn, err := net.Dial("tcp", l.address()); err == nil {
		conn.Close()
		t.Error("the closed link takes connections")
	}
}
