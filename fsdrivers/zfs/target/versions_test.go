package target

import (
	"slices"
	"testing"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/naming"
	"antipode/fsdrivers/zfs/prop"
	"antipode/fsdrivers/zfs/standby/standbytest"
)

func TestVersionsOfReplicasChangeWithWhatIsListed(t *testing.T) {
	s, tg := simTarget(t, "src/db", "src/www")
	paths := []dataset.Path{"src/db", "src/www", "src/none", "../x"}
	ask := func(what string, change func(p *simPool), differs bool) {
		t.Helper()
		before, err := tg.Versions(t.Context(), paths)
		if err != nil || before[0] == "" || before[2] == "" || before[3] != "" {
			t.Fatalf("%s: got %q, %v", what, before, err)
		}
		p := s.readPool()
		change(p)
		s.pool(p)
		after, err := s.simTarget().Versions(t.Context(), paths)
		if err != nil || (after[0] != before[0]) != differs || !slices.Equal(after[1:], before[1:]) {
			t.Errorf("%s: got %q after %q, %v; want another of the first: %t", what, after, before, err, differs)
		}
	}
	const home = "dst/into/src/db"
	ask("a restart", func(*simPool) {}, false)
	ask("what is not listed", func(p *simPool) { p.Props[home]["written"] = "7" }, false)
	ask("a mark", func(p *simPool) { p.Props[home][prop.Mark] = "x" }, true)
	ask("a partial state", func(p *simPool) { p.Props[home]["inconsistent"] = "1" }, true)
	ask("its end", func(p *simPool) { p.Props[home]["inconsistent"] = "0" }, true)
	ask("another dataset", func(p *simPool) { p.Props[home][prop.Source] = string(naming.IDOf(77)) }, true)
	ask("a retention time", func(p *simPool) { p.Props[home+"@antipode_a"][prop.Retain] = prop.TextOf(standbytest.Now().Add(1)) }, true)
	ask("a point less", func(p *simPool) { delete(p.Props, home+"@antipode_a") }, true)
}
