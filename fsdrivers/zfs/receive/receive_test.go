package receive

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/naming"
	"antipode/fsdrivers/zfs/nvlist"
	"antipode/fsdrivers/zfs/prop"
	"antipode/fsdrivers/zfs/standby"
	"antipode/fsdrivers/zfs/standby/standbytest"
	"antipode/fsdrivers/zfs/stream"
	"antipode/fsdrivers/zfs/token"
	"antipode/fsdrivers/zfs/zfstest"
)

// receiverOn is one on a scripted zfs whose into is there.
func receiverOn(t *testing.T, rules ...zfstest.Rule) (*zfstest.Script, *Receiver) {
	t.Helper()
	s, in, zfs := standbytest.Into(t, rules...)
	rv := New(in, zfs, standbytest.Now, zerolog.Nop())
	return s, &rv
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
		Kind: stream.Filesystem, ToGUID: to, FromGUID: from, ToName: "src/db@x", Created: standbytest.Now(),
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

func TestAFirstReceiveIsInertAndExact(t *testing.T) {
	st := fullStep()
	s, rv := receiverOn(t,
		zfstest.Rule{Args: standbytest.GetLineages, Times: 1, Out: zfstest.Props("dst/into/.antipode", "guid", "5")},
		zfstest.Rule{Args: "receive", Sink: true},
		zfstest.Rule{Args: "set"}, zfstest.Rule{Args: "rename"}, zfstest.Rule{Args: "create"},
		zfstest.Rule{Args: standbytest.GetLineages, Out: standbytest.LineageOut()},
		zfstest.Rule{Args: "get -Hp -o name,property,source,value -d 1 -t filesystem,volume guid,org.antipode:placeholder", Code: 1, Err: "cannot open 'x': dataset does not exist\n"},
		zfstest.Rule{Args: "get -Hp -o name,property,source,value guid dst", Code: 1, Err: "cannot open 'x': dataset does not exist\n"},
		zfstest.Rule{Args: "list", Out: "dst/into/src/db@antipode_b\t11\t5\n"},
		zfstest.Rule{Args: "get", Out: zfstest.Props("dst/into/src/db@antipode_b", prop.Created, "2026-01-01T00:00:00Z")},
		zfstest.Rule{Args: "holds"},
	)
	got, err := rv.Receive(t.Context(), dataset.Incoming{Step: st, Retain: standbytest.Now()}, bytes.NewReader(streamOf(t, st, nil)))
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
	long := st // its place takes it for a dataset's name, and none of a snapshot
	long.Dataset.Path = dataset.Path("src/" + strings.Repeat("x", 230))
	long.To.Name = "antipode_db_20260401T000000Z"
	onBase := []zfstest.Rule{
		{Args: standbytest.GetLineages, Out: standbytest.LineageOut()},
		{Args: "list", Out: "dst/into/src/db@antipode_a\t10\t5\n"},
		{Args: "get", Out: zfstest.Props("dst/into/src/db@antipode_a", prop.Received, "2026-01-01T00:00:00Z")},
		{Args: "holds"},
	}
	empty := []zfstest.Rule{{Args: standbytest.GetLineages, Out: zfstest.Props("dst/into/.antipode", "guid", "5")}}
	pinned := append([]zfstest.Rule{{Args: standbytest.GetLineages, Out: standbytest.LineageOut("dst/into/src/db", prop.Key, strings.Repeat("ab", 32))}}, onBase[1:]...)
	for name, c := range map[string]struct {
		step  dataset.Step
		rules []zfstest.Rule
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
		"that fits in no name at its place": {long, empty, streamOf(t, long, nil), dataset.ErrRefused},
		"without its base":                  {inc, []zfstest.Rule{{Args: standbytest.GetLineages, Out: zfstest.Props("dst/into/.antipode", "guid", "5")}}, nil, dataset.ErrBaseMissing},
	} {
		t.Run(name, func(t *testing.T) {
			s, rv := receiverOn(t, c.rules...)
			_, err := rv.Receive(t.Context(), dataset.Incoming{Step: c.step}, bytes.NewReader(c.in))
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

// TestAVersionThatDamagesEncryptedDatasetsReceivesIntoNone: neither raw nor plain.
func TestAVersionThatDamagesEncryptedDatasetsReceivesIntoNone(t *testing.T) {
	full := fullStep()
	inc := full
	inc.From = dataset.Snapshot{Name: "antipode_a", ID: naming.IDOf(10)}
	own := func(encryption string) string {
		return zfstest.Props("dst/into/.antipode", "guid", "5", "dst/into/.antipode", "encryption", encryption)
	}
	lineage := func(encryption string) string {
		return standbytest.LineageOut("dst/into/src/db", "encryption", encryption) + own("off")
	}
	plain := func(s dataset.Step) []byte { return streamOf(t, s, nil) }
	var raw stream.Encoder
	raw.Begin(stream.Opening{
		Kind: stream.Filesystem, ToGUID: 11, ToName: "src/db@x", Flags: stream.FlagSpillBlock,
		Features: stream.Raw | stream.Compressed | stream.LargeBlocks,
	}, keyed(66))
	raw.End(11)
	for name, c := range map[string]struct {
		step    dataset.Step
		is      string
		in      []byte
		refused bool
	}{
		"raw":                              {full, own("off"), raw.Bytes(), true},
		"plain":                            {full, own("off"), plain(full), false},
		"plain into an encrypted one":      {full, own("aes-256-gcm"), plain(full), true},
		"a plain step":                     {inc, lineage("off"), plain(inc), false},
		"a plain step onto what was plain": {inc, lineage("aes-256-gcm"), plain(inc), true},
	} {
		s, rv := receiverOn(t, zfstest.Rule{Args: standbytest.GetLineages, Out: c.is}, zfstest.Rule{Args: "list", Out: "dst/into/src/db@antipode_a\t10\t5\n"})
		s.Answer(append([]zfstest.Rule{{Args: "version", Out: "zfs-2.3.2-1\nzfs-kmod-2.3.2-1\n"}}, s.Rules...)...)
		_, err := rv.Receive(t.Context(), dataset.Incoming{Step: c.step}, bytes.NewReader(c.in))
		if refused := err != nil && strings.Contains(err.Error(), "upgrade to"); refused != c.refused || refused && !errors.Is(err, dataset.ErrRefused) {
			t.Errorf("%s: got %v, want it refused: %t", name, err, c.refused)
		}
		if begun := len(s.Ran("receive")) + len(s.Ran("set")); c.refused && begun > 0 {
			t.Errorf("%s: it ran %q", name, s.Calls())
		}
	}
}

func TestASnapshotOfSomebodyElseIsToldAndNotRolledBack(t *testing.T) {
	inc := fullStep()
	inc.From = dataset.Snapshot{Name: "antipode_a", ID: naming.IDOf(10)}
	_, rv := receiverOn(t,
		zfstest.Rule{Args: standbytest.GetLineages, Out: standbytest.LineageOut()},
		zfstest.Rule{Args: "list", Out: "dst/into/src/db@antipode_a\t10\t5\ndst/into/src/db@daily\t12\t9\n"},
		zfstest.Rule{Args: "get", Out: zfstest.Props("dst/into/src/db@antipode_a", prop.Received, "2026-01-01T00:00:00Z")},
		zfstest.Rule{Args: "holds"})
	_, err := rv.Receive(t.Context(), dataset.Incoming{Step: inc}, bytes.NewReader(streamOf(t, inc, nil)))
	if !errors.Is(err, dataset.ErrDiverged) || !strings.Contains(err.Error(), "@daily") {
		t.Errorf("got %v, want diverged with the name of the snapshot", err)
	}
}

func TestAnErrorOfTheReceiverIsItsOwn(t *testing.T) {
	st := fullStep()
	for text, want := range map[string]error{
		"cannot receive new filesystem stream: out of space\n":                                 dataset.ErrNoSpace,
		"cannot receive new filesystem stream: pool must be upgraded to receive this stream\n": dataset.ErrRefused,
		"cannot receive: pool I/O is currently suspended\n":                                    dataset.ErrStuck,
	} {
		_, rv := receiverOn(t,
			zfstest.Rule{Args: standbytest.GetLineages, Out: zfstest.Props("dst/into/.antipode", "guid", "5")},
			zfstest.Rule{Args: "receive", Code: 1, Err: text},
			zfstest.Rule{Args: "get -Hp -o name,property,source,value available,used", Out: zfstest.Props("dst/into", "available", "5", "dst/into", "used", "7")})
		_, err := rv.Receive(t.Context(), dataset.Incoming{Step: st}, bytes.NewReader(streamOf(t, st, nil)))
		if !errors.Is(err, want) {
			t.Errorf("%q: got %v, want %v", text, err, want)
		}
		var space *dataset.SpaceError
		if errors.As(err, &space) && (space.Where != "dst/into" || space.Free != 5) {
			t.Errorf("%q: got %+v, want what is left in dst/into", text, space)
		}
	}
}

// TestAResumedStreamThatTheKernelRefusesStartsAgain: it says "kernel modules must be upgraded"
// to whatever is invalid, also to what would fit if it came from its beginning. ErrRefused is
// final.
func TestAResumedStreamThatTheKernelRefusesStartsAgain(t *testing.T) {
	inc := fullStep()
	inc.From = dataset.Snapshot{Name: "antipode_a", ID: naming.IDOf(10)}
	partial := token.Token{Position: stream.Position{Object: 7}, Bytes: 99, ToGUID: 11, FromGUID: 10, ToName: "src/db@antipode_b", LargeOK: true, PackedOK: true}.String()
	in := standby.Incoming{Step: inc.ID(), To: inc.To.ID, From: inc.From.ID, Name: inc.To.Name}.Text()
	for name, c := range map[string]struct {
		at       *stream.Position
		features stream.Features
		says     string
		want     error
	}{
		"resumed":                            {&stream.Position{Object: 7}, stream.Resuming, "kernel modules must be upgraded to receive this stream.", dataset.ErrStaleCheckpoint},
		"from where it was before":           {&stream.Position{Object: 6}, stream.Resuming, "", dataset.ErrBusy},
		"from its beginning":                 {nil, 0, "kernel modules must be upgraded to receive this stream.", dataset.ErrRefused},
		"resumed, with a feature of another": {&stream.Position{Object: 7}, stream.Resuming, "pool must be upgraded to receive this stream.", dataset.ErrRefused},
	} {
		t.Run(name, func(t *testing.T) {
			_, rv := receiverOn(t,
				zfstest.Rule{Args: standbytest.GetLineages, Out: standbytest.LineageOut("dst/into/src/db", "receive_resume_token", partial, "dst/into/src/db", prop.Incoming, in)},
				zfstest.Rule{Args: "list", Out: "dst/into/src/db@antipode_a\t10\t5\n"},
				zfstest.Rule{Args: "receive -A"}, zfstest.Rule{Args: "set"},
				zfstest.Rule{Args: "receive", Sink: true, Code: 1, Err: "cannot receive resume stream: " + c.says + "\n"})
			got, err := rv.Receive(t.Context(), dataset.Incoming{Step: inc}, bytes.NewReader(streamOf(t, inc, func(o *stream.Opening) {
				o.Resume, o.Features = c.at, o.Features|c.features
			})))
			for _, kind := range []error{dataset.ErrStaleCheckpoint, dataset.ErrRefused, dataset.ErrBusy} {
				if errors.Is(err, kind) != errors.Is(kind, c.want) {
					t.Errorf("got %v, %v, want %v and nothing else", got, err, c.want)
				}
			}
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, which does not say it", err)
			}
		})
	}
}

// keyed is a list of BEGIN with a wrapped key.
func keyed(b byte) nvlist.Entry {
	var l nvlist.List
	for _, name := range []string{"DSL_CRYPTO_SUITE", "DSL_CRYPTO_GUID", "DSL_CRYPTO_VERSION", "keyformat", "pbkdf2iters", "pbkdf2salt"} {
		l = append(l, nvlist.Entry{Name: name, Type: nvlist.Uint64Entry, Num: uint64(b)})
	}
	for _, name := range []string{"DSL_CRYPTO_MASTER_KEY_1", "DSL_CRYPTO_HMAC_KEY_1", "DSL_CRYPTO_IV", "DSL_CRYPTO_MAC"} {
		l = append(l, nvlist.Entry{Name: name, Type: nvlist.BytesEntry, Bytes: []byte{b}})
	}
	return nvlist.Entry{Name: "crypt_keydata", Type: nvlist.ListEntry, List: l}
}

// TestTheRestOfAStreamUsesUpThatTheKeyMayBeAny: it took in a new key and left the lineage
// open for every further one.
func TestTheRestOfAStreamUsesUpThatTheKeyMayBeAny(t *testing.T) {
	inc := fullStep()
	inc.From = dataset.Snapshot{Name: "antipode_a", ID: naming.IDOf(10)}
	at := stream.Position{Object: 7}
	unfinished := token.Token{Position: at, Bytes: 99, ToGUID: 11, FromGUID: 10, ToName: "src/db@antipode_b", RawOK: true, LargeOK: true, PackedOK: true}
	of := standby.Incoming{Step: inc.ID(), To: inc.To.ID, From: inc.From.ID, Name: inc.To.Name}
	for name, c := range map[string]struct {
		key  string
		pins int
	}{"any": {prop.AnyKey, 1}, "pinned before": {"", 0}} {
		var e stream.Encoder
		e.Begin(stream.Opening{
			Kind: stream.Filesystem, ToGUID: 11, FromGUID: 10, ToName: "src/db@x", Flags: stream.FlagSpillBlock, Resume: &at,
			Features: stream.Raw | stream.Resuming | stream.Compressed | stream.LargeBlocks,
		}, keyed(66))
		e.End(11)
		head, err := stream.Head(stream.NewReader(bytes.NewReader(e.Bytes())))
		if err != nil {
			t.Fatal(err)
		}
		s, rv := receiverOn(t,
			zfstest.Rule{Args: standbytest.GetLineages, Out: standbytest.LineageOut("dst/into/src/db", prop.Key, cmp.Or(c.key, head.Key.String()),
				"dst/into/src/db", "receive_resume_token", unfinished.String(), "dst/into/src/db", prop.Incoming, of.Text())},
			zfstest.Rule{Args: "list", Times: 1, Out: "dst/into/src/db@antipode_a\t10\t5\n"},
			zfstest.Rule{Args: "list", Out: "dst/into/src/db@antipode_a\t10\t5\ndst/into/src/db@antipode_b\t11\t6\n"},
			zfstest.Rule{Args: "receive", Sink: true}, zfstest.Rule{Args: "set"}, zfstest.Rule{Args: "get"}, zfstest.Rule{Args: "holds"})
		if _, err := rv.Receive(t.Context(), dataset.Incoming{Step: inc}, bytes.NewReader(e.Bytes())); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		calls := s.Calls()
		pin := "set " + prop.Key + "=" + head.Key.String() + " dst/into/src/db"
		pins := slices.DeleteFunc(slices.Clone(calls), func(call string) bool { return call != pin })
		if len(pins) != c.pins {
			t.Errorf("%s: got %q, want the key pinned %d times", name, calls, c.pins)
		}
		begun := slices.IndexFunc(calls, func(call string) bool { return strings.HasPrefix(call, "receive ") })
		if c.pins > 0 && slices.Index(calls, pin) > begun {
			t.Errorf("%s: got %q, want the key pinned before anything is received", name, calls)
		}
	}
}

var errOver = errors.New("it is over")

func TestAReaderThatHangsIsNotWaitedFor(t *testing.T) {
	_, rv := receiverOn(t, zfstest.Rule{Args: standbytest.GetLineages, Out: zfstest.Props("dst/into/.antipode", "guid", "5")})
	ctx, stop := context.WithCancelCause(t.Context())
	r, w := io.Pipe()
	defer w.Close()
	done := make(chan error, 1)
	go func() {
		_, err := rv.Receive(ctx, dataset.Incoming{Step: fullStep()}, r)
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
	resume := token.Token{ToGUID: 3, ToName: "a@b"}.String()
	s, rv := receiverOn(t,
		zfstest.Rule{Args: standbytest.GetLineages, Times: 1, Out: standbytest.LineageOut()},
		zfstest.Rule{Args: standbytest.GetLineages, Out: standbytest.LineageOut("dst/into/src/db", "receive_resume_token", resume)},
		zfstest.Rule{Args: "receive -A", Times: 1, Code: 1, Err: "cannot abort: dataset is busy\n"},
		zfstest.Rule{Args: "receive -A", Code: 1, Err: "'dst/into/src/db' does not have any resumable receive state to abort\n"})
	for range 2 {
		if err := rv.Abort(t.Context(), "src/db"); err != nil {
			t.Error(err)
		}
	}
	if n := strings.Count(strings.Join(s.Calls(), "\n"), "receive -A dst/into/src/db"); n != 2 {
		t.Errorf("it was dropped %d times, want 2: busy at first", n)
	}
}

// TestNothingIsReadBesideAReceiveThatEnds: while one that outlived its daemon still ends, its
// token moves on, so what is read before the lock is there may not be true for long.
func TestNothingIsReadBesideAReceiveThatEnds(t *testing.T) {
	s, rv := receiverOn(t, zfstest.Rule{Args: standbytest.GetLineages, Out: standbytest.LineageOut()})
	lock, err := rv.into.Lock(t.Context(), "src/db")
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	for name, do := range map[string]func() error{
		"receive": func() error {
			_, err := rv.Receive(t.Context(), dataset.Incoming{Step: fullStep()}, strings.NewReader(""))
			return err
		},
		"abort": func() error { return rv.Abort(t.Context(), "src/db") },
	} {
		if err := do(); !errors.Is(err, dataset.ErrBusy) {
			t.Errorf("%s: got %v, want busy", name, err)
		}
	}
	if calls := s.Calls(); len(calls) > 0 {
		t.Errorf("it ran %q", calls)
	}
}

func TestNothingIsReceivedIntoWhatIsLive(t *testing.T) {
	_, rv := receiverOn(t, zfstest.Rule{Args: standbytest.GetLineages, Out: standbytest.LineageOut("dst/into/src/db", prop.Live, prop.On)},
		zfstest.Rule{Args: "list", Out: "dst/into/src/db@antipode_a\t10\t5\n"})
	inc := fullStep()
	inc.From = dataset.Snapshot{Name: "antipode_a", ID: naming.IDOf(10)}
	if _, err := rv.Receive(t.Context(), dataset.Incoming{Step: inc}, strings.NewReader("")); !errors.Is(err, dataset.ErrDiverged) {
		t.Errorf("got %v, want diverged", err)
	}
}

func fullStep() dataset.Step {
	return dataset.Step{
		Job: "j", Dataset: dataset.Dataset{Path: "src/db", ID: naming.IDOf(1)},
		To: dataset.Snapshot{Name: "antipode_b", ID: naming.IDOf(11), Created: standbytest.Now()},
	}
}
