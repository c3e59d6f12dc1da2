package server_test

import (
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"antipode/transport/wire"
)

// hold opens a lane that says nothing more, until the returned function ends it,
// and tells how it was answered.
func (f *fixture) hold(path string) (status func() int, end func()) {
	r, w := io.Pipe()
	var done sync.WaitGroup
	var code int
	done.Go(func() { code, _, _ = f.do(f.fra, "PUT", path, r) })
	_, _ = w.Write(wire.Header{Type: wire.FrameIdle}.Append(nil))
	return func() int { done.Wait(); return code }, func() { w.Close() }
}

// A sender dials a lane again because the connection before is dead, which the
// target may learn much later: the new one takes its place, and the dead one does
// not count as a lane.
func TestLaneTakesThePlaceOfItsDeadConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		open := opening('a')
		f.must(f.fra, "POST", wire.PathTransfers, body(open), 202, "credit")
		began := time.Now()
		first, endFirst := f.hold(transferPath(open, "/lanes/7"))
		synctest.Wait()
		second, endSecond := f.hold(transferPath(open, "/lanes/7"))
		if got := first(); got != 409 {
			t.Errorf("the connection before is answered with %d, want 409", got)
		}
		if d := time.Since(began); d > 5*time.Second {
			t.Errorf("it took %s to end it", d)
		}
		synctest.Wait()
		if s := f.server.Transfers(); len(s) != 1 || s[0].Lanes != 1 {
			t.Errorf("Transfers = %+v, want one with one lane", s)
		}
		endSecond()
		if got := second(); got != 202 {
			t.Errorf("the connection that took over is answered with %d, want 202", got)
		}
		endFirst()
	})
}

// A peer may open many transfers, and lanes in each; what they cost is bounded
// over all of them. The bound is the sender's fault alone: another peer has its own.
func TestLanesOfAPeerAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		var ends []func()
		defer func() {
			for _, end := range ends {
				end()
			}
		}()
		count := 0
		for d := range wire.MaxPeerLanes/wire.MaxLanes + 1 {
			open := opening(byte('a' + d))
			open.Incarnation = fmt.Sprintf("%032x", d+1)
			open.Step.Dataset.Path += "/x"
			for range d {
				open.Step.Dataset.Path += "x"
			}
			f.must(f.fra, "POST", wire.PathTransfers, body(open), 202, "credit")
			for n := range wire.MaxLanes {
				if count++; count > wire.MaxPeerLanes {
					f.must(f.fra, "PUT", transferPath(open, fmt.Sprint("/lanes/", n)), nil, http.StatusTooManyRequests, "too-many")
					return
				}
				_, end := f.hold(transferPath(open, fmt.Sprint("/lanes/", n)))
				ends = append(ends, end)
			}
			synctest.Wait()
		}
		t.Errorf("%d lanes were taken", count)
	})
}

func TestLaneNumbersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		open := opening('a')
		f.must(f.fra, "POST", wire.PathTransfers, body(open), 202, "credit")
		for _, n := range []string{"64", "65535", "-1", "x", "99999999999999999999"} {
			f.must(f.fra, "PUT", transferPath(open, "/lanes/"+n), nil, 400, "malformed")
		}
	})
}
