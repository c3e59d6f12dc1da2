package crossing

import (
	"os"
	"strings"
	"testing"

	"antipode/daemon/control"
	"antipode/daemon/status"
)

// The words that an operator types, from two bare files to a first copy.
func TestPairWordForWord(t *testing.T) {
	p := newStrangers(t, roomy)
	db := p.dataset("db")
	random(t, db+"/data", mib)
	p.fra.start()
	p.sin.start()

	token, hint, code := p.sin.call("pair")
	token = strings.TrimSpace(token)
	if code != 0 || strings.ContainsAny(token, " \n") || token == "" {
		t.Fatalf("antipode pair: exit code %d, printed %q, want one word", code, token)
	}
	says(t, hint, "On the other node", "antipode pair TOKEN")

	garbled := strings.Replace(token, token[20:24], "zzzz", 1)
	says(t, p.fra.refused("pair", garbled), "token")
	says(t, p.fra.refused("pair", token[:len(token)-5]), "token")
	if peers := p.sin.status().Peers; len(peers) > 0 {
		t.Fatalf("a garbled token pinned %v", peers)
	}

	var paired control.PairAcceptResponse
	p.fra.ask(&paired, "pair", token)
	if paired.Peer != "sin1" || paired.Address != p.there.Address() || paired.Key != p.sin.key() {
		t.Errorf("fra1 paired with %+v, want sin1 at %s with key %s", paired, p.there.Address(), p.sin.key())
	}
	says(t, read(t, paired.File), p.sin.key())
	says(t, read(t, p.sin.file("peers.d/fra1.toml")), p.fra.key(), p.back.Address())
	for s, name := range map[*site]string{p.fra: "sin1", p.sin: "fra1"} {
		if peers := s.status().Peers; len(peers) != 1 || peers[0].Name != name {
			t.Errorf("%s knows %v, want %s", s.Name, peers, name)
		}
	}
	says(t, p.fra.refused("pair", token), "token")

	p.fra.configure(job("db", db))
	p.sin.configure(accept(p.into()))
	p.fra.trigger("db")
	p.same(db)
}

// A new token voids the one before it, and a daemon that restarts knows neither.
func TestPairingTokenIsVoidOnceThereIsANewerOne(t *testing.T) {
	p := newStrangers(t, roomy)
	p.fra.start()
	p.sin.start()
	var first, second control.PairResponse
	p.sin.ask(&first, "pair")
	p.sin.ask(&second, "pair")
	p.fra.refused("pair", first.Token)
	p.sin.stop()
	p.sin.start()
	p.fra.refused("pair", second.Token)
	for _, s := range []*site{p.fra, p.sin} {
		if peers := s.status().Peers; len(peers) > 0 {
			t.Errorf("%s pinned %v, want nobody", s.Name, peers)
		}
	}
}

func TestChangedKeyIsRefusedWithBothKeysAndTheCure(t *testing.T) {
	p := newPair(t)
	db := p.dataset("db")
	random(t, db+"/data", mib)
	p.fra.configure(job("db", db))
	p.sin.configure(accept(p.into()))
	p.fra.trigger("db")
	points := len(p.points(db))

	expected := p.sin.key()
	p.sin.stop()
	must(t, os.Remove(p.sin.file("state/identity.key")))
	p.sin.start()
	shown := p.sin.key()
	if shown == expected {
		t.Fatal("the key did not change")
	}
	words := []string{shown, expected, "antipode identity"}
	says(t, p.fra.triggerFails("db"), words...)
	st := p.fra.status()
	says(t, problemOf(line(st, db).LastError), words...)
	if len(st.Peers) != 1 || st.Peers[0].Reachable {
		t.Errorf("peers = %+v, want one that is not reachable", st.Peers)
	}
	says(t, st.Peers[0].Problem, words...)
	says(t, p.finding(p.fra, "peer sin1"), words...)
	if got := len(p.points(db)); got != points {
		t.Errorf("%d points after the refusal, want the %d from before", got, points)
	}

	// The other way round: the target does not know the caller any more.
	p.sin.Peers = ""
	p.sin.configure("")
	must(t, os.WriteFile(p.fra.config(), []byte(strings.ReplaceAll(read(t, p.fra.config()), expected, shown)), 0o600))
	p.fra.ask(nil, "reload")
	says(t, p.fra.triggerFails("db"), p.fra.key(), "[[peer]]", "pair again")
}

// finding is the fatal finding of check about an object.
func (p *pair) finding(s *site, object string) string {
	p.t.Helper()
	return check(p.t, s, object, control.Fatal)
}

func TestTwoDaemonsOnOneStateDirectoryAreRefused(t *testing.T) {
	p := newPair(t)
	out, errOut, code := p.fra.call("daemon")
	if code == 0 {
		t.Fatalf("a second daemon ran on one state directory: %s", out)
	}
	says(t, errOut, "another daemon runs", p.fra.file("state"), "state_dir of its own")
	p.fra.await("the first goes on", func(s status.Status) bool { return s.Node == "fra1" })
}
