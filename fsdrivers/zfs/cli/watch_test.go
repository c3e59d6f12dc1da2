package cli

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/zfstest"
)

// TestTheWatchGivesUpOnASuspendedPoolAlone: a send that reads much and sends little stands
// still for hours on a pool that is well.
func TestTheWatchGivesUpOnASuspendedPoolAlone(t *testing.T) {
	const asks = "zpool get -Hp name,health"
	health := func(is string) zfstest.Rule {
		return zfstest.Rule{Args: asks, Out: "tank\thealth\t" + is + "\t-\n"}
	}
	for name, c := range map[string]struct {
		zpool zfstest.Rule
		moves bool
		hangs bool // a child, on the pool
		ends  bool
		asks  bool
	}{
		"suspended":                       {zpool: health(suspended), ends: true, asks: true},
		"suspended, and a child hangs":    {zpool: health(suspended), hangs: true, ends: true, asks: true},
		"suspended, and something moves":  {zpool: health(suspended), moves: true},
		"well, and nothing moves":         {zpool: health("ONLINE"), asks: true},
		"degraded, and nothing moves":     {zpool: health("DEGRADED"), asks: true},
		"of which nothing can be learned": {zpool: zfstest.Rule{Args: asks, Code: 1, Err: "cannot open 'tank': no such pool\n"}, asks: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := zfstest.New(t, c.zpool)
			t.Setenv("PATH", s.Dir)
			synctest.Test(t, func(t *testing.T) {
				z := New(s.Binary(), 0)
				if c.hangs {
					z.hung["tank"] = []process{identify(os.Getpid())}
				}
				var at atomic.Int64
				ctx, stop := z.Watch(t.Context(), "tank/db", func() int64 {
					if c.moves {
						at.Add(1)
					}
					return at.Load()
				})
				defer stop()
				late := time.NewTimer(5 * time.Minute)
				defer late.Stop()
				select {
				case <-ctx.Done():
				case <-late.C:
				}
				if err := context.Cause(ctx); (err != nil) != c.ends {
					t.Errorf("got %v, want an end: %v", err, c.ends)
				} else if c.ends && (!errors.Is(err, dataset.ErrStuck) || !strings.Contains(err.Error(), "tank") || !strings.Contains(err.Error(), "zpool clear")) {
					t.Errorf("got %v, want stuck, with the pool and what to do", err)
				}
				if asked := len(s.Calls()) > 0; asked != c.asks {
					t.Errorf("zpool was asked: %v, want %v", asked, c.asks)
				}
			})
		})
	}
}
