package target

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/naming"
	"antipode/fsdrivers/zfs/pool"
	"antipode/fsdrivers/zfs/prop"
	"antipode/fsdrivers/zfs/standby"
	"antipode/fsdrivers/zfs/standby/standbytest"
	"antipode/fsdrivers/zfs/token"
)

// target is one on a scripted zfs whose Into is there.
func target(t *testing.T, rules ...rule) (*scripted, *Target) {
	t.Helper()
	s := script(t, standbytest.Rules(rules...)...)
	got, err := New(Options{
		Into: "dst/into", Locks: t.TempDir(), Now: standbytest.Now, Log: zerolog.Nop(), Host: pool.NewHost(s.Binary(), 20*time.Second),
	})
	if err != nil {
		t.Fatal(err)
	}
	return s, got
}

func TestATargetIsMadeWhereNothingIs(t *testing.T) {
	s := script(t, rule{Args: "get", Code: 1, Err: "cannot open 'dst/into': dataset does not exist\n"}, rule{Args: "create"})
	_, err := New(Options{Into: "dst/into", Locks: t.TempDir(), Now: standbytest.Now, Host: pool.NewHost(s.Binary(), 0)})
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Join(s.Calls(), "\n")
	for _, want := range []string{
		"create -o canmount=off -o mountpoint=none -o readonly=on -p -o org.antipode:into=on dst/into\n",
		"-o org.antipode:placeholder=on dst/into/.antipode",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("got %q, want %q in it", all, want)
		}
	}
}

func TestATargetTakesNobodyElsesDataset(t *testing.T) {
	for name, out := range map[string]string{
		"datasets of others": props("dst/into", "type", "filesystem", "dst/into/theirs", "type", "filesystem"),
		"a volume":           props("dst/into", "type", "volume"),
	} {
		s := script(t, rule{Args: "get", Out: out}, rule{Args: "set"}, rule{Args: "create"})
		_, err := New(Options{Into: "dst/into", Locks: t.TempDir(), Now: standbytest.Now, Host: pool.NewHost(s.Binary(), 0)})
		if !errors.Is(err, dataset.ErrNotDataset) || len(s.Calls()) != 1 {
			t.Errorf("%s: got %v after %q, want not a dataset and nothing changed", name, err, s.Calls())
		}
	}
	for _, o := range []Options{
		{}, {Into: "/backup", Now: standbytest.Now}, {Into: "dst/into", Live: "other/live", Now: standbytest.Now}, {Into: "dst/into"},
	} {
		o.Locks = t.TempDir()
		if _, err := New(o); err == nil {
			t.Errorf("%+v: got no error", o)
		}
	}
}

func fullStep() dataset.Step {
	return dataset.Step{
		Job: "j", Dataset: dataset.Dataset{Path: "src/db", ID: naming.IDOf(1)},
		To: dataset.Snapshot{Name: "antipode_b", ID: naming.IDOf(11), Created: standbytest.Now()},
	}
}

func TestPathsStayInInto(t *testing.T) {
	_, tg := target(t, rule{Args: standbytest.GetLineages, Out: props("dst/into/.antipode", "guid", "5")})
	for _, path := range []dataset.Path{
		"", "/", "..", "../x", "/data/db", "a/../b", ".antipode", "a/.antipode/b", "a//b", "a@b", "a#b", "a%b", naming.Live, naming.Live + "/x",
		dataset.Path(strings.Repeat("a", 242)), "-r", "a\nb",
	} {
		st := fullStep()
		st.Dataset.Path = path
		if _, err := tg.Receive(t.Context(), dataset.Incoming{Step: st}, strings.NewReader("")); !errors.Is(err, dataset.ErrRefused) {
			t.Errorf("receive into %q: got %v, want refused", path, err)
		}
		if _, err := tg.Snapshots(t.Context(), path); err == nil {
			t.Errorf("snapshots of %q: got no error", path)
		}
	}
}

func TestSweepDropsOnlyWhatNothingGoesOnFrom(t *testing.T) {
	st := fullStep()
	record := standby.Incoming{Step: st.ID(), To: naming.IDOf(11), From: naming.IDOf(10), Name: "antipode_b"}.Text()
	token := func(to uint64) string { return token.Token{ToGUID: to, FromGUID: 10, ToName: "a@b"}.String() }
	for name, c := range map[string]struct {
		token string
		drops int
	}{
		"its own": {token(11), 0}, "of another snapshot": {token(12), 1},
	} {
		out := standbytest.LineageOut("dst/into/src/db", prop.Incoming, record, "dst/into/src/db", "receive_resume_token", c.token)
		s, tg := target(t, rule{Args: standbytest.GetLineages, Out: out}, rule{Args: "get -Hp -o name,property,source,value -r", Out: out}, rule{Args: "receive -A"})
		if err := tg.Sweep(t.Context()); err != nil {
			t.Error(err)
		}
		if n := strings.Count(strings.Join(s.Calls(), "\n"), "receive -A"); n != c.drops {
			t.Errorf("%s: dropped %d times, want %d", name, n, c.drops)
		}
	}
}
