package daemon_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"antipode/daemon"
	"antipode/daemon/config"
	"antipode/daemon/control"
	"antipode/daemon/ledger"
	"antipode/daemon/policy"
	"antipode/daemon/status"
	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/fake"
	"antipode/transport/peer"
	"antipode/transport/transporttest"
)

const (
	gib  = 1 << 30
	into = "/backup/fra1"
	db   = dataset.Path("/data/db")
)

// pair is two daemons, fra1 that sends and sin1 that receives, on fakes and a
// network in memory, under the bubble's clock.
type pair struct {
	t         *testing.T
	net       *transporttest.Net
	fra1      *node
	sin1      *node
	told      *told
	identity  map[string]peer.Identity
	directory string
	level     zerolog.Level // of the daemons' logs
}

// node is one of the two. Its disk, key and state directory outlive its daemons.
type node struct {
	name   string
	disk   *fake.Disk
	config config.Config
	daemon *daemon.Daemon
	ahead  time.Duration // how far its clock is ahead of the bubble's
	slow   time.Duration // each destroy on it takes as long
	marks  bool          // its file system has bookmarks
	hook   func(ctx context.Context, argv []string, env map[string]string) error
	crash  func() // ends the daemon without any grace for its disk
	stop   func() // ends it gracefully
}

// told collects what the operators were told.
type told struct {
	mu    sync.Mutex
	notes []string
	at    []time.Time
}

func (l *told) add(node string, env map[string]string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	about := env["DATASET"]
	if env["SIDE"] == "" { // not of an rpo
		about = env["OBJECT"]
	}
	l.notes = append(l.notes, node+" "+env["EVENT"]+" "+about)
	l.at = append(l.at, time.Now())
}

// since returns what was told after the first n notes.
func (l *told) since(n int) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.notes[n:])
}

// fakes makes drivers on a node's disk.
type fakes struct {
	disk *fake.Disk
	now  func() time.Time
	slow time.Duration // each destroy takes as long
	// marks says that the file system has bookmarks.
	marks bool
}

func (f fakes) Source(_ policy.Driver, include policy.Names) (fsdrivers.Source, error) {
	source := f.disk.SourceWith(include.Match)
	if f.marks {
		return fake.Bookmarking{Source: source}, nil
	}
	return source, nil
}

func (f fakes) Target(a policy.Accept) (fsdrivers.Target, error) {
	if f.slow > 0 {
		return slowTarget{f.disk.Target(a.Into, f.now), f.slow}, nil
	}
	return f.disk.Target(a.Into, f.now), nil
}

// slowTarget takes its time to destroy.
type slowTarget struct {
	fsdrivers.Target
	slow time.Duration
}

func (s slowTarget) Destroy(ctx context.Context, d dataset.Path, snap dataset.Snapshot) error {
	time.Sleep(s.slow)
	return s.Target.Destroy(ctx, d, snap)
}

// runPair runs a test on a pair whose configuration it may change before it
// starts the daemons with start.
func runPair(t *testing.T, test func(p *pair)) {
	synctest.Test(t, func(t *testing.T) {
		p := &pair{
			t: t, net: transporttest.New(), told: &told{}, identity: map[string]peer.Identity{}, directory: t.TempDir(),
			level: zerolog.WarnLevel,
		}
		for _, name := range []string{"fra1", "sin1"} {
			id, err := peer.NewIdentity()
			if err != nil {
				t.Fatal(err)
			}
			p.identity[name] = id
		}
		p.fra1 = p.node("fra1", "sin1")
		p.sin1 = p.node("sin1", "fra1")
		p.fra1.config.Jobs = []policy.Job{hourly("db", db)}
		p.sin1.config.Accepts = []policy.Accept{{
			From: "fra1", Driver: policy.Btrfs, Into: into, RPO: 90 * time.Minute, Location: time.UTC,
			Keep: policy.Keep{Hourly: 48, Daily: 60}, MinFree: policy.Amount{Percent: 5},
		}}
		p.fra1.disk.Make(db)
		p.write("first", "one")
		test(p)
		for _, n := range []*node{p.fra1, p.sin1} {
			if n.stop != nil {
				n.stop()
			}
		}
	})
}

func hourly(id string, paths ...dataset.Path) policy.Job {
	j := policy.Job{
		ID: id, Driver: policy.Btrfs, Schedule: policy.Schedule{Every: time.Hour}, ReplicateTo: []string{"sin1"},
		RPO: 90 * time.Minute, Keep: policy.Keep{Last: 4, Hourly: 24}, Location: time.UTC, MayPromote: true, Always: true,
	}
	for _, p := range paths {
		j.Datasets = append(j.Datasets, policy.Pattern{Path: p})
	}
	return j
}

func (p *pair) node(name, other string) *node {
	return &node{name: name, disk: fake.NewDisk(name, 100*gib), config: config.Config{
		Path: filepath.Join(p.directory, name, "antipode.toml"), Node: name, StateDir: filepath.Join(p.directory, name),
		Listen: name + ":8771", Peers: []policy.Peer{{Name: other, Address: other + ":8771", Key: p.identity[other].Fingerprint().String()}},
		Alert:     config.Alert{Exec: []string{"/bin/tell"}, Timeout: time.Minute},
		Transport: config.Transport{Lanes: 2, Window: 4 << 20},
	}}
}

// start makes a daemon out of what a node has.
func (p *pair) start(n *node) {
	t := p.t
	t.Helper()
	mkdir(t, n.config.StateDir)
	history, err := ledger.Open(ledger.Path(n.config.StateDir), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	var listener net.Listener
	if n.config.Listen != config.ListenNone {
		if listener, err = p.net.Listen(n.config.Listen); err != nil {
			t.Fatal(err)
		}
	}
	cfg, ahead := n.config, n.ahead
	now := func() time.Time { return time.Now().Add(ahead) }
	d, err := daemon.New(daemon.Options{
		Config: &cfg, Identity: p.identity[n.name], Drivers: fakes{n.disk, now, n.slow, n.marks}, Ledger: history, Listener: listener,
		Dial: p.net.Dial, Now: now, Log: zerolog.New(zerolog.NewTestWriter(t)).Level(p.level), Version: "test",
		Reload: func() (*config.Config, error) { next := n.config; return &next, nil },
		Tell: func(_ context.Context, _ []string, _ time.Duration, env map[string]string) error {
			p.told.add(n.name, env)
			return nil
		},
		Hook: func(ctx context.Context, argv []string, _ time.Duration, env map[string]string) error {
			if n.hook == nil {
				return nil
			}
			return n.hook(ctx, argv, env)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	n.daemon = d
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- d.Serve(ctx) }()
	n.stop = func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("%s: Serve = %v, want nil", n.name, err)
		}
		history.Close()
		n.stop = nil
	}
	n.crash = func() { n.disk.Crash(); n.stop() }
}

func (p *pair) startBoth() { p.start(p.fra1); p.start(p.sin1) }

func (p *pair) write(file, text string) {
	p.t.Helper()
	if err := p.fra1.disk.Write(db, file, []byte(text)); err != nil {
		p.t.Fatal(err)
	}
}

// after lets virtual time pass and everything that it sets going come to rest.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// pairLine is fra1's line about a dataset on its way to sin1.
func (p *pair) pairLine(path dataset.Path) status.Pair {
	p.t.Helper()
	for _, j := range p.fra1.daemon.Status().Jobs {
		for _, d := range j.Datasets {
			if d.Path == path && len(d.Peers) == 1 {
				return d.Peers[0]
			}
		}
	}
	p.t.Fatalf("fra1 shows no line for %s", path)
	return status.Pair{}
}

// points is what sin1 holds of a dataset.
func (p *pair) points(path dataset.Path) []dataset.Snapshot {
	p.t.Helper()
	points, err := p.sin1.disk.Target(into, time.Now).Snapshots(p.t.Context(), path)
	if err != nil {
		p.t.Fatal(err)
	}
	return points
}

// wantSame fails unless sin1's newest point of path holds what the source's
// snapshot of that name holds.
func (p *pair) wantSame(path dataset.Path) {
	p.t.Helper()
	points := p.points(path)
	if len(points) == 0 {
		p.t.Fatalf("sin1 has no point of %s", path)
	}
	name := points[len(points)-1].Name
	got, err := p.sin1.disk.SnapshotFiles(into, path, name)
	if err != nil {
		p.t.Fatal(err)
	}
	want, err := p.fra1.disk.SnapshotFiles("", path, name)
	if err != nil {
		p.t.Fatal(err)
	}
	if !maps.EqualFunc(got, want, bytes.Equal) {
		p.t.Errorf("point %s of %s differs from its snapshot: got %d files, want %d", name, path, len(got), len(want))
	}
}

func TestAnHourlyJobKeepsItsStandbyCurrentForThreeDays(t *testing.T) {
	runPair(t, func(p *pair) {
		p.startBoth()
		for hour := range 72 {
			p.write("log", fmt.Sprint("hour ", hour))
			after(time.Hour)
			if line := p.pairLine(db); line.State != status.StateOK || line.Lag > time.Hour+time.Minute {
				t.Fatalf("hour %d: state %s, lag %s, error %v; want ok within an hour", hour, line.State, line.Lag, line.LastError)
			}
		}
		p.wantSame(db)
		if n := len(p.points(db)); n < 48 || n > 53 {
			t.Errorf("sin1 holds %d points after three days, want its own policy's 48 hours and the days before", n)
		}
		own, err := p.fra1.disk.Source().Snapshots(t.Context(), db)
		if err != nil {
			t.Fatal(err)
		}
		if len(own) < 24 || len(own) > 26 {
			t.Errorf("fra1 keeps %d snapshots, want those of 24 hours and what is in use", len(own))
		}
		if notes := p.told.since(0); len(notes) != 0 {
			t.Errorf("somebody was told %v, want nothing", notes)
		}
	})
}

func TestBothSidesSpeakUpWhenTheLinkIsDownAndAgainWhenItIsBack(t *testing.T) {
	runPair(t, func(p *pair) {
		p.startBoth()
		after(2 * time.Hour)
		p.net.Down(transporttest.Outage{Refuse: true, Reset: true})
		newest := p.points(db)[len(p.points(db))-1]
		after(time.Until(newest.Created.Add(90*time.Minute)) + 10*time.Second)
		notes := p.told.since(0)
		slices.Sort(notes)
		want := []string{"fra1 rpo-missed /data/db", "sin1 rpo-missed /data/db"}
		if !slices.Equal(notes, want) {
			t.Fatalf("ten seconds after the miss told %v, want %v", notes, want)
		}
		after(6 * time.Hour)
		p.net.Up()
		after(10 * time.Minute)
		notes = p.told.since(2)
		slices.Sort(notes)
		if want := []string{"fra1 rpo-met /data/db", "sin1 rpo-met /data/db"}; !slices.Equal(notes, want) {
			t.Errorf("after the link came back told %v, want %v", notes, want)
		}
		p.wantSame(db)
	})
}

func TestTheTargetSpeaksUpWhileItsSourceIsDead(t *testing.T) {
	runPair(t, func(p *pair) {
		p.startBoth()
		after(time.Hour)
		p.fra1.crash()
		after(2 * time.Hour)
		if notes := p.told.since(0); !slices.Contains(notes, "sin1 rpo-missed /data/db") {
			t.Errorf("told %v, want sin1's rpo-missed", notes)
		}
	})
}

func TestATargetIntoWhichNothingEverCameSpeaksUp(t *testing.T) {
	runPair(t, func(p *pair) {
		p.start(p.sin1)
		after(90*time.Minute + 10*time.Second)
		if notes := p.told.since(0); !slices.Equal(notes, []string{"sin1 rpo-missed "}) {
			t.Errorf("told %v, want sin1's rpo-missed", notes)
		}
	})
}

func TestAJobThatFindsNoDatasetSpeaksUp(t *testing.T) {
	runPair(t, func(p *pair) {
		p.fra1.disk.Remove(db)
		p.startBoth()
		after(90*time.Minute + 10*time.Second)
		if notes := p.told.since(0); !slices.Contains(notes, "fra1 rpo-missed ") {
			t.Errorf("told %v, want fra1's rpo-missed", notes)
		}
	})
}

func TestALinkCutInTheMiddleCostsOnlyWhatWasInFlight(t *testing.T) {
	runPair(t, func(p *pair) {
		const size = 64 << 20
		if err := p.fra1.disk.Grow(db, size); err != nil {
			t.Fatal(err)
		}
		p.fra1.disk.SetRate(4 << 20)
		p.startBoth()
		after(8 * time.Second)
		if line := p.pairLine(db); line.Moving == nil || line.Moving.Bytes == 0 {
			t.Fatalf("after 8 s %+v moves, want some of the first copy", line.Moving)
		}
		p.net.Down(transporttest.Outage{Reset: true})
		after(2 * time.Minute)
		if line := p.pairLine(db); line.Moving == nil || line.Moving.Waiting != status.WaitingLink {
			t.Errorf("with the link down %+v, want a step that waits for the link", line.Moving)
		}
		p.net.Up()
		after(time.Minute)
		p.wantSame(db)
		carried := p.net.Carried(transporttest.ToListener)
		if limit := int64(size + 3*(4<<20) + size/20); carried > limit {
			t.Errorf("%d bytes went over the link for a stream of %d, want at most %d", carried, size, limit)
		}
	})
}

func TestRestartsOfEitherSideNeedNoHelp(t *testing.T) {
	runPair(t, func(p *pair) {
		if err := p.fra1.disk.Grow(db, 32<<20); err != nil {
			t.Fatal(err)
		}
		p.fra1.disk.SetRate(2 << 20)
		p.startBoth()
		for range 3 {
			after(5 * time.Second)
			p.sin1.crash()
			after(5 * time.Second)
			p.start(p.sin1)
			after(5 * time.Second)
			p.fra1.crash()
			p.start(p.fra1)
		}
		after(time.Hour)
		p.wantSame(db)
		after(time.Hour)
		p.wantSame(db)
		if n := p.sin1.disk.Litter(into); n != 0 {
			t.Errorf("%d unfinished receives lie about on sin1, want none", n)
		}
	})
}

func TestAPromotedStandbyFencesItsSource(t *testing.T) {
	runPair(t, func(p *pair) {
		p.startBoth()
		after(time.Hour)
		p.fra1.crash()
		after(time.Minute)
		answer := p.promote(control.PromoteRequest{Dataset: db})
		if answer.Live == "" || answer.Generation != 1 {
			t.Fatalf("promotion answered %+v, want generation 1 and a live path", answer)
		}
		live, err := p.sin1.disk.Files(dataset.Path(answer.Live))
		if err != nil || string(live["first"]) != "one" {
			t.Fatalf("live data %v, %v; want the first file", live, err)
		}
		points := len(p.points(db))
		p.start(p.fra1)
		after(3 * time.Hour)
		if got := len(p.points(db)); got != points {
			t.Errorf("sin1 took in %d points after its promotion, want none (G3)", got-points)
		}
		if err := p.fra1.disk.Write(db, "late", []byte("x")); err == nil {
			t.Error("fra1 can still be written to, want it read-only")
		}
		if notes := p.told.since(0); !slices.Contains(notes, "fra1 demoted /data/db") {
			t.Errorf("told %v, want that fra1 was demoted", notes)
		}
	})
}

func TestASourceThatMayNotBeFencedGoesOnAndSaysSo(t *testing.T) {
	runPair(t, func(p *pair) {
		p.fra1.config.Jobs[0].MayPromote = false
		p.startBoth()
		after(time.Hour)
		p.promote(control.PromoteRequest{Dataset: db, Force: true})
		after(3 * time.Hour)
		if err := p.fra1.disk.Write(db, "late", []byte("x")); err != nil {
			t.Errorf("fra1 was fenced by a peer that may not: %v", err)
		}
		if notes := p.told.since(0); !slices.Contains(notes, "fra1 mark-refused /data/db") {
			t.Errorf("told %v, want the refused mark", notes)
		}
	})
}

func (p *pair) promote(r control.PromoteRequest) control.PromoteResponse {
	p.t.Helper()
	answer, err := p.sin1.daemon.Promote(p.t.Context(), r)
	if err != nil {
		p.t.Fatal(err)
	}
	synctest.Wait()
	return answer
}

func TestAReloadKeepsTransfersAndEndsDroppedOnes(t *testing.T) {
	runPair(t, func(p *pair) {
		www := dataset.Path("/data/www")
		p.fra1.disk.Make(www)
		for _, d := range []dataset.Path{db, www} {
			if err := p.fra1.disk.Grow(d, 64<<20); err != nil {
				t.Fatal(err)
			}
		}
		p.fra1.config.Jobs = append(p.fra1.config.Jobs, hourly("www", www))
		p.fra1.disk.SetRate(1 << 20)
		p.startBoth()
		after(10 * time.Second)
		p.fra1.config.Jobs = p.fra1.config.Jobs[:1]
		carried := p.net.Carried(transporttest.ToListener)
		if _, err := p.fra1.daemon.ReloadConfig(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if line := p.pairLine(db); line.Moving == nil || line.Moving.Bytes == 0 {
			t.Errorf("after the reload %+v, want the first copy to go on", line.Moving)
		}
		after(2 * time.Minute)
		p.wantSame(db)
		if got := p.points(www); len(got) != 0 {
			t.Errorf("the dropped job brought %d points, want none", len(got))
		}
		if extra := p.net.Carried(transporttest.ToListener) - carried; extra > 70<<20 {
			t.Errorf("%d bytes after the reload, want only the rest of one copy", extra)
		}
	})
}

func TestAFullTargetIsNamedAndTheTransferGoesOnOnceThereIsRoom(t *testing.T) {
	runPair(t, func(p *pair) {
		if err := p.fra1.disk.Grow(db, 64<<20); err != nil {
			t.Fatal(err)
		}
		p.fra1.disk.SetRate(4 << 20)
		p.startBoth()
		after(4 * time.Second)
		p.sin1.disk.Fill()
		after(time.Minute)
		if line := p.pairLine(db); line.Moving == nil || line.Moving.Waiting != status.WaitingSpace {
			t.Errorf("with a full target %+v (last error %+v), want a step that waits for space", line.Moving, line.LastError)
		}
		p.sin1.disk.Drain()
		after(time.Minute)
		p.wantSame(db)
	})
}

func TestPauseOutlivesARestart(t *testing.T) {
	runPair(t, func(p *pair) {
		p.startBoth()
		after(time.Hour)
		points := len(p.points(db))
		if _, err := p.fra1.daemon.SetPaused("db", true); err != nil {
			t.Fatal(err)
		}
		p.fra1.stop()
		p.start(p.fra1)
		after(5 * time.Hour)
		if got := len(p.points(db)); got != points {
			t.Errorf("a paused job brought %d points, want none", got-points)
		}
		if _, err := p.fra1.daemon.SetPaused("db", false); err != nil {
			t.Fatal(err)
		}
		after(time.Minute)
		if got := len(p.points(db)); got != points+1 {
			t.Errorf("after unpause %d new points, want the one that was due", got-points)
		}
	})
}
