package send

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/naming"
	"antipode/fsdrivers/zfs/pool"
	"antipode/fsdrivers/zfs/zfstest"
)

// started is a send on a scripted zfs, whose pool is looked at every tick.
func started(t *testing.T, tick time.Duration, rules ...zfstest.Rule) (*zfstest.Script, io.ReadCloser) {
	t.Helper()
	s := zfstest.New(t, rules...)
	t.Setenv("PATH", s.Dir)
	step := dataset.Step{To: dataset.Snapshot{Name: "antipode_b", ID: naming.IDOf(11)}}
	p, err := New("tank/db", []pool.Entry{{Name: "tank/db@antipode_b", GUID: 11, TXG: 5}}, step, false)
	if err != nil {
		t.Fatal(err)
	}
	r, err := p.Start(t.Context(), pool.NewHost(s.Binary(), tick), step, dataset.Checkpoint{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return s, r
}

func health(is string, times int) zfstest.Rule {
	return zfstest.Rule{Args: "zpool get", Out: "tank\thealth\t" + is + "\t-\n", Times: times}
}

// TestASendThatASuspendedPoolKeepsWaitingEnds: it would wait for ever, with the link and
// all. As long as the pool is well it may say nothing.
func TestASendThatASuspendedPoolKeepsWaitingEnds(t *testing.T) {
	s, r := started(t, time.Second, zfstest.Rule{Args: "send", Hang: true}, health("ONLINE", 1), health("SUSPENDED", 0))
	_, err := io.Copy(io.Discard, r)
	if !errors.Is(err, dataset.ErrStuck) || !errors.Is(err, dataset.ErrCut) || !strings.Contains(err.Error(), "pool tank") || !strings.Contains(err.Error(), "zpool clear") {
		t.Errorf("got %v, want stuck, with the pool and what to do", err)
	}
	if asked := s.Ran("zpool get"); len(asked) != 2 {
		t.Errorf("the pool was looked at %d times, want 2", len(asked))
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// TestASendThatNobodyReadsFromIsNoHang: the link is down, the pipe is full, and the child
// waits for us.
func TestASendThatNobodyReadsFromIsNoHang(t *testing.T) {
	const size = 4 << 20
	s, r := started(t, 50*time.Millisecond, zfstest.Rule{Args: "send", Out: strings.Repeat("x", size)}, health("ONLINE", 0))
	if _, err := io.ReadFull(r, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	s.Answer(health("SUSPENDED", 0))
	<-time.After(time.Second) // a child outside the bubble keeps testing/synctest from it
	s.Answer(health("ONLINE", 0))
	if n, err := io.Copy(io.Discard, r); n != size-1 || err != nil {
		t.Errorf("got %d bytes more, %v, want all %d", n, err, size-1)
	}
}

func TestParseSize(t *testing.T) {
	if n, err := parseSize("full\ttank@a\t1000\nsize\t1000\n"); n != 1000 || err != nil {
		t.Errorf("size: got %d, %v", n, err)
	}
	for _, bad := range []string{"size\t-1\n", "size\t18446744073709551615\n", "", "size\tx\n"} {
		if n, err := parseSize(bad); err == nil {
			t.Errorf("size %q: got %d, want an error", bad, n)
		}
	}
}

func FuzzParseSize(f *testing.F) {
	f.Add("size\t1000\n")
	f.Fuzz(func(t *testing.T, out string) {
		if n, err := parseSize(out); err == nil && n < 0 {
			t.Errorf("size %d", n)
		}
	})
}
