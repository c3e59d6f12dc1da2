package client_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"antipode/fsdrivers/dataset"
	"antipode/transport/server"
	"antipode/transport/wire"
)

// hoard is a target with so many snapshots of each dataset.
type hoard struct {
	*target
	snapshots int
	asked     []int // datasets in each question
}

func (h *hoard) Inventory(_ context.Context, _ string, q wire.InventoryRequest) (wire.Inventory, error) {
	h.asked = append(h.asked, len(q.Datasets))
	v := wire.Inventory{Now: time.Now()}
	for _, d := range q.Datasets {
		r := wire.Replica{Path: d.Dataset.Path}
		for i := range h.snapshots {
			r.Snapshots = append(r.Snapshots, dataset.Snapshot{Name: "antipode_x", ID: dataset.ID(fmt.Sprintf("%x", i))})
		}
		v.Replicas = append(v.Replicas, r)
	}
	return v, nil
}

// What is too much for one exchange is asked in parts, in the order of the
// question.
func TestInventoryInParts(t *testing.T) {
	for _, tc := range []struct {
		name                string
		datasets, snapshots int
		questions           int
	}{
		{"one exchange", 128, 1, 1},
		{"more datasets than one exchange takes", 300, 1, 3},
		{"more snapshots than one answer holds", 128, 300, 3}, // the first is refused
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &hoard{target: newTarget(), snapshots: tc.snapshots}
				p := newPair(t, func(o *server.Options) { o.Backend = h })
				q := wire.InventoryRequest{Job: "db", Driver: "btrfs"}
				for i := range tc.datasets {
					q.Datasets = append(q.Datasets, wire.InventoryAsk{Dataset: dataset.Dataset{Path: dataset.Path(fmt.Sprintf("/d/%d", i)), ID: "d1"}})
				}
				v, err := p.client(nil).Inventory(t.Context(), q)
				if err != nil {
					t.Fatal(err)
				}
				if len(v.Replicas) != tc.datasets || len(h.asked) != tc.questions {
					t.Fatalf("%d replicas by questions about %v datasets, want %d by %d questions", len(v.Replicas), h.asked, tc.datasets, tc.questions)
				}
				for i, r := range v.Replicas {
					if r.Path != q.Datasets[i].Dataset.Path || len(r.Snapshots) != tc.snapshots {
						t.Errorf("replica %d is of %s with %d snapshots, want %s with %d", i, r.Path, len(r.Snapshots), q.Datasets[i].Dataset.Path, tc.snapshots)
					}
				}
			})
		})
	}
}

// An answer takes as long as the link needs; only silence ends it.
func TestInventoryOverASlowLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, func(o *server.Options) { o.Backend = &hoard{target: newTarget(), snapshots: 12_000} })
		p.net.SetLatency(time.Second)
		p.net.SetBuffer(32 << 10)
		q := wire.InventoryRequest{Job: "db", Driver: "btrfs", Datasets: []wire.InventoryAsk{{Dataset: dataset.Dataset{Path: "/db", ID: "d1"}}}}
		began := time.Now()
		v, err := p.client(nil).Inventory(t.Context(), q)
		if err != nil || len(v.Replicas) != 1 || len(v.Replicas[0].Snapshots) != 12_000 {
			t.Fatalf("Inventory: %d replicas, %v, want one", len(v.Replicas), err)
		}
		if took := time.Since(began); took < 35*time.Second {
			t.Errorf("the link was not slow: it took %v", took)
		}
	})
}
