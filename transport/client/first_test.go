package client_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"antipode/fsdrivers/dataset"
)

// A step costs one round trip on a connection that is warm, and as many at once
// cost no more.
func TestSmallStepsCostOneRoundTripTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, nil)
		p.net.SetLatency(100 * time.Millisecond)
		c := p.client(nil)
		const many = 60
		round := func(n int) time.Duration {
			began := time.Now()
			var all sync.WaitGroup
			for i := range many {
				all.Go(func() {
					o := opening("x")
					o.Step.Dataset.Path = dataset.Path(fmt.Sprintf("/d/%d", i))
					o.Incarnation = fmt.Sprintf("%016x%016x", n, i)
					if _, err := c.Send(t.Context(), o, bytes.NewReader([]byte("a small change")), nil); err != nil {
						t.Errorf("step %d: %v", i, err)
					}
				})
			}
			all.Wait()
			return time.Since(began)
		}
		if took := round(1); took > 700*time.Millisecond {
			t.Errorf("cold they took %v, want three round trips of 200 ms", took)
		}
		if took := round(2); took > 210*time.Millisecond {
			t.Errorf("warm they took %v, want one round trip of 200 ms", took)
		}
	})
}

// unending is a stream that stops in the middle until it is closed.
type unending struct {
	left   int
	closed chan struct{}
}

func (u *unending) Read(p []byte) (int, error) {
	if u.left == 0 {
		<-u.closed
		return 0, io.ErrClosedPipe
	}
	n := min(u.left, len(p))
	u.left -= n
	return n, nil
}

func (u *unending) Close() error {
	close(u.closed)
	return nil
}

// However many large streams there are, small ones pass.
func TestLargeStreamsDoNotKeepSmallOnesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, nil)
		c := p.client(nil)
		ctx, cancel := context.WithCancel(t.Context())
		var large sync.WaitGroup
		for i := range 50 {
			large.Go(func() {
				o := opening("x")
				o.Step.Dataset.Path = dataset.Path(fmt.Sprintf("/large/%d", i))
				o.Incarnation = fmt.Sprintf("%032x", 100+i)
				_, _ = c.Send(ctx, o, &unending{left: 2 * mib, closed: make(chan struct{})}, nil)
			})
		}
		time.Sleep(time.Second)
		if _, err := c.Send(t.Context(), opening("small"), bytes.NewReader([]byte("small")), nil); err != nil {
			t.Errorf("a small step beside them: %v", err)
		}
		cancel()
		large.Wait()
	})
}
