package wire

import (
	"errors"
	"strings"
	"testing"
	"time"

	"antipode/fsdrivers/dataset"
)

func sampleTipsRequest() TipsRequest {
	asks := sampleInventoryRequest().Datasets
	return TipsRequest{Job: "db", Driver: "btrfs", List: SumList(asks), Datasets: asks, Expect: SumTips([]Tip{sampleInventory().Replicas[0].Tip()})}
}

func sampleTips() Tips {
	return Tips{
		Now: time.Date(2026, 1, 2, 3, 4, 6, 0, time.UTC), Usage: Usage{Free: 5, Size: 9},
		Tips: JoinTips([]Tip{{1, 2, 3, 4, 5, 6, 7, 8}}),
	}
}

func TestTipsRoundTrip(t *testing.T) {
	roundTrip(t, sampleTipsRequest())
	roundTrip(t, sampleTips())
	roundTrip(t, Tips{Now: sampleTips().Now, Same: true})
	roundTrip(t, Tips{Now: sampleTips().Now, Unknown: true})
}

// Two sides that would plan differently must not have the same tip.
func TestATipTellsWhatAPlanDependsOn(t *testing.T) {
	plain := Replica{Path: "/data/db", ID: "11aa", Snapshots: []dataset.Snapshot{{Name: "a", ID: "1"}, {Name: "b", ID: "2"}}}
	variant := func(f func(*Replica)) Replica {
		r := plain
		r.Snapshots = append([]dataset.Snapshot(nil), plain.Snapshots...)
		f(&r)
		return r
	}
	seen := map[Tip]string{plain.Tip(): "plain"}
	for name, r := range map[string]Replica{
		"another path":       variant(func(r *Replica) { r.Path = "/data/dc" }),
		"another dataset":    variant(func(r *Replica) { r.ID = "11ab" }),
		"never received":     variant(func(r *Replica) { r.ID, r.Snapshots = "", nil }),
		"a newer point":      variant(func(r *Replica) { r.Snapshots = append(r.Snapshots, dataset.Snapshot{ID: "3"}) }),
		"newest point gone":  variant(func(r *Replica) { r.Snapshots = r.Snapshots[:1] }),
		"all points gone":    variant(func(r *Replica) { r.Snapshots = nil }),
		"promoted":           variant(func(r *Replica) { r.Mark = sampleInventory().Replicas[0].Mark }),
		"unfinished receive": variant(func(r *Replica) { r.Checkpoint = dataset.Checkpoint{Kind: "k", Done: 1} }),
		"further receive":    variant(func(r *Replica) { r.Checkpoint = dataset.Checkpoint{Kind: "k", Done: 2} }),
		"cannot be read":     variant(func(r *Replica) { r.Problem = Errorf(KindInternal, "no") }),
	} {
		if other, taken := seen[r.Tip()]; taken {
			t.Errorf("%s has the tip of %s", name, other)
		}
		seen[r.Tip()] = name
	}
	// What the source need not know changes nothing: it does not plan by it.
	held := variant(func(r *Replica) { r.Snapshots[1].Holds = []dataset.Tag{"x"}; r.Snapshots = r.Snapshots[1:] })
	if held.Tip() != plain.Tip() {
		t.Error("an older point that was pruned, or a hold, changed the tip")
	}
	if (Replica{Problem: Errorf(KindInternal, "no")}).Tip() != (Tip{}) {
		t.Error("the tip of what cannot be read is not zero")
	}
}

func TestTipsAreHeldToTheirQuestion(t *testing.T) {
	for name, tc := range map[string]struct {
		tips Tips
		n    int
		want bool
	}{
		"as expected":            {Tips{Same: true}, 3, true},
		"list not known":         {Tips{Unknown: true}, 3, true},
		"one for each":           {Tips{Tips: make([]byte, 24)}, 3, true},
		"one too few":            {Tips{Tips: make([]byte, 16)}, 3, false},
		"nothing said":           {Tips{}, 3, false},
		"both":                   {Tips{Same: true, Unknown: true}, 3, false},
		"as expected, and other": {Tips{Same: true, Tips: make([]byte, 24)}, 3, false},
	} {
		if got := tc.tips.IsAbout(tc.n); got != tc.want {
			t.Errorf("%s: IsAbout = %t, want %t", name, got, tc.want)
		}
	}
}

func TestTipsRefuse(t *testing.T) {
	for name, m := range map[string]Message{
		"list that is no digest":     change(sampleTipsRequest(), func(r *TipsRequest) { r.List, r.Datasets = "x", nil }),
		"list of another digest":     change(sampleTipsRequest(), func(r *TipsRequest) { r.List = strings.Repeat("0", 32) }),
		"expectation of 31 digits":   change(sampleTipsRequest(), func(r *TipsRequest) { r.Expect = r.Expect[1:] }),
		"path that climbs":           change(sampleTipsRequest(), func(r *TipsRequest) { r.Datasets[0].Dataset.Path = "/a/../b" }),
		"too many datasets":          change(sampleTipsRequest(), func(r *TipsRequest) { r.Datasets = make([]InventoryAsk, MaxTipDatasets+1) }),
		"driver missing":             change(sampleTipsRequest(), func(r *TipsRequest) { r.Driver = "" }),
		"answer of half a tip":       Tips{Tips: make([]byte, 4)},
		"answer of too many":         Tips{Tips: make([]byte, (MaxTipDatasets+1)*TipBytes)},
		"answer of a negative usage": Tips{Usage: Usage{Free: -1}},
	} {
		if err := m.Validate(); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: Validate: %v, want %v", name, err, ErrMalformed)
		}
	}
}
