package crossing

import (
	"testing"

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
