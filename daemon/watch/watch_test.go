package watch_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"antipode/daemon/config"
	"antipode/daemon/ledger"
	"antipode/daemon/status"
	"antipode/daemon/watch"
)

// post collects what was told and remembered.
type post struct {
	mu     sync.Mutex
	events []string
	texts  []string
	alerts []ledger.Alert
	stands []status.Alert
	broken error
	slow   time.Duration
}

func (p *post) Record(b ledger.Batch) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.alerts = append(p.alerts, b.Alerts...)
}

func (p *post) tell(_ context.Context, argv []string, _ time.Duration, env map[string]string) error {
	time.Sleep(p.slow)
	p.mu.Lock()
	defer p.mu.Unlock()
	about := env["DATASET"]
	if env["SIDE"] == "" { // not of an rpo
		about = env["OBJECT"]
	}
	p.events = append(p.events, argv[0]+" "+env["EVENT"]+" "+about)
	p.texts = append(p.texts, env["TEXT"])
	return p.broken
}

func (p *post) told() []string {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.events)
}

var key = ledger.FactKey{Side: ledger.Source, Job: "db", Dataset: "/data/db", Peer: "sin1"}

// run has a watch look at one subject, which act may change.
func run(t *testing.T, before ledger.Fact, act func(t *testing.T, w *watch.Watch, s *watch.Subject, p *post)) {
	synctest.Test(t, func(t *testing.T) {
		p := &post{}
		var mu sync.Mutex
		s := &watch.Subject{Key: key, Name: "/data/db to sin1", RPO: time.Hour, Point: status.Point{Name: "p0", Time: time.Now()}}
		w := watch.New(watch.Options{
			Node: "fra1", Now: time.Now, Log: zerolog.Nop(), History: p, Tell: p.tell,
			Subjects: func() []watch.Subject { mu.Lock(); defer mu.Unlock(); return []watch.Subject{*s} },
			Before:   func(ledger.FactKey) ledger.Fact { return before },
			Stand:    func(a []status.Alert) { p.mu.Lock(); defer p.mu.Unlock(); p.stands = a },
		})
		w.Configure(config.Alert{Exec: []string{"/bin/tell"}, Timeout: time.Minute})
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- w.Serve(ctx) }()
		act(t, w, s, p)
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
}

func TestACrossingIsToldOnceWithinTenSeconds(t *testing.T) {
	run(t, ledger.Fact{}, func(t *testing.T, _ *watch.Watch, s *watch.Subject, p *post) {
		time.Sleep(time.Hour)
		if got := p.told(); len(got) != 0 {
			t.Fatalf("on the hour told %v, want nothing", got)
		}
		time.Sleep(10 * time.Second)
		if got := p.told(); !slices.Equal(got, []string{"/bin/tell rpo-missed /data/db"}) {
			t.Fatalf("ten seconds later told %v, want the miss", got)
		}
		if len(p.stands) != 1 || !strings.Contains(p.texts[0], "p0") {
			t.Errorf("standing %v, text %q; want one alert that names the newest point", p.stands, p.texts[0])
		}
		if p.alerts[0].FactKey != key {
			t.Errorf("it is remembered as of %+v, want %+v", p.alerts[0].FactKey, key)
		}
		time.Sleep(24 * time.Hour)
		s.Point = status.Point{Name: "p1", Time: time.Now()}
		time.Sleep(2 * time.Second)
		if got := p.told(); !slices.Equal(got[1:], []string{"/bin/tell rpo-met /data/db"}) {
			t.Errorf("a day later told %v, want that it is met again, once", got[1:])
		}
		if len(p.stands) != 0 {
			t.Errorf("standing %v, want none", p.stands)
		}
	})
}

func TestARestartTellsNothingAgain(t *testing.T) {
	missed := ledger.Fact{FactKey: key, State: string(status.StateMissed)}
	run(t, missed, func(t *testing.T, _ *watch.Watch, s *watch.Subject, p *post) {
		s.Point.Time = time.Now().Add(-2 * time.Hour)
		time.Sleep(time.Minute)
		if got := p.told(); len(got) != 0 {
			t.Errorf("told %v, want nothing new", got)
		}
		s.Point.Time = time.Now()
		time.Sleep(time.Minute)
		if got := p.told(); !slices.Equal(got, []string{"/bin/tell rpo-met /data/db"}) {
			t.Errorf("told %v, want that it is met", got)
		}
	})
}

func TestAFirstCopyThatMovesIsNotLateAndOneThatStandsStillIs(t *testing.T) {
	run(t, ledger.Fact{}, func(t *testing.T, _ *watch.Watch, s *watch.Subject, p *post) {
		s.Point, s.Moving = status.Point{}, &status.Moving{}
		for range 48 {
			s.Moving = &status.Moving{Bytes: s.Moving.Bytes + 1}
			time.Sleep(30 * time.Minute)
		}
		if got := p.told(); len(got) != 0 {
			t.Errorf("while it moves told %v, want nothing", got)
		}
		time.Sleep(time.Hour)
		if got := p.told(); !slices.Equal(got, []string{"/bin/tell rpo-missed /data/db"}) {
			t.Errorf("told %v, want that it stands still", got)
		}
	})
}

func TestNothingIsLateWhileAnotherNodeIsPrimary(t *testing.T) {
	run(t, ledger.Fact{}, func(t *testing.T, _ *watch.Watch, s *watch.Subject, p *post) {
		s.Suspended = true
		time.Sleep(48 * time.Hour)
		if got := p.told(); len(got) != 0 {
			t.Errorf("told %v, want nothing", got)
		}
	})
}

func TestAnAlarmStandsAndIsNotToldAsOftenAsAPeerLikes(t *testing.T) {
	run(t, ledger.Fact{}, func(t *testing.T, w *watch.Watch, s *watch.Subject, p *post) {
		s.RPO = 0
		for i := range 100 {
			w.Alarm(watch.SplitBrain, "/data/db", fmt.Sprintf("/data/db: activation %d", i))
			time.Sleep(time.Minute)
		}
		if got := p.told(); len(got) != 1 || p.texts[0] != "activation 0" {
			t.Errorf("told %v %q, want the first, without the object said twice", got, p.texts)
		}
		if len(p.stands) != 1 {
			t.Errorf("standing %v, want the alarm", p.stands)
		}
		w.Clear("/data/db")
		time.Sleep(2 * time.Second)
		if len(p.stands) != 0 {
			t.Errorf("once cleared %v stands, want nothing", p.stands)
		}
		w.Alarm(watch.SplitBrain, "/data/db", "again")
		time.Sleep(time.Second)
		if got := p.told(); len(got) != 2 {
			t.Errorf("told %v, want the new one too", got)
		}
	})
}

func TestAlarmsAboutAJobThatIsGoneEndWithIt(t *testing.T) {
	run(t, ledger.Fact{}, func(t *testing.T, w *watch.Watch, s *watch.Subject, p *post) {
		for _, object := range []string{"job db", "/data of job db", "job db2", "/data of job db2", "/data/db"} {
			w.Alarm("brake", object, "no")
		}
		time.Sleep(time.Hour + 2*time.Second) // the objective, "... of job db to sin1", is missed
		w.Forget("job db")
		time.Sleep(2 * time.Second)
		var left []string
		for _, a := range p.stands {
			left = append(left, a.Object)
		}
		slices.Sort(left)
		if want := []string{"/data of job db2", "/data/db", s.Name, "job db2"}; !slices.Equal(left, want) {
			t.Errorf("%q stand, want %q", left, want)
		}
	})
}

func TestAnAlarmIsRememberedAsOfItsDatasetOrJob(t *testing.T) {
	for _, c := range []struct {
		kind, object string
		want         ledger.FactKey
	}{
		{watch.SplitBrain, "/data/db", ledger.FactKey{Dataset: "/data/db"}},
		{"brake", "job db", ledger.FactKey{Job: "db"}},
		{"brake", "accept from fra1", ledger.FactKey{}},
		{"space-low", "/data of job db", ledger.FactKey{Job: "db"}},
		{"space-low", "/data", ledger.FactKey{}},
	} {
		run(t, ledger.Fact{}, func(t *testing.T, w *watch.Watch, _ *watch.Subject, p *post) {
			w.Alarm(c.kind, c.object, "look")
			p.told()
			if got := p.alerts[0]; got.FactKey != c.want || got.Object != c.object {
				t.Errorf("%s about %s: got %+v, want %+v", c.kind, c.object, got, c.want)
			}
		})
	}
}

func TestAFailingCommandIsRememberedAndASlowOneDelaysNoVerdict(t *testing.T) {
	run(t, ledger.Fact{}, func(t *testing.T, w *watch.Watch, _ *watch.Subject, p *post) {
		p.broken, p.slow = errors.New("exit status 3"), 30*time.Second
		w.Alarm("mark-refused", "/data/db", "no")
		time.Sleep(time.Hour + 2*time.Second)
		if len(p.stands) != 2 {
			t.Errorf("standing %v, want the alarm and the miss", p.stands)
		}
		time.Sleep(time.Minute)
		p.told()
		if len(p.alerts) != 2 || p.alerts[0].Delivered || p.alerts[0].Error != "exit status 3" {
			t.Errorf("remembered %+v, want both as not delivered, and why", p.alerts)
		}
	})
}

// An alert that nothing could take back would stand until the daemon is restarted.
func TestTheMissOfAnObjectiveThatIsNoneAnyMoreIsTakenBack(t *testing.T) {
	for name, end := range map[string]func(*watch.Subject){
		"gone":       func(s *watch.Subject) { s.Name = "another" },
		"suspended":  func(s *watch.Subject) { s.Suspended = true },
		"undeclared": func(s *watch.Subject) { s.RPO = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			run(t, ledger.Fact{}, func(t *testing.T, _ *watch.Watch, s *watch.Subject, p *post) {
				time.Sleep(2 * time.Hour)
				synctest.Wait()
				end(s)
				s.Point.Time = time.Now()
				time.Sleep(2 * time.Second)
				if got := p.told(); len(got) != 2 || !strings.HasPrefix(got[1], "/bin/tell rpo-dropped") || p.alerts[1].FactKey != key {
					t.Errorf("told %v, want the miss and that it is dropped", got)
				}
				if len(p.stands) != 0 {
					t.Errorf("standing %v, want none", p.stands)
				}
			})
		})
	}
}

func TestAMissStandsAgainAfterARestart(t *testing.T) {
	run(t, ledger.Fact{FactKey: key, State: string(status.StateMissed)}, func(t *testing.T, _ *watch.Watch, s *watch.Subject, p *post) {
		s.Point.Time = time.Now().Add(-2 * time.Hour)
		time.Sleep(2 * time.Second)
		if got := p.told(); len(got) != 0 || len(p.stands) != 1 {
			t.Errorf("told %v, standing %v; want nothing told and the miss standing", got, p.stands)
		}
	})
}
