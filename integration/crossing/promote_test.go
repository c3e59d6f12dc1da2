package crossing

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"antipode/daemon/control"
	"antipode/daemon/status"
)

// promoted makes a pair, sends a point, kills the source, and promotes the target.
func promoted(t *testing.T, more ...string) (p *pair, db string, r control.PromoteResponse) {
	t.Helper()
	p = newPair(t)
	db = p.dataset("db")
	random(t, db+"/data", 8*mib)
	p.sin.configure(accept(p.into()))
	p.fra.configure(job("db", db, more...))
	p.fra.trigger("db")
	point := p.same(db)
	id, _ := receivedUUID(t, filepath.Join(p.replica(db), point))
	p.fra.kill()
	write(t, db+"/never arrives", "written after the last point")

	began := time.Now()
	p.sin.ask(&r, "promote", db, "--yes", "--reason", "a test")
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("promote took %s", took)
	}
	if r.Point != point || r.Generation != 1 {
		t.Errorf("promoted %s as generation %d, want %s as 1", r.Point, r.Generation, point)
	}
	p.sameTree(filepath.Join(p.replica(db), point), r.Live)
	write(t, r.Live+"/written here", "the live copy takes writes")
	if after, _ := receivedUUID(t, filepath.Join(p.replica(db), point)); after != id {
		t.Errorf("the point's identity is %s after the promotion, was %s", after, id)
	}
	if err := os.WriteFile(filepath.Join(p.replica(db), point, "x"), nil, 0o600); err == nil {
		t.Error("the point can be written to")
	}
	if role := replicaLine(p.sin.status(), db).Role; role != "primary" {
		t.Errorf("role = %q, want primary", role)
	}
	return p, db, r
}

func isReadOnly(t *testing.T, path string) bool {
	t.Helper()
	return strings.Contains(tool(t, "btrfs", "property", "get", "-ts", path, "ro"), "ro=true")
}

func hasAlert(s status.Status, kind string) bool {
	for _, a := range s.Alerts {
		if a.Kind == kind {
			return true
		}
	}
	return false
}

func TestReturningPrimaryStepsDownAndNothingOverwritesThePromoted(t *testing.T) {
	p, db, r := promoted(t, "may_promote = true")
	p.fra.start() // nobody triggers anything
	st := p.fra.await("it steps down with an alarm", func(s status.Status) bool {
		return line(s, db).State == status.StateFenced && line(s, db).LastError != nil && hasAlert(s, "demoted")
	})
	says(t, problemOf(line(st, db).LastError), db, "sin1 is primary in generation 1")
	if !isReadOnly(t, db) {
		t.Error("the dataset of the demoted primary takes writes")
	}
	if !exists(db + "/never arrives") {
		t.Error("what had diverged is gone")
	}
	p.fra.stop() // and it stays so
	p.fra.start()
	p.fra.ask(nil, "trigger", "db")
	before := p.snapshots(db)
	p.fra.await("it is fenced after a restart too", func(s status.Status) bool { return line(s, db).State == status.StateFenced })
	if got := len(p.snapshots(db)); got != len(before) {
		t.Errorf("%d snapshots on the fenced side, want the %d from before", got, len(before))
	}
	if text, err := os.ReadFile(r.Live + "/written here"); err != nil || string(text) != "the live copy takes writes" {
		t.Errorf("the live copy holds %q (%v)", text, err)
	}
	if n := len(p.points(db)); n != 2 { // the point and what is live beside it
		t.Errorf("%v beside the point, want it and antipode_live only", p.points(db))
	}
}

func TestPrimaryThatMayNotBePromotedOverGoesOnWithAnAlarm(t *testing.T) {
	p, db, r := promoted(t, "may_promote = false")
	p.fra.start()
	says(t, p.fra.triggerFails("db"), db, "may_promote")
	p.fra.await("it gives an alarm", func(s status.Status) bool { return hasAlert(s, "mark-refused") })
	if isReadOnly(t, db) {
		t.Error("it stepped down although its job does not allow that")
	}
	if n := len(p.snapshots(db)); n != 2 {
		t.Errorf("snapshots = %v, want it to go on making them", p.snapshots(db))
	}
	if !exists(r.Live+"/written here") || len(p.points(db)) != 2 {
		t.Errorf("the promoted replica was received into: %v", p.points(db))
	}
}

func TestPromoteWhileThePrimaryAnswersNeedsForce(t *testing.T) {
	p := newPair(t)
	db := p.dataset("db")
	random(t, db+"/data", mib)
	p.sin.configure(accept(p.into()))
	p.fra.configure(job("db", db, "may_promote = true"))
	p.fra.trigger("db")
	says(t, p.sin.refused("promote", db, "--yes"), "the old primary answers", "--force")
	says(t, p.sin.refused("promote", db), "answers")
	says(t, p.sin.refused("promote", "/no/such", "--yes"), "no replica", db)
	var r control.PromoteResponse
	p.sin.ask(&r, "promote", db, "--yes", "--force")
	p.fra.ask(nil, "trigger", "db")
	p.fra.await("the old primary steps down", func(s status.Status) bool { return line(s, db).State == status.StateFenced })
	if !isReadOnly(t, db) {
		t.Error("the dataset of the demoted primary takes writes")
	}
}
