package target

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/naming"
	"antipode/fsdrivers/zfs/prop"
)

// replicas are what a target holds: path, identity, points, and where they are.
func replicas(t *testing.T, s *scripted, tg *Target) (all []string) {
	t.Helper()
	found, err := tg.Find(t.Context(), "", true)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range found {
		points, err := tg.Snapshots(t.Context(), d.Path)
		if err != nil {
			t.Fatal(err)
		}
		line := fmt.Sprintf("%s %s", d.Path, d.ID)
		for _, p := range points {
			line += " " + string(p.ID)
		}
		if s.readPool().Props["dst/into/"+string(d.Path)][prop.Path] == string(d.Path) {
			line += " at its place"
		}
		all = append(all, line)
	}
	return all
}

func line(path string, id, point uint64) string {
	return fmt.Sprintf("%s %s %s at its place", path, naming.IDOf(id), naming.IDOf(point))
}

func TestAMovedReplicaLeavesItsNeighboursWhereTheyAre(t *testing.T) {
	for name, c := range map[string]struct {
		paths []string
		from  string
		to    string
		want  []string
	}{
		"by itself":                 {[]string{"src/db"}, "src/db", "src/new/db", []string{line("src/new/db", 1000, 2000)}},
		"from above others":         {[]string{"src", "src/db"}, "src", "old", []string{line("old", 1000, 2000), line("src/db", 1001, 2001)}},
		"to above others":           {[]string{"src", "new/db"}, "src", "new", []string{line("new", 1000, 2000), line("new/db", 1001, 2001)}},
		"below itself":              {[]string{"src", "src/db"}, "src", "src/was", []string{line("src/db", 1001, 2001), line("src/was", 1000, 2000)}},
		"above itself":              {[]string{"src/db/x", "src/www"}, "src/db/x", "src", []string{line("src", 1000, 2000), line("src/www", 1001, 2001)}},
		"where it is":               {[]string{"src/db"}, "src/db", "src/db", []string{line("src/db", 1000, 2000)}},
		"away from a volume's path": {[]string{"src/db", "src/vol"}, "src/vol", "src/vol.was-1", []string{line("src/db", 1000, 2000), line("src/vol.was-1", 1001, 2001)}},
	} {
		t.Run(name, func(t *testing.T) {
			s, tg := simTarget(t, c.paths...)
			d := dataset.Dataset{Path: dataset.Path(c.from), ID: naming.IDOf(1000 + uint64(slices.Index(c.paths, c.from)))}
			for range 2 { // doing it again is success
				if err := tg.Move(t.Context(), d, dataset.Path(c.to)); err != nil {
					t.Fatal(err)
				}
				if got := replicas(t, s, tg); !slices.Equal(got, c.want) {
					t.Errorf("got %q, want %q", got, c.want)
				}
			}
			for name := range s.readPool().Props {
				if strings.Contains(name, "/"+movedName) {
					t.Errorf("%s is left", name)
				}
			}
		})
	}
}

func TestWhatCannotBeMovedStays(t *testing.T) {
	db := dataset.Dataset{Path: "src/db", ID: naming.IDOf(1000)}
	for name, c := range map[string]struct {
		d      dataset.Dataset
		to     dataset.Path
		change func(p *simPool, tg *Target)
		want   error
	}{
		"over another":        {db, "src/www", nil, dataset.ErrExists},
		"of another identity": {dataset.Dataset{Path: "src/db", ID: naming.IDOf(7)}, "new", nil, dataset.ErrNotFound},
		"of another path":     {dataset.Dataset{Path: "src/x", ID: naming.IDOf(1000)}, "new", nil, dataset.ErrNotFound},
		"outside":             {db, "../up", nil, dataset.ErrRefused},
		"among the live ones": {db, naming.Live + "/x", nil, dataset.ErrRefused},
		"to the root":         {db, "/", nil, dataset.ErrRefused},
		"live in place":       {db, "new", func(p *simPool, _ *Target) { p.Props["dst/into/src/db"][prop.Live] = prop.On }, dataset.ErrRefused},
		"being received":      {db, "new", func(_ *simPool, tg *Target) { _, _ = tg.into.Claim(dataset.Path("src/db")) }, dataset.ErrBusy},
		"to what is received": {db, "new", func(_ *simPool, tg *Target) { _, _ = tg.into.Claim(dataset.Path("new")) }, dataset.ErrBusy},
		"above a receive":     {db, "new", func(_ *simPool, tg *Target) { _, _ = tg.into.Claim(dataset.Path("src/db/x")) }, dataset.ErrBusy},
	} {
		s, tg := simTarget(t, "src/db", "src/www")
		if c.change != nil {
			p := s.readPool()
			c.change(p, tg)
			s.pool(p)
		}
		if err := tg.Move(t.Context(), c.d, c.to); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
		tg = s.simTarget()
		if err := tg.Sweep(t.Context()); err != nil {
			t.Errorf("%s: sweep: %v", name, err)
		}
		want := []string{line("src/db", 1000, 2000), line("src/www", 1001, 2001)}
		if got := replicas(t, s, tg); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

// TestACrashAtAnyInstantOfAMoveLeavesAllReplicasWhole: after the next sweep it is where
// it was or where it goes, and what lies below either place is where it was.
func TestACrashAtAnyInstantOfAMoveLeavesAllReplicasWhole(t *testing.T) {
	below := []string{line("new/db", 1002, 2002), line("src/db", 1001, 2001)}
	was := append([]string{line("src", 1000, 2000)}, below...)
	goes := append([]string{line("new", 1000, 2000)}, below...)
	slices.Sort(was)
	slices.Sort(goes)
	seen := map[bool]int{}
	for after := 0; ; after++ {
		s, tg := simTarget(t, "src", "src/db", "new/db")
		p := s.readPool()
		p.Left = after
		s.pool(p)
		merr := tg.Move(t.Context(), dataset.Dataset{Path: "src", ID: naming.IDOf(1000)}, "new")
		p = s.readPool()
		done := p.Left > 0
		p.Left = -1
		s.pool(p)
		tg = s.simTarget()
		if err := tg.Sweep(t.Context()); err != nil {
			t.Fatalf("sweep after %d changes: %v", after, err)
		}
		got := replicas(t, s, tg)
		slices.Sort(got)
		moved := slices.Equal(got, goes)
		if !moved && !slices.Equal(got, was) {
			t.Fatalf("after %d changes (%v): got %q, want %q or %q", after, merr, got, was, goes)
		}
		seen[moved]++
		if done {
			break
		}
	}
	if seen[false] == 0 || seen[true] < 5 {
		t.Errorf("it stayed %d times and was moved %d times; want both", seen[false], seen[true])
	}
}
