package prune

import (
	"testing"
	"time"

	"antipode/daemon/policy"
	"antipode/fsdrivers/dataset"
)

// BenchmarkDecide judges a thousand points under every rule.
func BenchmarkDecide(b *testing.B) {
	points := every(time.Hour, 1000, start)
	for i := range points {
		points[i].ID = dataset.ID(string(points[i].ID) + "-d00a-5348-8640-cba72b768bdd")
	}
	points[990].Holds = []dataset.Tag{"base.db.sin1"}
	loc, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		b.Fatal(err)
	}
	in := Input{
		Side: Source, Points: points, Now: start.Add(1000 * time.Hour), Backlog: 100, Location: loc,
		Keep:  policy.Keep{Last: 4, Hourly: 48, Daily: 14, Weekly: 8, Monthly: 12, Yearly: 3, Within: oneDay},
		Peers: []Peer{{Name: "sin1", Base: points[990].ID}},
	}
	b.ReportAllocs()
	var d Decider
	for b.Loop() {
		d.Decide(in)
	}
}
