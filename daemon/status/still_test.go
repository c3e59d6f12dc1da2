package status_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"antipode/daemon/status"
)

var atNoon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// A point that is a day old, and of which it was known an hour ago that nothing was
// written since.
func TestAConfirmedPointIsAsGoodAsNew(t *testing.T) {
	point := status.Point{Name: "antipode_db_1", Time: atNoon.Add(-24 * time.Hour), Confirmed: atNoon.Add(-time.Hour)}
	if lag, state := status.Judge(atNoon, point, 90*time.Minute, ""); lag != time.Hour || state != status.StateOK {
		t.Errorf("got lag %s, %s, want 1h and ok", lag, state)
	}
	if lag, state := status.Judge(atNoon.Add(time.Hour), point, 90*time.Minute, ""); lag != 2*time.Hour || state != status.StateMissed {
		t.Errorf("an hour later got lag %s, %s, want 2h and missed", lag, state)
	}
	point.Confirmed = point.Time.Add(-time.Hour)
	if got := point.Fresh(); !got.Equal(point.Time) {
		t.Errorf("confirmed before it was made: got %v, want %v", got, point.Time)
	}
}

func TestTextShowsHoldsOwnTimesAndWhatIsUnchanged(t *testing.T) {
	s := status.Status{Node: "fra1", Now: atNoon, Started: atNoon.Add(-time.Hour), Jobs: []status.Job{{
		ID: "db", Driver: "btrfs", LastRun: atNoon.Add(-time.Minute), NextRun: atNoon.Add(time.Minute),
		Held: 1500 * time.Millisecond, NextReplication: atNoon.Add(2 * time.Hour),
		Datasets: []status.Dataset{{Path: "/data/db", Role: "primary", Peers: []status.Pair{{
			Peer: "sin1", State: status.StateOK, RPO: time.Hour, Lag: time.Minute,
			LastPoint: status.Point{Name: "antipode_db_1", Time: atNoon.Add(-24 * time.Hour), Confirmed: atNoon.Add(-time.Minute)},
		}}}},
	}}}
	var out bytes.Buffer
	if err := status.Text(&out, s, status.Style{Width: 160}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"its hooks held " + status.Duration(1500*time.Millisecond), "replicates in " + status.Duration(2*time.Hour), "unchanged since"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("want %q in\n%s", want, out.String())
		}
	}
}

func TestTextShowsWhoKeepsConnectionsOpenForWhom(t *testing.T) {
	s := status.Status{Node: "fra1", Now: atNoon, Peers: []status.Peer{
		{Name: "sin1", Reachable: true, Lent: 8},
		{Name: "syd1", Address: "syd1:8771", Inbound: true, Lends: 9},
	}}
	var out bytes.Buffer
	if err := status.Text(&out, s, status.Style{Width: 160}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"(dials us, 8 open)", "syd1:8771 (reversed, 9 open)"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("want %q in\n%s", want, out.String())
		}
	}
}

func TestTextShowsWhoPullsFromWhom(t *testing.T) {
	s := status.Status{
		Node: "fra1", Now: atNoon,
		Jobs: []status.Job{{ID: "db", PulledBy: []status.Pull{{Peer: "sin1", When: "every 1h", Last: atNoon}, {Peer: "ams1"}}}},
		Pulls: []status.Pull{
			{Peer: "syd1", Driver: "zfs", When: "cron 0 3 * * *", Last: atNoon.Add(-time.Hour), Next: atNoon.Add(2 * time.Hour)},
			{Peer: "tok1", Driver: "btrfs", When: "every 5m", Problem: "refused there"},
		},
	}
	var out bytes.Buffer
	if err := status.Text(&out, s, status.Style{Width: 160}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"pulled by sin1, every 1h, pulled by ams1, not yet", "PULLS", "cron 0 3 * * *", "in 2h", "never yet", "refused there"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("want %q in\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "no next run") {
		t.Errorf("a pulled job is said to have no next run:\n%s", out.String())
	}
}

func TestTextShowsWhatIsLiveItself(t *testing.T) {
	s := status.Status{Node: "sin1", Now: atNoon, Replicas: []status.Replica{
		{From: "fra1", Path: "tank/db", Role: "primary", State: status.StateOK, InPlace: true},
		{From: "fra1", Path: "tank/www", Role: "primary", State: status.StateOK},
	}}
	var out bytes.Buffer
	if err := status.Text(&out, s, status.Style{Width: 160}); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(out.String(), ", in place"); got != 1 || !strings.Contains(out.String(), "tank/db (primary, in place)") {
		t.Errorf("want it of tank/db alone in\n%s", out.String())
	}
}

func TestTheNextStepIsSaidOnce(t *testing.T) {
	const next = "run `antipode check`"
	for text, want := range map[string]string{
		"it broke; next: " + next:        "it broke",
		"it broke (" + next + ")":        "it broke",
		"it broke":                       "it broke",
		"it broke; next: something else": "it broke; next: something else",
	} {
		if got := status.WithoutNext(text, next); got != want {
			t.Errorf("%q without the next step is %q, want %q", text, got, want)
		}
	}
	if got := status.WithoutNext("it broke ()", ""); got != "it broke ()" {
		t.Errorf("without a next step the text became %q", got)
	}
}
