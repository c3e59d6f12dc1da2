package crossing

import (
	"fmt"
	"testing"
	"time"

	"antipode/daemon/control"
	"antipode/daemon/status"
)

// A target that listens nowhere is paired from its own side, and kept current over
// connections that it makes; also after its only way to the source was cut in the
// middle of a copy, and after either daemon was killed.
func TestATargetThatListensNowhereIsKeptCurrent(t *testing.T) {
	p := newStrangers(t, roomy)
	p.sin.Sections = "[listen]\naddress = \"none\"\n[log]\nformat = \"json\"\n"
	p.fra.start()
	p.sin.write()
	p.sin.start()

	says(t, p.sin.refused("pair"), "no peer can dial this node", "--reverse")
	var token control.PairResponse
	p.fra.ask(&token, "pair")
	p.sin.ask(nil, "pair", "--reverse", token.Token)
	db := p.dataset("db")
	random(t, db+"/data", 24*mib)
	p.sin.configure(p.sin.Sections + narrow + accept(p.into()))
	p.fra.configure(narrow + job("db", db, slow))
	if p.sin.status().Listen != "" {
		t.Errorf("sin1 listens at %q, want nowhere", p.sin.status().Listen)
	}

	p.fra.ask(nil, "trigger", "db")
	p.fra.eventually("a third has passed", func() bool { return p.back.Total() > 8*mib })
	p.back.Cut()
	p.fra.await("the source waits for the link", func(s status.Status) bool {
		m := line(s, db).Moving
		return m != nil && m.Waiting == status.WaitingLink
	})
	p.back.Restore()
	p.fra.await("the copy is complete", func(s status.Status) bool { return !line(s, db).LastPoint.IsZero() })
	p.same(db)
	if got := p.back.Total(); got > 40*mib {
		t.Errorf("%d bytes passed for 24 MiB of content, want what was in flight twice at most", got)
	}

	for _, s := range []*site{p.sin, p.fra} {
		s.kill()
		s.start()
		random(t, db+"/"+s.Name, mib)
		if r := p.fra.trigger("db"); len(r.Errors) > 0 || r.Steps == 0 {
			t.Errorf("after %s was killed: %+v, want a step", s.Name, r)
		}
		p.same(db)
	}
	for s, object := range map[*site]string{p.fra: "peer sin1", p.sin: "peer fra1"} {
		check(t, s, object, control.Good)
	}
	p.tidy(db)
}

// The host that is backed up has no schedule and no way to the backup server, which
// makes every connection and says when.
func TestABackupServerPullsFromAHostThatCannotReachIt(t *testing.T) {
	p := newStrangers(t, roomy)
	db := p.dataset("db")
	random(t, db+"/data", 4*mib)
	p.fra.Sections = job("db", db, "pulled = true")
	p.fra.knows("sin1", p.sin.key(), "")
	p.fra.start()
	p.sin.Peers = fmt.Sprintf("[[peer]]\nname = \"fra1\"\nkey = %q\naddress = %q\nreverse = true\n", p.fra.key(), p.back.Address())
	p.sin.Sections = "[listen]\naddress = \"none\"\n[log]\nformat = \"json\"\n" + accept(p.into(), `pull_every = "1m"`)
	p.sin.write()
	p.sin.start()
	p.fra.await("the first copy is there, and nobody but sin1 has asked for it", func(s status.Status) bool { return !line(s, db).LastPoint.IsZero() })
	p.same(db)
	if by := p.fra.status().Jobs[0].PulledBy; len(by) != 1 || by[0].When != "every 1m" {
		t.Errorf("fra1 shows %+v, want that sin1 pulls every minute", by)
	}
	text, _, _ := p.fra.call("status")
	says(t, text, "pulled by sin1, every 1m")
	text, _, _ = p.sin.call("status")
	says(t, text, "PULLS", "every 1m")
	says(t, check(t, p.fra, "job db", control.Good), "db")
	if took := p.fra.stop(); took > 10*time.Second {
		t.Errorf("the source took %s to stop", took)
	}
	p.tidy(db)
}
