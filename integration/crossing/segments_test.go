package crossing

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"antipode/daemon/status"
)

// segmentBytes is what the targets of these tests make of a segment.
const segmentBytes = 2 * mib

// newSegmented is a pair that runs and whose segments are short.
func newSegmented(t *testing.T) *pair {
	t.Helper()
	bin, err := shortSegments()
	must(t, err)
	p := newStrangersOf(t, bin, roomy)
	for _, s := range []*site{p.fra, p.sin} {
		s.Env = []string{fmt.Sprint("ANTIPODE_SEGMENT_BYTES=", segmentBytes)}
	}
	p.introduce()
	p.fra.start()
	p.sin.start()
	return p
}

// kill -9 of the target, of the source and of both in the middle of a first copy:
// the next run goes on from the last segment, so that at most two, and what was in
// flight, are sent again. Nobody triggers anything.
func TestKilledBtrfsCopyGoesOnFromItsLastSegment(t *testing.T) {
	p := newSegmented(t)
	db := p.dataset("db")
	furnish(t, db)
	random(t, db+"/big/more", 48*mib)
	p.sin.configure(narrow + accept(p.into()))
	p.fra.configure(narrow + job("db", db, slow, `every = "1000h"`))
	for _, killed := range [][]*site{{p.sin}, {p.fra}, {p.fra, p.sin}} {
		before := p.there.There()
		p.fra.eventually("it moves", func() bool { return p.there.There() > before+9*mib })
		for _, s := range killed {
			s.kill()
		}
		for _, s := range killed {
			s.start()
		}
	}
	st := p.fra.awaitWithin(4*patience, "the copy is complete", func(s status.Status) bool { return !line(s, db).LastPoint.IsZero() })
	if n := line(st, db).Restarts; n != 0 {
		t.Errorf("%d restarts from the first byte, want none", n)
	}
	stream := streamBytes(t, p.snapshot(db, p.same(db)))
	const bound = 3 * (2*segmentBytes + 2*window + mib) // a kill; mib is for headers, TLS and the questions
	again := p.there.There() - stream
	t.Logf("%d bytes of a stream of %d were sent again after 3 kills, %.1f segments a kill", again, stream, float64(again)/3/segmentBytes)
	if again > bound {
		t.Errorf("%d bytes were sent again after three kills, want at most %d", again, bound)
	}
	p.tidy(db)
}

// streamBytes is how long the full stream of a snapshot is.
func streamBytes(t *testing.T, snapshot string) int64 {
	t.Helper()
	out := tool(t, "sh", "-c", `btrfs send -q "$1" | wc -c`, "sh", snapshot)
	n, err := strconv.ParseInt(out, 10, 64)
	must(t, err)
	return n
}

// Kills of the target, the source or both, and cuts of the link, at random moments
// of one first copy: ten of them, or as many as ANTIPODE_KILLS says (`make endure`
// has a hundred). The copy ends identical, with no help.
func TestOneBtrfsCopySurvivesRandomKillsAndCuts(t *testing.T) {
	times := 10
	if n, err := strconv.Atoi(os.Getenv("ANTIPODE_KILLS")); err == nil {
		times = n
	}
	p := newSegmented(t)
	db := p.dataset("db")
	furnish(t, db)
	random(t, db+"/big/more", int64(times)*3*mib)
	p.sin.configure(narrow + accept(p.into()))
	p.fra.configure(narrow + job("db", db, slow, `every = "1000h"`))
	for i := range times {
		before := p.there.There()
		moment := before + 1 + rand.Int64N(6*mib)
		if !within(4*patience, func() bool { return p.there.There() >= moment || len(p.points(db)) > 0 }) {
			t.Fatalf("blow %d: %d bytes did not pass", i, moment-before)
		}
		if len(p.points(db)) > 0 {
			t.Logf("it was done after %d blows", i)
			break
		}
		p.strike(rand.IntN(4))
	}
	p.fra.awaitWithin(4*patience, "the pair is up to date", func(s status.Status) bool {
		return line(s, db).LastError == nil && line(s, db).Moving == nil && p.upToDate(db)
	})
	points := p.points(db)
	for _, name := range points {
		p.sameTree(p.snapshot(db, name), p.replica(db)+"/"+name)
	}
	t.Logf("%d bytes passed for a stream of %d, after %d blows", p.there.There(), streamBytes(t, p.snapshot(db, points[0])), times)
	p.tidy(db)
}

// strike kills the target, the source or both and starts them again, or cuts the
// link and mends it.
func (p *pair) strike(how int) {
	p.t.Helper()
	killed := [][]*site{{p.sin}, {p.fra}, {p.sin, p.fra}, nil}[how]
	if killed == nil {
		p.cut()
		p.restore()
	}
	for _, s := range killed {
		s.kill()
	}
	for _, s := range killed {
		s.start()
	}
}
