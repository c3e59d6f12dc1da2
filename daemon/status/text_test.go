package status

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"antipode/integration/golden"
)

var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// story is a status with the sentence that its golden file begins with.
type story struct {
	about string
	code  int
	make  func() Status
}

func at(ago time.Duration) time.Time { return noon.Add(-ago) }

func point(ago time.Duration) Point {
	return Point{Name: "antipode_db_" + at(ago).Format("20060102T150405Z"), Time: at(ago)}
}

func pair(peer string, ago time.Duration) Pair {
	p := Pair{Peer: peer, RPO: 90 * time.Minute, LastPoint: point(ago)}
	p.Lag, p.State = Judge(noon, p.LastPoint, p.RPO, "")
	return p
}

// fra1 is a healthy source of two datasets to one peer.
func fra1() Status {
	return Status{
		Node: "fra1", Version: "0.1.0", Now: noon, Started: at(76 * time.Hour), Listen: "0.0.0.0:8771",
		Peers: []Peer{{
			Name: "sin1", Address: "sin1.example.net:8771", Reachable: true, LastContact: at(2 * time.Second),
			ClockSkew: 12 * time.Millisecond, CongestionControl: "bbr",
		}},
		Jobs: []Job{{
			ID: "db", Driver: "btrfs", LastRun: at(10 * time.Minute), NextRun: noon.Add(50 * time.Minute),
			Datasets: []Dataset{
				{Path: "/data/db", Role: "primary", Snapshot: point(10 * time.Minute), Peers: []Pair{pair("sin1", 12*time.Minute)}},
				{Path: "/data/www/shop", Role: "primary", Snapshot: point(10 * time.Minute), Peers: []Pair{pair("sin1", 10*time.Minute)}},
			},
		}},
	}
}

func stories() map[string]story {
	return map[string]story{
		"healthy": {"Two datasets of a job are within their rpo, one increment is on its way.", HealthOK, func() Status {
			s := fra1()
			s.Jobs[0].Running, s.Jobs[0].LastRun = true, at(20*time.Second)
			s.Jobs[0].Datasets[0].Peers[0].Moving = &Moving{
				Kind: "incremental", Bytes: 432 << 20, Estimate: 1288 << 20, Rate: 22_345_678, ETA: 40 * time.Second, Lanes: 8,
			}
			return s
		}},
		"seeding": {"The first copy of a large dataset runs; there is no lag yet, and no point.", HealthWarning, func() Status {
			s := fra1()
			s.Jobs[0].Datasets = []Dataset{{Path: "/data/db", Role: "primary", Peers: []Pair{{
				Peer: "sin1", State: StateSeeding, RPO: 90 * time.Minute,
				Seeding: &Seeding{Done: 43 << 30, Estimate: 100 << 30, ETA: 3 * time.Hour},
				Moving:  &Moving{Kind: "full", Bytes: 43 << 30, Estimate: 100 << 30, Rate: 5_600_000, ETA: 3 * time.Hour, Lanes: 16},
			}}}}
			return s
		}},
		"re-reading": {"Both daemons were restarted in the middle of a first copy of weeks: the source reads again what the target has.", HealthWarning, func() Status {
			s := fra1()
			s.Jobs[0].Datasets = []Dataset{{Path: "/data/db", Role: "primary", Peers: []Pair{{
				Peer: "sin1", State: StateSeeding, RPO: 90 * time.Minute,
				Seeding: &Seeding{Done: 9_800 << 30, Estimate: 20 << 40},
				Moving: &Moving{Kind: "full", Bytes: 9_800 << 30, Estimate: 20 << 40, Reread: &Reread{
					Done: 3_100 << 30, Of: 9_800 << 30, Rate: 410_000_000, ETA: 5 * time.Hour,
				}},
			}}}}
			return s
		}},
		"link-down": {"The link has been down for an hour: the step waits, the lag comes close to its rpo.", HealthWarning, func() Status {
			s := fra1()
			s.Peers[0].Reachable, s.Peers[0].LastContact = false, at(time.Hour+5*time.Minute)
			p := &s.Jobs[0].Datasets[0].Peers[0]
			*p = pair("sin1", 75*time.Minute)
			p.Moving = &Moving{Kind: "incremental", Bytes: 3 << 20, Estimate: 0, Waiting: WaitingLink, Lanes: 8}
			p.LastError = &Problem{
				Text: "send step to sin1: dial tcp 203.0.113.7:8771: i/o timeout",
				Next: "nothing to do if the link comes back: the transfer goes on from where it was", At: at(time.Hour),
			}
			return s
		}},
		"rpo-missed": {"The target's disk is full: one objective is missed and an alert stands.", HealthCritical, func() Status {
			s := fra1()
			p := &s.Jobs[0].Datasets[1].Peers[0]
			*p = pair("sin1", 130*time.Minute)
			p.Moving = &Moving{
				Kind: "incremental", Bytes: 800 << 20, Estimate: 900 << 20, Waiting: WaitingSpace, Lanes: 8,
				Notice: "no space on /backup: 1073741824 bytes free, 53687091200 needed",
			}
			p.LastError = &Problem{
				Text: "sin1: no space on /backup: 1073741824 bytes free, 53687091200 needed",
				Next: "make room on /backup of sin1 or lower min_free; the transfer goes on by itself", At: at(50 * time.Minute),
			}
			s.Alerts = []Alert{{
				At: at(40 * time.Minute), Kind: "rpo-missed", Object: "/data/www/shop to sin1", Text: "lag 1h30m exceeds the rpo of 90m",
				Error: "/usr/local/bin/tell-me: exit status 1",
			}}
			return s
		}},
		"split-brain": {"A standby was promoted while its primary lived on; both froze.", HealthCritical, func() Status {
			s := fra1()
			d := &s.Jobs[0].Datasets[0]
			d.Role, d.Generation = "fenced", 2
			d.Peers[0].State = StateSplitBrain
			d.Peers[0].LastError = &Problem{
				Text: "generation 2 was activated twice: here as 5f1c…, on sin1 as 90ab…",
				Next: "decide which side's data to keep; then promote that side again", At: at(3 * time.Minute),
			}
			return s
		}},
		"target": {"A target holds what another node sends, one dataset was promoted here, one is arriving for the first time.", HealthWarning, func() Status {
			return Status{
				Node: "sin1", Version: "0.1.0", Now: noon, Started: at(50 * time.Second), Listen: "[2001:db8::1]:8771",
				Peers: []Peer{{Name: "fra1", LastContact: at(9 * time.Second), Reachable: true, ClockSkew: -40 * time.Second}},
				Replicas: []Replica{
					{From: "fra1", Path: "/data/db", Role: "standby", State: StateOK, RPO: 90 * time.Minute, Lag: 12 * time.Minute, LastPoint: point(12 * time.Minute), Points: 71},
					{From: "fra1", Path: "/data/mail", Role: "primary", State: StateOK, Lag: 4 * time.Hour, LastPoint: point(4 * time.Hour), Points: 9},
					{
						From: "fra1", Path: "/data/www/ein sehr langer Name/mit ünïcode", Role: "seeding", State: StateSeeding, RPO: 90 * time.Minute,
						Receiving: &Moving{Kind: "full", Bytes: 900, Rate: 90},
					},
				},
			}
		}},
		"ledger": {"No daemon runs; what is shown was read from the ledger.", HealthCritical, func() Status {
			s := fra1()
			s.Started, s.Listen, s.Peers = time.Time{}, "", nil
			s.Jobs[0].Datasets[0].Peers[0] = pair("sin1", 50*time.Hour)
			return s
		}},
		"empty": {"A daemon with nothing configured but a peer, which was never reached.", HealthUnknown, func() Status {
			return Status{Node: "fra1", Version: "0.1.0", Now: noon, Started: at(0), Peers: []Peer{{Name: "sin1", Address: "sin1:8771", Problem: "it shows another key than the pinned one"}}}
		}},
	}
}

func TestTextTellsTheStory(t *testing.T) {
	for name, st := range stories() {
		for kind, style := range map[string]Style{"pipe": {Width: 100}, "terminal": {Width: 110, Rich: true}, "narrow": {Width: 60}} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				var b bytes.Buffer
				if err := Text(&b, st.make(), style); err != nil {
					t.Fatal(err)
				}
				tells(t, fmt.Sprintf("%s.%s.txt", name, kind), st.about, b.String())
			})
		}
	}
}

// tells compares got with a file whose first line tells the story.
func tells(t *testing.T, name, about, got string) {
	t.Helper()
	golden.Check(t, filepath.Join("testdata", name), "# "+about+"\n"+strings.ReplaceAll(got, "\x1b", "<ESC>"))
}

func TestHealthOfTheStories(t *testing.T) {
	for name, st := range stories() {
		t.Run(name, func(t *testing.T) {
			code, line := Health(st.make())
			if code != st.code || line == "" || strings.Contains(line, "\n") {
				t.Errorf("got %d %q, want %d and one line", code, line, st.code)
			}
		})
	}
}

func TestAPipeGetsNoColourAndFitsItsWidth(t *testing.T) {
	for name, st := range stories() {
		var b bytes.Buffer
		if err := Text(&b, st.make(), Style{Width: 100}); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(b.String()) {
			if strings.Contains(line, "\x1b") || visible(strings.TrimSuffix(line, "\n")) > 100 {
				t.Errorf("%s: %q has colour or more than 100 columns", name, line)
			}
		}
	}
}

func TestAPeerCannotSteerTheTerminal(t *testing.T) {
	s := fra1()
	evil := "x\x1b[2J\x07\r\n\u202ey"
	s.Peers[0].Problem = evil
	s.Jobs[0].Datasets[0].Peers[0].LastError = &Problem{Text: evil, Next: evil}
	s.Alerts = []Alert{{Object: evil, Text: evil, Error: evil}}
	var b bytes.Buffer
	if err := Text(&b, s, Style{}); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(b.String(), "\x1b\x07\r\u202e") {
		t.Errorf("control characters got through:\n%q", b.String())
	}
	if _, line := Health(s); strings.ContainsAny(line, "\x1b\x07\r\n\u202e") {
		t.Errorf("control characters got into the health line: %q", line)
	}
}

func TestWrapKeepsWordsAndWidth(t *testing.T) {
	cases := []struct {
		name, in string
		width    int
		want     []string
	}{
		{"fits", "a b", 3, []string{"a b"}},
		{"breaks", "aa bb cc", 5, []string{"aa bb", "cc"}},
		{"keeps the indent", "  next: aa bb", 10, []string{"  next: aa", "bb"}},
		{"drops a gap at the break", "aa  bb", 3, []string{"aa ", "bb"}},
		{"keeps a long word", "a looooong b", 4, []string{"a", "looooong", "b"}},
		{"does not count colours", "\x1b[31maa\x1b[0m bb", 5, []string{"\x1b[31maa\x1b[0m bb"}},
	}
	for _, c := range cases {
		if got := wrap(c.in, c.width, c.width); fmt.Sprintf("%q", got) != fmt.Sprintf("%q", c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}
