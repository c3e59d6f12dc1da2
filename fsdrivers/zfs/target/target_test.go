package target

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/naming"
	"antipode/fsdrivers/zfs/prop"
	"antipode/fsdrivers/zfs/stream"
)

const getLineages = "get -Hp -o name,property,source,value -d 1 -t filesystem,volume guid,type,receive_resume_token"

func theTime() time.Time { return time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC) }

// target is one on a scripted zfs whose Into is there.
func target(t *testing.T, rules ...rule) (*scripted, *Target) {
	t.Helper()
	s := script(t, append([]rule{
		{Args: "get -Hp -o name,property,source,value -d 1 -t filesystem,volume type,org.antipode:into,org.antipode:strip dst/into", Out: props(
			"dst/into", "type", "filesystem", "dst/into", prop.Into, "on", "dst/into/.antipode", "type", "filesystem")},
		{Args: "version", Out: "zfs-2.4.4-1\nzfs-kmod-2.4.4-1\n"},
	}, rules...)...)
	got, err := New(Options{
		Into: "dst/into", Locks: t.TempDir(), Now: theTime, Log: zerolog.Nop(), Binary: s.Binary(), GiveUp: 20 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s, got
}

func TestATargetIsMadeWhereNothingIs(t *testing.T) {
	s := script(t, rule{Args: "get", Code: 1, Err: "cannot open 'dst/into': dataset does not exist\n"}, rule{Args: "create"})
	_, err := New(Options{Into: "dst/into", Locks: t.TempDir(), Now: theTime, Binary: s.Binary()})
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
		_, err := New(Options{Into: "dst/into", Locks: t.TempDir(), Now: theTime, Binary: s.Binary()})
		if !errors.Is(err, dataset.ErrNotDataset) || len(s.Calls()) != 1 {
			t.Errorf("%s: got %v after %q, want not a dataset and nothing changed", name, err, s.Calls())
		}
	}
	for _, o := range []Options{
		{}, {Into: "/backup", Now: theTime}, {Into: "dst/into", Live: "other/live", Now: theTime}, {Into: "dst/into"},
	} {
		o.Locks = t.TempDir()
		if _, err := New(o); err == nil {
			t.Errorf("%+v: got no error", o)
		}
	}
}

// streamOf is a full or incremental stream of the step.
func streamOf(t *testing.T, s dataset.Step, change func(o *stream.Opening)) []byte {
	t.Helper()
	to, err := naming.GUIDOf(s.To.ID)
	if err != nil {
		t.Fatal(err)
	}
	from, _ := naming.GUIDOf(s.From.ID)
	o := stream.Opening{
		Kind: stream.Filesystem, ToGUID: to, FromGUID: from, ToName: "src/db@x", Created: theTime(),
		Features: stream.SASpill | stream.LZ4 | stream.Compressed, Flags: stream.FlagSpillBlock,
	}
	if change != nil {
		change(&o)
	}
	var e stream.Encoder
	e.Begin(o)
	e.File(to, 7, bytes.Repeat([]byte("data"), 128))
	e.End(to)
	return e.Bytes()
}

func fullStep() dataset.Step {
	return dataset.Step{
		Job: "j", Dataset: dataset.Dataset{Path: "src/db", ID: naming.IDOf(1)},
		To: dataset.Snapshot{Name: "antipode_b", ID: naming.IDOf(11), Created: theTime()},
	}
}

// lineageOut is what a lineage of src/db looks like.
func lineageOut(more ...string) string {
	return props(append([]string{
		"dst/into/src/db", "guid", "70", "dst/into/src/db", "type", "filesystem", "dst/into/src/db", prop.Path, "src/db",
		"dst/into/src/db", prop.Source, string(naming.IDOf(1)), "dst/into/src/db", "inconsistent", "0",
	}, more...)...)
}

func TestAFirstReceiveIsInertAndExact(t *testing.T) {
	st := fullStep()
	s, tg := target(t,
		rule{Args: getLineages, Times: 1, Out: props("dst/into/.antipode", "guid", "5")},
		rule{Args: "receive", Sink: true},
		rule{Args: "set"}, rule{Args: "rename"}, rule{Args: "create"},
		rule{Args: getLineages, Out: lineageOut()},
		rule{Args: "get -Hp -o name,property,source,value -d 1 -t filesystem,volume guid,org.antipode:placeholder", Code: 1, Err: "cannot open 'x': dataset does not exist\n"},
		rule{Args: "get -Hp -o name,property,source,value guid dst", Code: 1, Err: "cannot open 'x': dataset does not exist\n"},
		rule{Args: "list", Out: "dst/into/src/db@antipode_b\t11\t5\n"},
		rule{Args: "get", Out: props("dst/into/src/db@antipode_b", prop.Created, "2026-01-01T00:00:00Z")},
		rule{Args: "holds"},
	)
	got, err := tg.Receive(t.Context(), dataset.Incoming{Step: st, Retain: theTime()}, bytes.NewReader(streamOf(t, st, nil)))
	if err != nil || got.ID != st.To.ID {
		t.Fatalf("got %v, %v", got, err)
	}
	var receive string
	for _, call := range s.Calls() {
		if strings.HasPrefix(call, "receive") {
			receive = call
		}
		for _, never := range []string{" -F", " -R", " -d ", " -e ", " -r "} {
			if strings.Contains(call+" ", never+" ") && !strings.HasPrefix(call, "get") && !strings.HasPrefix(call, "list") {
				t.Errorf("%q has%s", call, never)
			}
		}
	}
	for _, want := range []string{
		"receive -s -u ", "-o readonly=on", "-o canmount=noauto", "-o mountpoint=none", "-o setuid=off", "-o devices=off",
		"-o org.antipode:path=src/db", " dst/into/.antipode/" + string(st.ID()) + "@antipode_b",
	} {
		if !strings.Contains(receive, want) {
			t.Errorf("got %q, want %q in it", receive, want)
		}
	}
}

// TestWhatTheGateRefusesIsNotBegun: no zfs receive is started, no partial state
// dropped, nothing written down.
func TestWhatTheGateRefusesIsNotBegun(t *testing.T) {
	st := fullStep()
	inc := st
	inc.From = dataset.Snapshot{Name: "antipode_a", ID: naming.IDOf(10)}
	onBase := []rule{
		{Args: getLineages, Out: lineageOut()},
		{Args: "list", Out: "dst/into/src/db@antipode_a\t10\t5\n"},
		{Args: "get", Out: props("dst/into/src/db@antipode_a", prop.Received, "2026-01-01T00:00:00Z")},
		{Args: "holds"},
	}
	empty := []rule{{Args: getLineages, Out: props("dst/into/.antipode", "guid", "5")}}
	pinned := append([]rule{{Args: getLineages, Out: lineageOut("dst/into/src/db", prop.Key, strings.Repeat("ab", 32))}}, onBase[1:]...)
	for name, c := range map[string]struct {
		step  dataset.Step
		rules []rule
		in    []byte
		want  error
	}{
		"noise":                      {st, empty, bytes.Repeat([]byte("noise"), 1000), dataset.ErrRefused},
		"nothing":                    {st, empty, nil, dataset.ErrCut},
		"a foreign clone":            {st, empty, streamOf(t, st, func(o *stream.Opening) { o.Flags |= stream.FlagClone }), dataset.ErrRefused},
		"another snapshot":           {st, empty, streamOf(t, st, func(o *stream.Opening) { o.ToGUID = 99 }), dataset.ErrRefused},
		"a full stream for a step":   {inc, onBase, streamOf(t, inc, func(o *stream.Opening) { o.FromGUID = 0 }), dataset.ErrRefused},
		"a volume onto a filesystem": {inc, onBase, streamOf(t, inc, func(o *stream.Opening) { o.Kind = stream.Volume }), dataset.ErrRefused},
		"plain onto raw":             {inc, pinned, streamOf(t, inc, nil), dataset.ErrRefused},
		"a resumed one, none pending": {inc, onBase, streamOf(t, inc, func(o *stream.Opening) {
			o.Features |= stream.Resuming
			o.Resume = &stream.Position{Object: 1}
		}), dataset.ErrRefused},
		"without its base": {inc, []rule{{Args: getLineages, Out: props("dst/into/.antipode", "guid", "5")}}, nil, dataset.ErrBaseMissing},
	} {
		t.Run(name, func(t *testing.T) {
			s, tg := target(t, c.rules...)
			_, err := tg.Receive(t.Context(), dataset.Incoming{Step: c.step}, bytes.NewReader(c.in))
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			for _, call := range s.Calls() {
				if word, _, _ := strings.Cut(call, " "); word != "get" && word != "list" && word != "holds" && word != "version" {
					t.Errorf("it ran %q", call)
				}
			}
		})
	}
}

func TestASnapshotOfSomebodyElseIsToldAndNotRolledBack(t *testing.T) {
	inc := fullStep()
	inc.From = dataset.Snapshot{Name: "antipode_a", ID: naming.IDOf(10)}
	_, tg := target(t,
		rule{Args: getLineages, Out: lineageOut()},
		rule{Args: "list", Out: "dst/into/src/db@antipode_a\t10\t5\ndst/into/src/db@daily\t12\t9\n"},
		rule{Args: "get", Out: props("dst/into/src/db@antipode_a", prop.Received, "2026-01-01T00:00:00Z")},
		rule{Args: "holds"})
	_, err := tg.Receive(t.Context(), dataset.Incoming{Step: inc}, bytes.NewReader(streamOf(t, inc, nil)))
	if !errors.Is(err, dataset.ErrDiverged) || !strings.Contains(err.Error(), "@daily") {
		t.Errorf("got %v, want diverged with the name of the snapshot", err)
	}
}

func TestPathsStayInInto(t *testing.T) {
	_, tg := target(t, rule{Args: getLineages, Out: props("dst/into/.antipode", "guid", "5")})
	for _, path := range []dataset.Path{
		"", "/", "..", "../x", "/data/db", "a/../b", ".antipode", "a/.antipode/b", "a//b", "a@b", "a#b", "a%b", naming.Live, naming.Live + "/x",
		"a/b ", dataset.Path(strings.Repeat("a", 242)), "-r", "a\nb",
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

func TestAnErrorOfTheReceiverIsItsOwn(t *testing.T) {
	st := fullStep()
	for text, want := range map[string]error{
		"cannot receive new filesystem stream: out of space\n":                                 dataset.ErrNoSpace,
		"cannot receive new filesystem stream: pool must be upgraded to receive this stream\n": dataset.ErrRefused,
		"cannot receive: pool I/O is currently suspended\n":                                    dataset.ErrStuck,
	} {
		_, tg := target(t,
			rule{Args: getLineages, Out: props("dst/into/.antipode", "guid", "5")},
			rule{Args: "receive", Code: 1, Err: text},
			rule{Args: "get -Hp -o name,property,source,value available,used", Out: props("dst/into", "available", "5", "dst/into", "used", "7")})
		_, err := tg.Receive(t.Context(), dataset.Incoming{Step: st}, bytes.NewReader(streamOf(t, st, nil)))
		if !errors.Is(err, want) {
			t.Errorf("%q: got %v, want %v", text, err, want)
		}
		var space *dataset.SpaceError
		if errors.As(err, &space) && (space.Where != "dst/into" || space.Free != 5) {
			t.Errorf("%q: got %+v, want what is left in dst/into", text, space)
		}
	}
}

var errOver = errors.New("it is over")

func TestAReaderThatHangsIsNotWaitedFor(t *testing.T) {
	_, tg := target(t, rule{Args: getLineages, Out: props("dst/into/.antipode", "guid", "5")})
	ctx, stop := context.WithCancelCause(t.Context())
	r, w := io.Pipe()
	defer w.Close()
	done := make(chan error, 1)
	go func() {
		_, err := tg.Receive(ctx, dataset.Incoming{Step: fullStep()}, r)
		done <- err
	}()
	if _, err := w.Write([]byte("x")); err != nil { // it reads
		t.Fatal(err)
	}
	stop(errOver)
	if err := <-done; !errors.Is(err, errOver) {
		t.Errorf("got %v, want the cause", err)
	}
}

func TestAbortOfNothingIsSuccess(t *testing.T) {
	token := stream.Token{ToGUID: 3, ToName: "a@b"}.String()
	s, tg := target(t,
		rule{Args: getLineages, Times: 1, Out: lineageOut()},
		rule{Args: getLineages, Out: lineageOut("dst/into/src/db", "receive_resume_token", token)},
		rule{Args: "receive -A", Times: 1, Code: 1, Err: "cannot abort: dataset is busy\n"},
		rule{Args: "receive -A", Code: 1, Err: "'dst/into/src/db' does not have any resumable receive state to abort\n"})
	for range 2 {
		if err := tg.Abort(t.Context(), "src/db"); err != nil {
			t.Error(err)
		}
	}
	if n := strings.Count(strings.Join(s.Calls(), "\n"), "receive -A dst/into/src/db"); n != 2 {
		t.Errorf("it was dropped %d times, want 2: busy at first", n)
	}
}

func TestSweepDropsOnlyWhatNothingGoesOnFrom(t *testing.T) {
	st := fullStep()
	record := incoming{Step: st.ID(), To: naming.IDOf(11), From: naming.IDOf(10), Name: "antipode_b"}.text()
	token := func(to uint64) string { return stream.Token{ToGUID: to, FromGUID: 10, ToName: "a@b"}.String() }
	for name, c := range map[string]struct {
		token string
		drops int
	}{
		"its own": {token(11), 0}, "of another snapshot": {token(12), 1},
	} {
		out := lineageOut("dst/into/src/db", prop.Incoming, record, "dst/into/src/db", "receive_resume_token", c.token)
		s, tg := target(t, rule{Args: getLineages, Out: out}, rule{Args: "get -Hp -o name,property,source,value -r", Out: out}, rule{Args: "receive -A"})
		if err := tg.Sweep(t.Context()); err != nil {
			t.Error(err)
		}
		if n := strings.Count(strings.Join(s.Calls(), "\n"), "receive -A"); n != c.drops {
			t.Errorf("%s: dropped %d times, want %d", name, n, c.drops)
		}
	}
}
