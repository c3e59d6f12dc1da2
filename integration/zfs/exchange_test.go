//go:build zfs

package zfs

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"antipode/fsdrivers/dataset"
)

// Streams of each version are received by the other: the first round leaves some
// in the folder that both machines share, the second takes the other's.

// offer is what lies in the folder beside the streams, "0" and "1".
type offer struct {
	Steps [2]dataset.Step `json:"steps"`
}

func offered(series, kind, file string) string {
	return filepath.Join(os.Getenv("ANTIPODE_ZFS_EXCHANGE"), series, "driver-"+kind, file)
}

func TestOfferSteps(t *testing.T) {
	series := os.Getenv("ANTIPODE_ZFS_SERIES")
	if os.Getenv("ANTIPODE_ZFS_EXCHANGE") == "" {
		t.Skip("no folder to exchange streams: only one version is tested")
	}
	for name, kind := range kinds(t) {
		h := newHarness(t, &lab{t: t, name: "offer " + name, files: kind})
		d := h.Make("db")
		h.must(h.Write(d.Path, "a", noise(1<<20)))
		s1 := h.snap(d, "1")
		h.must(h.Write(d.Path, "b", noise(300_000)))
		steps := [2]dataset.Step{stepOf(d, dataset.Snapshot{}, s1), stepOf(d, s1, h.snap(d, "2"))}
		h.must(os.MkdirAll(offered(series, name, ""), 0o755))
		for i, s := range steps {
			h.must(os.WriteFile(offered(series, name, string(rune('0'+i))), h.all(s, dataset.Checkpoint{}), 0o644))
		}
		text, err := json.Marshal(offer{Steps: steps})
		h.must(err)
		h.must(os.WriteFile(offered(series, name, "steps"), text, 0o644))
		if f, ok := kind.(filesystems); ok && f.key != "" {
			key, err := os.ReadFile(f.key)
			h.must(err)
			h.must(os.WriteFile(offered(series, name, "key"), key, 0o644))
		}
	}
}

// TestTakeTheOtherVersionsSteps interrupts the first, and takes both.
func TestTakeTheOtherVersionsSteps(t *testing.T) {
	own, taken := os.Getenv("ANTIPODE_ZFS_SERIES"), 0
	for _, series := range []string{"2.3", "2.4"} {
		if series == own {
			continue
		}
		for name, kind := range kinds(t) {
			taken++
			if f, ok := kind.(filesystems); ok && f.key != "" {
				f.key = offered(series, name, "key")
				kind = f
			}
			t.Run(series+" "+name, func(t *testing.T) { takeSteps(t, series, name, kind) })
		}
	}
	if taken == 0 {
		t.Fatalf("version %q is both versions", own)
	}
}

func takeSteps(t *testing.T, series, name string, kind files) {
	h := newHarness(t, &lab{t: t, name: "take " + name, files: kind})
	text, err := os.ReadFile(offered(series, name, "steps"))
	h.must(err)
	var o offer
	h.must(json.Unmarshal(text, &o))
	for i, s := range o.Steps {
		whole, err := os.ReadFile(offered(series, name, string(rune('0'+i))))
		h.must(err)
		if err := h.receive(s, bytes.NewReader(whole[:len(whole)/2])); err == nil {
			t.Error("half a stream was received")
		}
		h.must(h.receive(s, bytes.NewReader(whole)))
	}
	h.same(o.Steps[0], "a", noise(1<<20))
	h.same(o.Steps[1], "a", noise(1<<20))
	h.same(o.Steps[1], "b", noise(300_000))
}
