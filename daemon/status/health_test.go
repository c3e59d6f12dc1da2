package status

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"
)

func TestJudge(t *testing.T) {
	h := time.Hour
	cases := []struct {
		name  string
		point Point
		rpo   time.Duration
		known State
		lag   time.Duration
		state State
	}{
		{"no point has no lag", Point{}, h, "", 0, StateSeeding},
		{"within", point(h), h, "", h, StateOK},
		{"just missed", Point{Time: at(h + 1)}, h, "", h + 1, StateMissed},
		{"no objective is never missed", point(1000 * h), 0, "", 1000 * h, StateOK},
		{"a point from the future", point(-h), h, "", 0, StateOK},
		{"a conflict stands before the clock", point(9 * h), h, StateConflict, 9 * h, StateConflict},
		{"what the clock said before does not", point(0), h, StateMissed, 0, StateOK},
		{"stuck while seeding", Point{}, h, StateStuck, 0, StateStuck},
	}
	for _, c := range cases {
		if lag, state := Judge(noon, c.point, c.rpo, c.known); lag != c.lag || state != c.state {
			t.Errorf("%s: got %v %s, want %v %s", c.name, lag, state, c.lag, c.state)
		}
	}
}

func TestHealth(t *testing.T) {
	sent := func(change func(*Status)) Status { s := fra1(); change(&s); return s }
	first := func(s *Status) *Pair { return &s.Jobs[0].Datasets[0].Peers[0] }
	cases := []struct {
		name string
		in   Status
		code int
		line string
	}{
		{"all well", fra1(), 0, "OK: 2 replicas sent, largest lag 12m"},
		{"nothing", Status{Now: noon}, 3, "UNKNOWN: no job runs here"},
		{"only snapshots", sent(func(s *Status) {
			for i := range s.Jobs[0].Datasets {
				s.Jobs[0].Datasets[i].Peers = nil
			}
		}), 0, "OK: 1 job, nothing to replicate"},
		{"paused", sent(func(s *Status) { s.Jobs[0].Paused = true }), 1, "WARNING: job db is paused"},
		{"lag at 80 %", sent(func(s *Status) { *first(s) = pair("sin1", 72*time.Minute) }), 0, "OK"},
		{"lag above 80 %", sent(func(s *Status) { *first(s) = pair("sin1", 73*time.Minute) }), 1, "WARNING: /data/db to sin1: lag 1h13m is close to the rpo of 1h30m"},
		{"seeding", sent(func(s *Status) {
			*first(s) = Pair{Peer: "sin1", State: StateSeeding, Seeding: &Seeding{Done: 43, Estimate: 100, ETA: 3 * time.Hour}}
		}), 1, "WARNING: /data/db to sin1: first copy: none yet, 43 %, ETA 3h"},
		{"seeding, size unknown", sent(func(s *Status) {
			*first(s) = Pair{Peer: "sin1", State: StateSeeding, Seeding: &Seeding{Done: 4 << 20}}
		}), 1, "none yet, 4.00 MiB"},
		{"missed before seeding", sent(func(s *Status) {
			*first(s) = Pair{Peer: "sin1", State: StateSeeding}
			s.Jobs[0].Datasets[1].Peers[0] = pair("sin1", 2*time.Hour)
		}), 2, "CRITICAL: /data/www/shop to sin1: rpo missed, lag 2h of 1h30m (and 1 more)"},
		{"conflict", sent(func(s *Status) { first(s).State = StateConflict }), 2, "CRITICAL: /data/db to sin1: conflict"},
		{"split brain", sent(func(s *Status) { first(s).State = StateSplitBrain }), 2, "split brain"},
		{"stuck", sent(func(s *Status) { first(s).State = StateStuck }), 2, "stuck in the kernel"},
		{"fenced", sent(func(s *Status) { first(s).State = StateFenced }), 1, "fenced"},
		{"an error that stands", sent(func(s *Status) { first(s).LastError = &Problem{Text: "link\ndown"} }), 1, "last try failed: link down"},
		{"a dataset that vanished", sent(func(s *Status) { s.Jobs[0].Datasets[1].Problem = &Problem{Text: "not found"} }), 1, "/data/www/shop: not found"},
		{"a job that matches nothing", sent(func(s *Status) { s.Jobs[0].Problem = &Problem{Text: "no dataset matches"} }), 1, "job db: no dataset matches"},
		{"a wrong key", sent(func(s *Status) { s.Peers[0].Problem = "another key" }), 1, "peer sin1: another key"},
		{"the target speaks up", Status{Replicas: []Replica{{From: "fra1", Path: "/d", State: StateMissed, RPO: time.Hour, Lag: 26 * time.Hour}}}, 2, "CRITICAL: /d from fra1: rpo missed, lag 26h of 1h"},
	}
	for _, c := range cases {
		if code, line := Health(c.in); code != c.code || !strings.Contains(line, c.line) {
			t.Errorf("%s: got %d %q, want %d with %q", c.name, code, line, c.code, c.line)
		}
	}
}

func TestALagWhileSeedingIsNotZeroButAbsent(t *testing.T) {
	raw, err := json.Marshal(Pair{Peer: "sin1", State: StateSeeding})
	if err != nil || strings.Contains(string(raw), "lag") {
		t.Errorf("got %s, %v; want no lag at all", raw, err)
	}
}

func TestUnits(t *testing.T) {
	const day = 24 * time.Hour
	for _, c := range []struct{ got, want string }{
		{Duration(0), "0s"},
		{Duration(850 * time.Millisecond), "850ms"},
		{Duration(38 * time.Second), "38s"},
		{Duration(72 * time.Second), "1m12s"},
		{Duration(12*time.Minute + 5*time.Second), "12m"},
		{Duration(90 * time.Minute), "1h30m"},
		{Duration(2 * time.Hour), "2h"},
		{Duration(47*time.Hour + 59*time.Minute), "47h59m"},
		{Duration(3*day + 4*time.Hour), "3d4h"},
		{Duration(-5 * time.Second), "-5s"},
		{Bytes(0), "0 B"},
		{Bytes(1023), "1023 B"},
		{Bytes(1024), "1.00 KiB"},
		{Bytes(1023 << 10), "1.00 MiB"},
		{Bytes(34 << 30), "34.0 GiB"},
		{Bytes(412 << 20), "412 MiB"},
		{Bytes(math.MaxInt64), "8.00 EiB"},
		{Rate(0), "0 B/s, 0 bit/s"},
		{Rate(22_345_678), "21.3 MiB/s, 179 Mbit/s"},
		{Rate(125), "125 B/s, 1.00 kbit/s"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}
