package transporttest_test

import (
	"context"
	"io"
	"testing"
	"testing/synctest"

	"antipode/transport/transporttest"
)

func TestSmoke(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := transporttest.New()
		l, err := n.Listen("a:1")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.Copy(c, c)
			c.Close()
		}()
		c, err := n.Dial(context.Background(), "a:1")
		if err != nil {
			t.Fatal(err)
		}
		c.Write([]byte("hello"))
		c.(*transporttest.Conn).CloseWrite()
		b, err := io.ReadAll(c)
		if string(b) != "hello" || err != nil {
			t.Fatalf("got %q %v", b, err)
		}
	})
}
