//go:build zfs

package zfs

import (
	"errors"
	"fmt"
	"testing"

	"github.com/rs/zerolog"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs"
)

// TestASnapshotThatIsMadeAnewMeanwhileStays, on both sides: somebody destroys it and makes another
// of that name after who holds it was asked, right before it would go.
func TestASnapshotThatIsMadeAnewMeanwhileStays(t *testing.T) {
	h := newHarness(t, &lab{t: t, name: "meanwhile", files: filesystems{}})
	d := h.Make("db")
	var all []dataset.Snapshot
	for n := range 4 {
		all = append(all, h.snap(d, fmt.Sprint(n)))
		if n == 0 {
			h.sent(stepOf(d, dataset.Snapshot{}, all[n]))
		} else {
			h.sent(stepOf(d, all[n-1], all[n]))
		}
	}
	replica, err := h.received(d.Path, all[0].Name)
	h.must(err)
	for name, on := range map[string]string{"source": string(d.Path), "target": replica} {
		c := count(t)
		var side fsdrivers.ManyDestroyer = zfs.NewSource(zfs.Options{Host: zfs.NewHost(c.binary, 0), Log: zerolog.Nop()})
		most := 3
		if name == "target" {
			o := targetOptions(h.into())
			o.Host = zfs.NewHost(c.binary, 0)
			target, err := zfs.NewTarget(o)
			h.must(err)
			side, most = target, 5 // it finds out first which lineage has them
		}
		anew := on + "@" + all[1].Name
		c.meanwhile(t, "holds", fmt.Sprintf("zfs destroy '%s' && zfs snapshot '%s'", anew, anew))
		_, before := c.looks()
		answers := side.DestroyAll(t.Context(), d.Path, all[:3])
		if answers[0] != nil || !errors.Is(answers[1], dataset.ErrChanged) || answers[2] != nil {
			t.Errorf("%s: got %v, want the one that was made anew changed", name, answers)
		}
		if left := h.zfs("list", "-H", "-d", "1", "-t", "snapshot", "-o", "name", "-s", "name", on); left != anew+"\n"+on+"@"+all[3].Name {
			t.Errorf("%s: left are %q, want the one that was made anew and the newest", name, left)
		}
		if _, n := c.looks(); n-before > most {
			t.Errorf("%s: it took %d processes (%q), want at most %d", name, n-before, c.calls(), most)
		}
	}
}
