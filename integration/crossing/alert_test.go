package crossing

import (
	"os"
	"strings"
	"testing"
	"time"

	"antipode/daemon/status"
)

// told is an alert command that notes what it is told, one file a call.
type told struct {
	t   *testing.T
	dir string
}

// alerted gives a site an alert command.
func alerted(t *testing.T, s *site) (a *told, section string) {
	t.Helper()
	a = &told{t: t, dir: s.file("told")}
	must(t, os.Mkdir(a.dir, 0o700))
	script := "#!/bin/sh\nenv | grep ^ANTIPODE_ > " + a.dir + "/.$$ && mv " + a.dir + "/.$$ " + a.dir + "/$ANTIPODE_EVENT.$$\n"
	must(t, os.WriteFile(s.file("tell"), []byte(script), 0o700))
	return a, "[alert]\nexec = [\"" + s.file("tell") + "\"]\n"
}

// count is how often an event was told.
func (a *told) count(event string) (n int) {
	entries, err := os.ReadDir(a.dir)
	must(a.t, err)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), event+".") {
			n++
		}
	}
	return n
}

// awaits waits until an event was told once more than before, and returns the
// variables of the newest.
func (a *told) awaits(most time.Duration, event string, before int) string {
	a.t.Helper()
	if !within(most, func() bool { return a.count(event) > before }) {
		a.t.Fatalf("%s was not told within %s", event, most)
	}
	entries, err := os.ReadDir(a.dir)
	must(a.t, err)
	text := ""
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), event+".") {
			text += read(a.t, a.dir+"/"+e.Name())
		}
	}
	return text
}

func TestAlertIsRunOnBothSidesWithinTenSecondsOfTheMissAndWhenMetAgain(t *testing.T) {
	p := newPair(t)
	db := p.dataset("db")
	write(t, db+"/data", "x")
	const rpo = 4 * time.Second
	near, nearSection := alerted(t, p.fra)
	far, farSection := alerted(t, p.sin)
	p.sin.configure(farSection + accept(p.into(), `rpo = "4s"`, `keep = { last = 3 }`))
	p.fra.configure(nearSection + job("db", db, `every = "1s"`, `rpo = "4s"`, `keep = { last = 3 }`))
	ok := func(s status.Status) bool {
		return line(s, db).State == status.StateOK || replicaLine(s, db).State == status.StateOK && len(s.Jobs) == 0
	}
	p.fra.await("it is ok", ok)
	p.sin.await("it is ok", ok)

	before, met := far.count("rpo-missed"), far.count("rpo-met")
	p.fra.kill() // the source falls silent: the target speaks up
	text := far.awaits(rpo+10*time.Second, "rpo-missed", before)
	says(t, text, "ANTIPODE_EVENT=rpo-missed", "ANTIPODE_NODE=sin1", "ANTIPODE_SIDE=target", "ANTIPODE_DATASET="+db,
		"ANTIPODE_PEER=fra1", "ANTIPODE_RPO_SECONDS=4", "ANTIPODE_POINT=antipode_db_", "ANTIPODE_OBJECT=", "ANTIPODE_TEXT=")
	if state := replicaLine(p.sin.status(), db).State; state != status.StateMissed {
		t.Errorf("state = %s, want missed", state)
	}
	if _, _, code := p.sin.call("health"); code == 0 {
		t.Error("health is well while an rpo is missed")
	}
	p.fra.start()
	says(t, far.awaits(20*time.Second, "rpo-met", met), "ANTIPODE_EVENT=rpo-met", "ANTIPODE_SIDE=target")

	p.fra.await("it is ok", ok)
	before = near.count("rpo-missed")
	met = near.count("rpo-met")
	p.sin.kill() // the target is gone: the source speaks up
	says(t, near.awaits(rpo+10*time.Second, "rpo-missed", before), "ANTIPODE_NODE=fra1", "ANTIPODE_SIDE=source",
		"ANTIPODE_JOB=db", "ANTIPODE_PEER=sin1", "ANTIPODE_DATASET="+db)
	p.sin.start()
	near.awaits(40*time.Second, "rpo-met", met)
	p.fra.await("it is ok", ok)
	if standing := p.fra.status().Alerts; len(standing) > 0 {
		t.Errorf("alerts %+v still stand", standing)
	}
}
