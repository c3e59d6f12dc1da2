package dataset_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"antipode/fsdrivers/dataset"
)

func TestParsePath(t *testing.T) {
	good := []string{"/", "/data/db", "tank", "tank/a b", "/-rf", "/größe/e\u0301", "/a.b/..c", "/.hidden", strings.Repeat("/x", 1500)}
	for _, s := range good {
		if p, err := dataset.ParsePath(s); err != nil || p.String() != s {
			t.Errorf("ParsePath(%.40q) = %.40q, %v; want it as it is", s, p, err)
		}
	}
	bad := map[string]string{
		"empty": "", "climbs": "/data/../etc", "dot": "/data/./db", "double slash": "/data//db", "trailing slash": "/data/",
		"ours": "/data/.antipode/x", "NUL": "/a\x00b", "newline": "/a\nb", "delete": "/a\x7f", "not UTF-8": "/\xff",
		"long component": "/" + strings.Repeat("x", 256), "long": strings.Repeat("/x", 1600),
	}
	for name, s := range bad {
		if p, err := dataset.ParsePath(s); err == nil {
			t.Errorf("%s: ParsePath(%.40q) = %q, want an error", name, s, p)
		}
	}
}

func TestPathContains(t *testing.T) {
	for _, c := range []struct {
		p, q dataset.Path
		want bool
	}{
		{"/data", "/data", true},
		{"/data", "/data/db", true},
		{"/", "/data", true},
		{"tank/a", "tank/ab", false},
		{"/data/db", "/data", false},
		{"/", "tank", false},
	} {
		if got := c.p.Contains(c.q); got != c.want {
			t.Errorf("%q contains %q = %t, want %t", c.p, c.q, got, c.want)
		}
	}
}

func TestParseID(t *testing.T) {
	for s, ok := range map[string]bool{
		"0c12b3c9-d00a-5348-8640-cba72b768bdd": true, "f": true, "0": true,
		"": false, "F": false, "g": false, "../x": false, strings.Repeat("a", 37): false, "a b": false,
	} {
		if _, err := dataset.ParseID(s); (err == nil) != ok {
			t.Errorf("ParseID(%q): %v, want accepted %t", s, err, ok)
		}
	}
}

func TestParseName(t *testing.T) {
	for s, ok := range map[string]bool{
		"antipode_db_20261123T120000Z": true, "a b": true, "-R": true, "größe": true,
		"": false, ".hidden": false, "a/b": false, "a@b": false, "a#b": false, "a\nb": false, "\xff": false, strings.Repeat("a", 201): false,
	} {
		if _, err := dataset.ParseName(s); (err == nil) != ok {
			t.Errorf("ParseName(%q): %v, want accepted %t", s, err, ok)
		}
	}
}

func TestParseTag(t *testing.T) {
	for s, ok := range map[string]bool{
		"base.db.sin1": true, "step.db.sin-1": true, "0": true,
		"": false, ".base": false, "-base": false, "Base": false, "a/b": false, "a b": false, strings.Repeat("a", 161): false,
	} {
		if _, err := dataset.ParseTag(s); (err == nil) != ok {
			t.Errorf("ParseTag(%q): %v, want accepted %t", s, err, ok)
		}
	}
}

func TestAStepsIDDependsOnAllThatMakesItTheSameSend(t *testing.T) {
	base := dataset.Step{
		Job: "db", Dataset: dataset.Dataset{Path: "/data/db", ID: "d1"}, From: dataset.Snapshot{ID: "a"},
		To: dataset.Snapshot{ID: "b"}, Flags: "x", Generation: 1,
	}
	if _, err := dataset.ParseStepID(string(base.ID())); err != nil {
		t.Fatal(err)
	}
	seen := map[dataset.StepID]string{base.ID(): "the step itself"}
	for name, change := range map[string]func(*dataset.Step){
		"job":        func(s *dataset.Step) { s.Job = "d" },
		"path":       func(s *dataset.Step) { s.Dataset.Path = "/data/db2" },
		"dataset":    func(s *dataset.Step) { s.Dataset.ID = "d2" },
		"from":       func(s *dataset.Step) { s.From.ID = "" },
		"to":         func(s *dataset.Step) { s.To.ID = "c" },
		"flags":      func(s *dataset.Step) { s.Flags = "" },
		"generation": func(s *dataset.Step) { s.Generation = 2 },
		"a boundary": func(s *dataset.Step) { s.From.ID, s.To.ID = "ab", "" },
	} {
		s := base
		change(&s)
		if twin, same := seen[s.ID()]; same {
			t.Errorf("a change of %s has the id of %s", name, twin)
		}
		seen[s.ID()] = name
	}
	renamed := base
	renamed.To.Name, renamed.From.Order = "other", 7
	if renamed.ID() != base.ID() {
		t.Error("a name or an order changed the id")
	}
}

func mark(generations ...uint64) dataset.Mark {
	var all []dataset.Activation
	for _, g := range generations {
		all = append(all, dataset.Activation{Generation: g, ID: dataset.NewActivationID(), Node: "sin1", Base: "a1"})
	}
	return dataset.Mark{Activation: all[0], History: all[1:]}
}

func TestMarkValidate(t *testing.T) {
	long := make([]uint64, 0, 80)
	for g := uint64(80); g > 0; g-- {
		long = append(long, g)
	}
	for name, c := range map[string]struct {
		mark dataset.Mark
		ok   bool
	}{
		"zero":                          {dataset.Mark{}, true},
		"one":                           {mark(1), true},
		"a falling history":             {mark(5, 3, 1), true},
		"longest":                       {mark(long[:65]...), true},
		"too long":                      {mark(long[:66]...), false},
		"rises":                         {mark(3, 4), false},
		"repeats":                       {mark(3, 3), false},
		"largest":                       {mark(^uint64(0)), false},
		"zero in history":               {dataset.Mark{Activation: mark(1).Activation, History: []dataset.Activation{{}}}, false},
		"zero with history":             {dataset.Mark{History: mark(1, 1).History}, false},
		"no node":                       {dataset.Mark{Activation: dataset.Activation{Generation: 1, ID: dataset.NewActivationID()}}, false},
		"bad id":                        {dataset.Mark{Activation: dataset.Activation{Generation: 1, ID: "x", Node: "a"}}, false},
		"bad base":                      {dataset.Mark{Activation: dataset.Activation{Generation: 1, ID: dataset.NewActivationID(), Node: "a", Base: "../x"}}, false},
		"a node that steers a terminal": {dataset.Mark{Activation: dataset.Activation{Generation: 1, ID: dataset.NewActivationID(), Node: "a\x1b[2J"}}, false},
	} {
		if err := c.mark.Validate(); (err == nil) != c.ok {
			t.Errorf("%s: Validate = %v, want accepted %t", name, err, c.ok)
		}
	}
}

func TestMarkIsForeign(t *testing.T) {
	if (dataset.Mark{}).IsForeign("fra1") {
		t.Error("a dataset that was never promoted is foreign")
	}
	if m := mark(1); m.IsForeign("sin1") || !m.IsForeign("fra1") {
		t.Error("a mark of sin1 must be foreign to fra1 alone")
	}
}

func TestSpaceErrorNamesTheFileSystem(t *testing.T) {
	err := fmt.Errorf("receive: %w", &dataset.SpaceError{Where: "/backup", Free: 10, Need: 20})
	if !errors.Is(err, dataset.ErrNoSpace) || !strings.Contains(err.Error(), "/backup") || !strings.Contains(err.Error(), "20") {
		t.Errorf("got %v, want ErrNoSpace with the file system and what is needed", err)
	}
}

// FuzzParsePath holds a path that was accepted to what its users rely on.
func FuzzParsePath(f *testing.F) {
	for _, s := range []string{"/data/db", "tank/a b", "/a/../b", "/.antipode", "/\xff", "//", "/a/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := dataset.ParsePath(s)
		if err != nil {
			return
		}
		if p == "/" {
			return
		}
		for part := range strings.SplitSeq(strings.TrimPrefix(string(p), "/"), "/") {
			if part == "" || part == "." || part == ".." || part == dataset.Dir || len(part) > 255 || strings.ContainsRune(part, 0) {
				t.Errorf("ParsePath(%q) let the component %q through", s, part)
			}
		}
	})
}
