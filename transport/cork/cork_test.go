package cork

import (
	"bytes"
	"errors"
	"net"
	"testing"
)

// recorder notes each write.
type recorder struct {
	net.Conn
	writes []int
	all    bytes.Buffer
	err    error
}

func (r *recorder) Write(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	r.writes = append(r.writes, len(p))
	return r.all.Write(p)
}

func TestCorkGathersWithinASlice(t *testing.T) {
	to := &recorder{}
	c := &Conn{Conn: to}
	record := bytes.Repeat([]byte("antipode"), 2<<10) // 16 KiB
	var want bytes.Buffer
	write := func(p []byte) {
		t.Helper()
		want.Write(p)
		if n, err := c.Write(p); n != len(p) || err != nil {
			t.Fatalf("Write: got %d, %v, want %d, nil", n, err, len(p))
		}
	}
	write([]byte("handshake"))
	c.Put()
	for range Slice/len(record) + 2 {
		write(record)
	}
	if got := len(to.writes); got != 2 {
		t.Errorf("writes within a slice: got %d, want 2: the handshake and what was full", got)
	}
	if err := c.Pull(); err != nil {
		t.Fatalf("Pull: %v", err)
	}
	write([]byte("end"))
	if got, want := len(to.writes), 4; got != want {
		t.Errorf("writes in all: got %v, want %d", to.writes, want)
	}
	if !bytes.Equal(to.all.Bytes(), want.Bytes()) {
		t.Error("what came out is not what went in")
	}
}

func TestCorkTellsOfABrokenConnection(t *testing.T) {
	broken := errors.New("reset")
	c := &Conn{Conn: &recorder{err: broken}}
	c.Put()
	if _, err := c.Write([]byte("x")); err != nil {
		t.Errorf("gathered Write: got %v, want nil", err)
	}
	if err := c.Pull(); !errors.Is(err, broken) {
		t.Errorf("pull: got %v, want %v", err, broken)
	}
	if err := c.Pull(); err != nil {
		t.Errorf("pull of nothing: got %v, want nil", err)
	}
}

// blocked takes nothing until it is released.
type blocked struct {
	net.Conn
	in, out chan struct{}
}

func (b *blocked) Write(p []byte) (int, error) {
	close(b.in)
	<-b.out
	return len(p), nil
}

// TLS says goodbye before it closes. On a connection that takes nothing that must
// not wait for the write that is stuck: closing is what ends it.
func TestCorkLetsNobodyWaitBehindAStuckWrite(t *testing.T) {
	to := &blocked{in: make(chan struct{}), out: make(chan struct{})}
	c := &Conn{Conn: to}
	c.Put()
	if _, err := c.Write([]byte("payload")); err != nil {
		t.Fatal(err)
	}
	pulled := make(chan error, 1)
	go func() { pulled <- c.Pull() }()
	<-to.in
	if _, err := c.Write([]byte("goodbye")); !errors.Is(err, errStuck) {
		t.Errorf("Write: %v, want %v", err, errStuck)
	}
	close(to.out)
	if err := <-pulled; err != nil {
		t.Errorf("pull: %v", err)
	}
}
