package daemon_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"antipode/daemon/policy"
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/fake"
	"antipode/transport/wire"
)

// thief drives sin1 with fra1's key and says whatever it likes about its points.
type thief struct {
	*world
	who  *principal
	disk *fake.Disk
	made int
}

func newThief(p *pair) *thief {
	h := &thief{
		world: &world{pair: p}, disk: fake.NewDisk("stolen", gib),
		who: &principal{name: "fra1's key", http: p.client(p.identity["fra1"])},
	}
	h.source = h.disk.Make(db)
	return h
}

// send brings one full step with a content of its own to sin1, and returns what
// that answered.
func (h *thief) send(name string, declared time.Time) answer {
	h.t.Helper()
	h.made++
	if err := h.disk.Write(db, "file", fmt.Append(nil, h.made)); err != nil {
		h.t.Fatal(err)
	}
	taken, err := h.disk.Source().Snapshot(h.t.Context(), fmt.Sprintf("antipode_%d", h.made), declared, []dataset.Path{db})
	if err != nil {
		h.t.Fatal(err)
	}
	own, err := h.disk.Source().Find(h.t.Context(), db, false)
	if err != nil {
		h.t.Fatal(err)
	}
	stream, err := h.disk.Source().Send(h.t.Context(), dataset.Step{Dataset: own[0], To: taken[0]}, dataset.Checkpoint{})
	if err != nil {
		h.t.Fatal(err)
	}
	defer stream.Close()
	if h.stream, err = io.ReadAll(stream); err != nil {
		h.t.Fatal(err)
	}
	open := h.open(db, name)
	open.Step.To = taken[0]
	open.Step.To.Name, open.Step.To.Created, open.Step.To.Retain = name, declared, declared
	return h.do(h.who, "POST", wire.PathSteps, h.whole(open, ""))
}

// honest brings one point an hour, for so many hours.
func (h *thief) honest(hours int) {
	h.t.Helper()
	for range hours {
		h.mustSend(policy.SnapshotName("db", time.Now()), time.Now())
		after(time.Hour)
	}
}

func (h *thief) mustSend(name string, declared time.Time) {
	h.t.Helper()
	if got := h.send(name, declared); got != (answer{http.StatusOK, ""}) {
		h.t.Fatalf("send %s of %s: %s, want it to be taken in", name, declared, got)
	}
}

// flush sends forged points as fast as it can, by every trick with times.
func (h *thief) flush(hours int) {
	h.t.Helper()
	tricks := []func() time.Time{
		func() time.Time { return time.Now().AddDate(1, 0, 0) },
		func() time.Time { return time.Now().AddDate(6000, 0, 0) },
		func() time.Time { return time.Unix(0, 0) },
		func() time.Time { return time.Now().Add(-72 * time.Hour) },
		func() time.Time { return time.Now().Add(time.Hour) },
		func() time.Time { return time.Now().Add(5 * time.Minute) },
		func() time.Time { return h.points(db)[0].Created },
	}
	for i := range hours * 6 {
		h.mustSend(fmt.Sprintf("antipode_db_%d", h.made), tricks[i%len(tricks)]())
		after(10 * time.Minute)
	}
}

// TestForgedNamesAndTimesFlushNothing runs two targets through the same days: one
// whose source stays honest, one whose source is stolen half-way and sends six
// forged points an hour.
func TestForgedNamesAndTimesFlushNothing(t *testing.T) {
	const before, then = 12, 28 // hours
	run := func(t *testing.T, onward func(h *thief)) (honest, all []dataset.Snapshot, end time.Time) {
		runPair(t, func(p *pair) {
			p.level = zerolog.Disabled
			a := &p.sin1.config.Accepts[0]
			a.RPO, a.Protect, a.Keep = 0, 24*time.Hour, policy.Keep{Hourly: 30, Daily: 3}
			p.start(p.sin1)
			synctest.Wait()
			after(30 * time.Minute) // no run at the edge of an hour
			h := newThief(p)
			h.honest(before)
			honest = p.points(db)
			onward(h)
			h.mustSend("antipode_db_last", time.Now()) // in the same hour of both
			synctest.Wait()
			all, end = p.points(db), time.Now()
		})
		return honest, all, end
	}
	received, loyal, _ := run(t, func(h *thief) { h.honest(then) })
	again, stolen, end := run(t, func(h *thief) { h.flush(then) })
	if len(received) != len(again) {
		t.Fatalf("the two targets began with %d and %d points", len(received), len(again))
	}
	has := func(list []dataset.Snapshot, name string) bool {
		return slices.ContainsFunc(list, func(s dataset.Snapshot) bool { return s.Name == name })
	}
	survivors := 0
	for _, point := range received {
		if !has(loyal, point.Name) {
			continue
		}
		survivors++
		if !has(stolen, point.Name) {
			t.Errorf("%s outlived an honest source, and the forged points flushed it", point.Name)
		}
	}
	if survivors == 0 || survivors == len(received) {
		t.Errorf("%d of %d points outlived the honest source: this shows nothing", survivors, len(received))
	}
	young := 0
	for _, point := range stolen {
		if end.Sub(point.Received) < 24*time.Hour {
			young++
		}
	}
	if young != 24*6 {
		t.Errorf("of the last day's 144 points %d are there, want all: they are protected", young)
	}
}

// A point's name and identity are taken once: who sends others under them changes
// nothing.
func TestAPointIsNeverReplaced(t *testing.T) {
	runPair(t, func(p *pair) {
		p.level = zerolog.Disabled
		p.start(p.sin1)
		synctest.Wait()
		h := newThief(p)
		h.honest(2)
		held, facts := p.points(db), p.sin1.disk.Facts()
		if got, want := h.send(held[0].Name, time.Now()), (answer{http.StatusConflict, "exists"}); got != want {
			t.Errorf("another point under the name of one: %s, want %s", got, want)
		}
		h.source.ID = "dead"
		if got, want := h.send("antipode_db_other", time.Now()), (answer{http.StatusConflict, "diverged"}); got != want {
			t.Errorf("a point of another dataset under its path: %s, want %s", got, want)
		}
		if got := p.sin1.disk.Facts(); !slices.Equal(got, facts) {
			t.Errorf("the target changed: %v, it was %v", got, facts)
		}
	})
}
