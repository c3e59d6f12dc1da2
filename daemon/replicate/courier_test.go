package replicate_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"antipode/daemon/board"
	"antipode/daemon/ledger"
	"antipode/daemon/policy"
	"antipode/daemon/replicate"
	"antipode/daemon/status"
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/fake"
	"antipode/transport/client"
	"antipode/transport/wire"
)

// far is a target that publishes whatever arrives, when a test lets it.
type far struct {
	mu      sync.Mutex
	asked   []time.Time
	lists   map[string][]wire.InventoryAsk // that it was sent
	listed  int                            // how often it was sent one
	full    []wire.InventoryAsk            // of which it was asked everything
	order   []dataset.Path                 // of the sends that began
	held    map[dataset.Path][]dataset.Snapshot
	marks   map[dataset.Path]dataset.Mark
	pending map[dataset.Path]dataset.Checkpoint
	opened  []wire.Open
	down    error
	refuse  map[dataset.Path]error
	release map[dataset.Path]chan struct{} // a send waits for it
}

// Tips is honest, like Inventory.
func (f *far) Tips(_ context.Context, q wire.TipsRequest) (wire.Tips, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, time.Now())
	answer := wire.Tips{Now: time.Now().Add(time.Second)}
	if f.lists == nil {
		f.lists = map[string][]wire.InventoryAsk{}
	}
	if len(q.Datasets) > 0 {
		f.lists[q.List] = q.Datasets
		f.listed++
	}
	asks, known := f.lists[q.List]
	if answer.Unknown = !known; !known {
		return answer, f.down
	}
	var tips []wire.Tip
	for _, ask := range asks {
		r := wire.Replica{Path: ask.Dataset.Path, Snapshots: f.held[ask.Dataset.Path], Mark: f.marks[ask.Dataset.Path], Checkpoint: f.pending[ask.Dataset.Path]}
		if len(r.Snapshots) > 0 {
			r.ID = ask.Dataset.ID
		}
		tips = append(tips, r.Tip())
	}
	if answer.Same = wire.SumTips(tips) == q.Expect; !answer.Same {
		answer.Tips = wire.JoinTips(tips)
	}
	return answer, f.down
}

func (f *far) Inventory(_ context.Context, r wire.InventoryRequest) (wire.Inventory, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.full = append(f.full, r.Datasets...)
	answer := wire.Inventory{Now: time.Now().Add(time.Second)}
	for _, ask := range r.Datasets {
		path := ask.Dataset.Path
		answer.Replicas = append(answer.Replicas, wire.Replica{Path: path, ID: ask.Dataset.ID, Snapshots: f.held[path], Mark: f.marks[path], Checkpoint: f.pending[path]})
	}
	return answer, f.down
}

func (f *far) Send(ctx context.Context, open wire.Open, src io.Reader, progress func(client.Progress)) (wire.Committed, error) {
	path := open.Step.Dataset.Path
	f.mu.Lock()
	f.order = append(f.order, path)
	f.opened = append(f.opened, open)
	wait, refuse := f.release[path], f.refuse[path]
	f.mu.Unlock()
	if wait != nil {
		select {
		case <-wait:
		case <-ctx.Done():
			return wire.Committed{}, context.Cause(ctx)
		}
	}
	if refuse != nil && (!errors.Is(refuse, dataset.ErrStaleCheckpoint) || !open.Checkpoint.IsZero()) {
		return wire.Committed{}, refuse
	}
	n, err := io.Copy(io.Discard, src)
	if err != nil {
		return wire.Committed{}, err
	}
	progress(client.Progress{Acked: n})
	f.mu.Lock()
	defer f.mu.Unlock()
	f.held[path] = append(f.held[path], open.Step.To)
	return wire.Committed{Published: true, Snapshot: open.Step.To}, nil
}

// discard is history that nobody reads.
type discard struct{}

func (discard) Record(ledger.Batch) {}

// unasked are no wishes for first copies.
type unasked struct{}

func (unasked) Asked(dataset.Dataset) bool { return false }

func (unasked) Seeded(dataset.Path) {}

// scene is a courier on a fake source with one snapshot of each dataset.
type scene struct {
	t       *testing.T
	disk    *fake.Disk
	source  *fake.Source
	far     *far
	board   *board.Board
	courier *replicate.Courier
	alarms  []string
}

func play(t *testing.T, paths []dataset.Path, act func(s *scene), change ...func(*replicate.Options)) {
	synctest.Test(t, func(t *testing.T) {
		disk := fake.NewDisk("fra1", 1<<40)
		s := &scene{t: t, disk: disk, source: disk.Source(), board: board.New(), far: &far{
			held: map[dataset.Path][]dataset.Snapshot{}, marks: map[dataset.Path]dataset.Mark{}, pending: map[dataset.Path]dataset.Checkpoint{},
			refuse: map[dataset.Path]error{}, release: map[dataset.Path]chan struct{}{},
		}}
		for _, p := range paths {
			disk.Make(p)
			s.snapshot(p, "antipode_db_0")
			s.board.Dataset("db", p, func(*status.Dataset) {})
		}
		o := replicate.Options{
			Node: "fra1", Job: policy.Job{ID: "db", Driver: policy.Btrfs, RPO: time.Hour, MayPromote: true}, Peer: "sin1",
			Near: s.source, Far: s.far, Board: s.board, History: discard{}, Now: time.Now, Log: zerolog.Nop(),
			Clear: func(string) {}, FirstCopies: unasked{},
			Alarm: func(kind, object, _ string) { s.alarms = append(s.alarms, kind+" "+object) },
		}
		for _, f := range change {
			f(&o)
		}
		s.courier = replicate.New(o)
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan struct{})
		go func() { defer close(served); _ = s.courier.Serve(ctx) }()
		act(s)
		cancel()
		<-served
	})
}

func (s *scene) snapshot(p dataset.Path, name string) dataset.Snapshot {
	s.t.Helper()
	made, err := s.source.Snapshot(s.t.Context(), name, time.Now(), []dataset.Path{p})
	if err != nil {
		s.t.Fatal(err)
	}
	return made[0]
}

func (s *scene) line(p dataset.Path) status.Pair {
	s.t.Helper()
	for _, d := range s.board.Read().Jobs[0].Datasets {
		if d.Path == p && len(d.Peers) == 1 {
			return d.Peers[0]
		}
	}
	s.t.Fatalf("no line for %s", p)
	return status.Pair{}
}

// begun returns what was sent so far, in order.
func (s *scene) begun() []dataset.Path {
	synctest.Wait()
	s.far.mu.Lock()
	defer s.far.mu.Unlock()
	return slices.Clone(s.far.order)
}

func TestAVisitBringsEveryDatasetUpToDate(t *testing.T) {
	play(t, []dataset.Path{"/a", "/b"}, func(s *scene) {
		tally, err := s.courier.Visit(s.t.Context(), false)
		if err != nil || tally.Steps != 2 || tally.Bytes == 0 {
			s.t.Errorf("first visit = %+v, %v; want two steps", tally, err)
		}
		if line := s.line("/a"); line.LastPoint.Name != "antipode_db_0" || line.Moving != nil || line.LastError != nil {
			s.t.Errorf("line %+v, want the point and nothing moving", line)
		}
		if tally, err := s.courier.Visit(s.t.Context(), false); err != nil || tally.Steps != 0 {
			s.t.Errorf("second visit = %+v, %v; want nothing to do", tally, err)
		}
	})
}

func TestOneThatFailsBacksOffAloneAndTriesAgainByItself(t *testing.T) {
	play(t, []dataset.Path{"/a", "/b"}, func(s *scene) {
		s.far.refuse["/a"] = dataset.ErrNoSpace
		tally, err := s.courier.Visit(s.t.Context(), false)
		if !errors.Is(err, dataset.ErrNoSpace) || tally.Steps != 1 {
			s.t.Fatalf("visit = %+v, %v; want /b's step and /a's error", tally, err)
		}
		if line := s.line("/a"); line.LastError == nil || line.LastError.Next == "" {
			s.t.Errorf("line %+v, want the error and the next step", line)
		}
		time.Sleep(time.Hour)
		if n := len(s.begun()); n < 10 || n > 30 {
			s.t.Errorf("%d sends within an hour, want a pause that doubles up to five minutes", n)
		}
		s.far.mu.Lock()
		delete(s.far.refuse, "/a")
		s.far.mu.Unlock()
		time.Sleep(6 * time.Minute)
		if line := s.line("/a"); line.LastError != nil || line.LastPoint.IsZero() {
			s.t.Errorf("line %+v, want it up to date without help", line)
		}
	})
}

func TestAnUnreachablePeerIsTriedAgainByItself(t *testing.T) {
	play(t, []dataset.Path{"/a"}, func(s *scene) {
		s.far.down = errors.New("no route")
		if _, err := s.courier.Visit(s.t.Context(), false); err == nil {
			s.t.Fatal("visit succeeded")
		}
		if p := s.board.Read().Peers[0]; p.Reachable || p.Problem == "" {
			s.t.Errorf("peer %+v, want it unreachable and why", p)
		}
		s.far.mu.Lock()
		s.far.down = nil
		s.far.mu.Unlock()
		time.Sleep(time.Minute)
		if line := s.line("/a"); line.LastPoint.IsZero() {
			s.t.Errorf("line %+v, want a point", line)
		}
		if p := s.board.Read().Peers[0]; !p.Reachable || p.ClockSkew != time.Second {
			s.t.Errorf("peer %+v, want it reachable with its clock a second ahead", p)
		}
	})
}

func TestAPeerThatWasAwayForLongIsFoundSoonAfterItIsBack(t *testing.T) {
	var log bytes.Buffer
	play(t, []dataset.Path{"/a", "/b", "/c"}, func(s *scene) {
		s.far.down = errors.New("no route")
		if _, err := s.courier.Visit(s.t.Context(), false); err == nil {
			s.t.Fatal("visit succeeded")
		}
		time.Sleep(3 * time.Hour)
		if asked := len(s.far.asked); asked > 3*60*2+5 {
			s.t.Errorf("asked %d times in three hours, want at most every half minute for all datasets together", asked)
		}
		if lines := strings.Count(log.String(), "\n"); lines != 1 {
			s.t.Errorf("%d lines in the log, want one a change:\n%s", lines, log.String())
		}
		s.far.mu.Lock()
		s.far.down = nil
		s.far.mu.Unlock()
		time.Sleep(31 * time.Second)
		for _, path := range []dataset.Path{"/a", "/b", "/c"} {
			if line := s.line(path); line.LastPoint.IsZero() || line.LastError != nil {
				s.t.Errorf("%s: %+v half a minute after the peer was back, want a point", path, line)
			}
		}
		if !strings.Contains(log.String(), "the peer answers again") {
			s.t.Errorf("the log does not say that the peer is back:\n%s", log.String())
		}
	}, func(o *replicate.Options) { o.Log = zerolog.New(&log) })
}

func TestAPeerThatRefusesIsNotAskedOften(t *testing.T) {
	play(t, []dataset.Path{"/a"}, func(s *scene) {
		s.far.down = &wire.Error{Kind: wire.KindUnauthorized, Text: "not from you"}
		_, _ = s.courier.Visit(s.t.Context(), false)
		time.Sleep(3 * time.Hour)
		if asked := len(s.far.asked); asked > 3*12+10 {
			s.t.Errorf("asked %d times in three hours, want at most every five minutes", asked)
		}
	})
}

func TestASlowFirstCopyHoldsBackNoIncrement(t *testing.T) {
	paths := []dataset.Path{"/a", "/b", "/c", "/small"}
	play(t, paths, func(s *scene) {
		first := s.far.held
		if _, err := s.courier.Visit(s.t.Context(), false); err != nil {
			s.t.Fatal(err)
		}
		for _, p := range paths[:3] { // their replicas are lost: first copies again
			delete(first, p)
			s.far.release[p] = make(chan struct{})
		}
		s.snapshot("/small", "antipode_db_1")
		s.far.order = nil
		go func() { _, _ = s.courier.Visit(s.t.Context(), false) }()
		if got := s.begun(); len(got) != 3 || !slices.Contains(got, "/small") {
			s.t.Errorf("began %v, want two first copies and the increment", got)
		}
		if line := s.line("/small"); line.LastPoint.Name != "antipode_db_1" {
			s.t.Errorf("the increment brought %q, want antipode_db_1", line.LastPoint.Name)
		}
		for _, p := range paths[:3] {
			close(s.far.release[p])
		}
	})
}

func TestTheNearestDeadlinesGetTheSlots(t *testing.T) {
	paths := []dataset.Path{"/a", "/b", "/c", "/d", "/e", "/f", "/g", "/h", "/i", "/j"}
	play(t, paths, func(s *scene) {
		// /j has the oldest base, /a the newest: the order of names is not that of need.
		for _, p := range slices.Backward(paths) {
			s.far.held[p] = []dataset.Snapshot{s.snapshot(p, "antipode_db_base")}
			s.far.release[p] = make(chan struct{})
			time.Sleep(time.Minute)
		}
		for _, p := range paths {
			s.snapshot(p, "antipode_db_next")
		}
		go func() { _, _ = s.courier.Visit(s.t.Context(), false) }()
		got := s.begun()
		slices.Sort(got)
		if want := paths[2:]; !slices.Equal(got, want) {
			s.t.Errorf("the first eight slots went to %v, want %v", got, want)
		}
		for _, p := range paths {
			close(s.far.release[p])
		}
		synctest.Wait()
		if got := s.begun(); len(got) != len(paths) {
			s.t.Errorf("sent %v, want every dataset in the end", got)
		}
	})
}

func TestWhatIsNewWhileAStepRunsFollowsByItself(t *testing.T) {
	play(t, []dataset.Path{"/a"}, func(s *scene) {
		s.far.release["/a"] = make(chan struct{})
		go func() { _, _ = s.courier.Visit(s.t.Context(), false) }()
		synctest.Wait()
		s.snapshot("/a", "antipode_db_1")
		if tally, err := s.courier.Visit(s.t.Context(), false); err != nil || tally.Steps != 0 {
			s.t.Fatalf("a visit beside it = %+v, %v; want nothing started", tally, err)
		}
		close(s.far.release["/a"])
		synctest.Wait()
		if line := s.line("/a"); line.LastPoint.Name != "antipode_db_1" {
			s.t.Errorf("newest point %q, want antipode_db_1", line.LastPoint.Name)
		}
	})
}

func TestAbortEndsWhatIsUnderWay(t *testing.T) {
	play(t, []dataset.Path{"/a", "/b"}, func(s *scene) {
		s.far.release["/a"], s.far.release["/b"] = make(chan struct{}), make(chan struct{})
		go func() { _, _ = s.courier.Visit(s.t.Context(), false) }()
		synctest.Wait()
		if got := s.courier.Abort("/a", errors.New("enough")); !slices.Equal(got, []dataset.Path{"/a"}) {
			s.t.Errorf("aborted %v, want /a alone", got)
		}
		if line := s.line("/b"); line.Moving == nil {
			s.t.Error("/b was ended too")
		}
		time.Sleep(time.Hour)
		if got := s.begun(); len(got) != 2 {
			s.t.Errorf("within the hour after the abort sent %v, want no retry of what an operator ended", got)
		}
		close(s.far.release["/b"])
	})
}

func TestAPausedCourierBeginsNothing(t *testing.T) {
	play(t, []dataset.Path{"/a"}, func(s *scene) {
		s.courier.SetPaused(true)
		if _, err := s.courier.Visit(s.t.Context(), true); err != nil {
			s.t.Fatal(err)
		}
		if got := s.begun(); len(got) != 0 {
			s.t.Errorf("sent %v while paused", got)
		}
		s.courier.SetPaused(false)
		if tally, err := s.courier.Visit(s.t.Context(), false); err != nil || tally.Steps != 1 {
			s.t.Errorf("after the pause %+v, %v; want one step", tally, err)
		}
	})
}

func TestAPauseForgetsNoRetry(t *testing.T) {
	play(t, []dataset.Path{"/a"}, func(s *scene) {
		s.far.refuse["/a"] = dataset.ErrNoSpace
		if _, err := s.courier.Visit(s.t.Context(), false); err == nil {
			s.t.Fatal("visit succeeded")
		}
		s.courier.SetPaused(true)
		delete(s.far.refuse, "/a")
		time.Sleep(time.Hour)
		if _, err := s.courier.Visit(s.t.Context(), false); err != nil {
			s.t.Fatal(err)
		}
		s.courier.SetPaused(false)
		time.Sleep(time.Second)
		if line := s.line("/a"); line.LastPoint.IsZero() {
			s.t.Errorf("line %+v a second after the pause, want what had failed before it", line)
		}
	})
}

func TestAPromotedTargetMakesTheSourceStepDown(t *testing.T) {
	play(t, []dataset.Path{"/a"}, func(s *scene) {
		if _, err := s.courier.Visit(s.t.Context(), false); err != nil {
			s.t.Fatal(err)
		}
		mark := dataset.Mark{Activation: dataset.Activation{Generation: 1, ID: dataset.NewActivationID(), Node: "sin1", Base: s.far.held["/a"][0].ID}}
		s.far.marks["/a"] = mark
		s.snapshot("/a", "antipode_db_1")
		if tally, err := s.courier.Visit(s.t.Context(), false); err == nil || tally.Steps != 0 {
			s.t.Errorf("visit = %+v, %v; want a conflict and nothing sent (G3)", tally, err)
		}
		if got, err := s.source.Mark(s.t.Context(), "/a"); err != nil || !got.Same(mark) {
			s.t.Errorf("the source's mark is %+v, %v; want the target's", got, err)
		}
		if err := s.disk.Write("/a", "late", nil); err == nil {
			s.t.Error("the dataset can still be written to")
		}
		if !slices.Equal(s.alarms, []string{"demoted /a"}) {
			s.t.Errorf("alarms %v, want the demotion once", s.alarms)
		}
		asked := len(s.far.asked)
		time.Sleep(time.Hour)
		if got := len(s.far.asked) - asked; got > 1 {
			s.t.Errorf("a fenced dataset asked the peer %d times in an hour, want rest", got)
		}
		if line := s.line("/a"); line.State != status.StateFenced {
			s.t.Errorf("state %s, want fenced", line.State)
		}
	})
}
