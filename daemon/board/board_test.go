package board_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	"antipode/daemon/board"
	"antipode/daemon/status"
	"antipode/fsdrivers/dataset"
)

func filled() *board.Board {
	b := board.New()
	for _, path := range []dataset.Path{"/b", "/a"} {
		for _, peer := range []string{"syd1", "sin1"} {
			b.Pair(board.PairKey{Job: "db", Dataset: path, Peer: peer}, func(p *status.Pair) {
				p.Moving = &status.Moving{Bytes: 1}
			})
		}
	}
	b.Job("app", func(j *status.Job) { j.Driver = "btrfs" })
	b.Replica(board.ReplicaKey{From: "fra1", Dataset: "/z"}, func(r *status.Replica) { r.Points = 3 })
	b.Peer("sin1", func(p *status.Peer) { p.Reachable = true })
	return b
}

func TestReadIsSorted(t *testing.T) {
	s := filled().Read()
	var got []string
	for _, j := range s.Jobs {
		got = append(got, j.ID)
		for _, d := range j.Datasets {
			got = append(got, string(d.Path))
			for _, p := range d.Peers {
				got = append(got, p.Peer)
			}
		}
	}
	want := []string{"app", "db", "/a", "sin1", "syd1", "/b", "sin1", "syd1"}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestWhatWasReadDoesNotChange(t *testing.T) {
	b := filled()
	before := b.Read()
	b.Pair(board.PairKey{Job: "db", Dataset: "/a", Peer: "sin1"}, func(p *status.Pair) { p.Moving.Bytes = 99 })
	if got := before.Jobs[1].Datasets[0].Peers[0].Moving.Bytes; got != 1 {
		t.Errorf("a copy that was read shows %d bytes after a change, want 1", got)
	}
	if got := b.Read().Jobs[1].Datasets[0].Peers[0].Moving.Bytes; got != 99 {
		t.Errorf("the board shows %d bytes, want 99", got)
	}
}

func TestRetainForgetsWhatLeftTheConfiguration(t *testing.T) {
	b := filled()
	b.Retain(board.Named{
		Peer:    func(string) bool { return false },
		Pair:    func(k board.PairKey) bool { return k.Job == "db" && k.Peer == "sin1" },
		Job:     func(id string) bool { return id == "db" },
		Replica: func(board.ReplicaKey) bool { return false },
	})
	// A run that winds down after the reload has its last word.
	b.Peer("fra1", func(p *status.Peer) { p.Reachable = true })
	b.Job("www", func(j *status.Job) { j.Running = false })
	b.Dataset("www", "/w", func(*status.Dataset) {})
	b.Pair(board.PairKey{Job: "db", Dataset: "/a", Peer: "fra1"}, func(*status.Pair) {})
	b.Pair(board.PairKey{Job: "www", Dataset: "/w", Peer: "sin1"}, func(*status.Pair) {})
	b.Replica(board.ReplicaKey{From: "fra1", Dataset: "/a"}, func(*status.Replica) {})
	s := b.Read()
	if len(s.Peers) != 0 || len(s.Replicas) != 0 || len(s.Jobs) != 1 {
		t.Fatalf("got %d peers, %d replicas, %d jobs; want 0, 0, 1", len(s.Peers), len(s.Replicas), len(s.Jobs))
	}
	if pairs := s.Jobs[0].Datasets[0].Peers; len(pairs) != 1 || pairs[0].Peer != "sin1" {
		t.Errorf("got pairs %v, want sin1 alone", pairs)
	}
}

func TestForgetDataset(t *testing.T) {
	b := filled()
	b.ForgetDataset("db", "/a")
	if got := b.Datasets("db"); !slices.Equal(got, []dataset.Path{"/b"}) {
		t.Errorf("got %v, want /b alone", got)
	}
}

func TestConcurrentUse(t *testing.T) {
	b := board.New()
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for range 100 {
				b.Pair(board.PairKey{Job: "db", Dataset: "/a", Peer: "sin1"}, func(p *status.Pair) { p.Lag += time.Second })
				_ = b.Read()
				if i == 0 {
					b.SetAlerts([]status.Alert{{Kind: "x"}})
				}
			}
		})
	}
	all.Wait()
	if got := b.Read().Jobs[0].Datasets[0].Peers[0].Lag; got != 800*time.Second {
		t.Errorf("got %s, want every one of 800 changes", got)
	}
}
