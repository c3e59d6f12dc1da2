package policy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"antipode/daemon/policy"
	"antipode/fsdrivers/dataset"
)

// patterns reads a list separated by spaces.
func patterns(t interface{ Fatal(...any) }, text string) policy.Patterns {
	var all policy.Patterns
	for _, s := range strings.Fields(text) {
		p, err := policy.ParsePattern(s)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}

func TestParsePattern(t *testing.T) {
	for _, c := range []struct{ in, says string }{
		{"/data/db", ""},
		{"/data/www/**", ""},
		{"!/data/www/cache", ""},
		{"tank/db", ""},
		{"tank/**", ""},
		{"/**", ""},
		{"/", ""},
		{"/data/with space", ""},
		{"/data/-dash", ""},
		{"/data/ünïcode", ""},
		{"", "empty"},
		{"!", "empty"},
		{"/data/*", "means nothing"},
		{"/data/**/x", "means nothing"},
		{"/data/", "not clean"},
		{"/data/../etc", "not clean"},
		{"//data", "not clean"},
		{"/data/.antipode/x", "below .antipode"},
		{"/a\nb", "control character"},
	} {
		t.Run(c.in, func(t *testing.T) {
			p, err := policy.ParsePattern(c.in)
			says(t, err, c.says)
			if err == nil && p.String() != c.in {
				t.Errorf("String: got %q, want %q", p, c.in)
			}
		})
	}
}

func TestPatternsMatch(t *testing.T) {
	const list = "/data/db /data/www/** !/data/www/cache /data/www/cache/keep !/data/www/tmp/** tank/a"
	for path, want := range map[dataset.Path]bool{
		"/data/db": true, "/data/db/x": false, "/data/dbx": false, "/data/www": false, "/data/www/a": true, "/data/www/a/b": true,
		"/data/www/cache": false, "/data/www/cache/x": true, "/data/www/cache/keep": true, "/data/www/tmp": true, "/data/www/tmp/x": false,
		"/data/wwwx": false, "/other": false, "tank/a": true, "tank/ab": false, "/tank/a": false,
	} {
		if got := patterns(t, list).Match(path); got != want {
			t.Errorf("%s: got %v, want %v", path, got, want)
		}
	}
}

func TestRoots(t *testing.T) {
	for _, c := range []struct{ name, list, want string }{
		{"exact and deep", "/data/db /data/www/** !/data/www/cache", "/data/db /data/www/**"},
		{"covered by a deep one", "/data/** /data/db /data/www/**", "/data/**"},
		{"a deep root is looked at itself", "/data /data/**", "/data/**"},
		{"twice", "/a /a", "/a"},
		{"everything", "/** /a", "/**"},
		{"no prefix of a name", "/a/** /ab", "/a/** /ab"},
		{"only exclusions", "!/a", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, r := range patterns(t, c.list).Roots() {
				got = append(got, policy.Pattern{Path: r.Path, Below: r.Deep}.String())
			}
			if s := strings.Join(got, " "); s != c.want {
				t.Errorf("got %q, want %q", s, c.want)
			}
		})
	}
}

func TestOverlap(t *testing.T) {
	for _, c := range []struct{ name, a, b, where string }{
		{"the same", "/a", "/a", "/a"},
		{"apart", "/a", "/b", ""},
		{"inside a deep one", "/a/**", "/a/b", "/a/b"},
		{"deep does not include itself", "/a/**", "/a", ""},
		{"two deep ones", "/a/**", "/a/b/**", "/a/b/**"},
		{"left out", "/a/** !/a/b", "/a/b", ""},
		{"left out, but not below", "/a/** !/a/b", "/a/b/**", "/a/b/**"},
		{"left out with all below", "/a/** !/a/b !/a/b/**", "/a/b /a/b/**", ""},
		{"put back", "/a/** !/a/b/** /a/b/c", "/a/b/**", "/a/b/c"},
		{"only names with one beginning", "/a/b/**", "/a/bb/**", ""},
		{"everything", "/**", "/x/y", "/x/y"},
		{"other kinds of names", "/tank/**", "tank/a", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			for range 2 {
				where, got := policy.Overlap(patterns(t, c.a), patterns(t, c.b))
				if got != (c.where != "") || where != c.where {
					t.Errorf("%q and %q: got %q, %v; want %q", c.a, c.b, where, got, c.where)
				}
				c.a, c.b = c.b, c.a
			}
		})
	}
}

// TestOverlapIsExact compares with trying every path of a small world.
func TestOverlapIsExact(t *testing.T) {
	var world []dataset.Path
	for _, a := range []string{"a", "b", "c"} {
		world = append(world, dataset.Path("/"+a))
		for _, b := range []string{"a", "b", "c"} {
			world = append(world, dataset.Path("/"+a+"/"+b))
			for _, c := range []string{"a", "b", "c"} {
				world = append(world, dataset.Path("/"+a+"/"+b+"/"+c))
			}
		}
	}
	one := rapid.Custom(func(t *rapid.T) policy.Pattern {
		// Only a and b are named, two deep, so that the world has a path nobody
		// names, and one below each.
		path := rapid.SampledFrom([]dataset.Path{"/a", "/b", "/a/a", "/a/b", "/b/a", "/b/b"}).Draw(t, "path")
		return policy.Pattern{Path: path, Below: rapid.Bool().Draw(t, "below"), Negate: rapid.Bool().Draw(t, "negate")}
	})
	list := rapid.SliceOfN(one, 0, 5)
	rapid.Check(t, func(t *rapid.T) {
		a, b := policy.Patterns(list.Draw(t, "a")), policy.Patterns(list.Draw(t, "b"))
		want := slices.ContainsFunc(world, func(p dataset.Path) bool { return a.Match(p) && b.Match(p) })
		if where, got := policy.Overlap(a, b); got != want {
			t.Fatalf("%v and %v: got %v at %q, want %v", a, b, got, where, want)
		}
	})
}

// TestRootsHoldAllThatMatches: nothing that is selected is outside the roots.
func TestRootsHoldAllThatMatches(t *testing.T) {
	paths := []dataset.Path{"/a", "/a/a", "/a/b", "/a/b/c", "/b", "/c"}
	rapid.Check(t, func(t *rapid.T) {
		var ps policy.Patterns
		for i := range rapid.IntRange(0, 5).Draw(t, "n") {
			ps = append(ps, policy.Pattern{
				Path:  rapid.SampledFrom(paths).Draw(t, fmt.Sprint("path", i)),
				Below: rapid.Bool().Draw(t, "below"), Negate: rapid.Bool().Draw(t, "negate"),
			})
		}
		for _, p := range paths {
			held := slices.ContainsFunc(ps.Roots(), func(r policy.Root) bool { return r.Path == p || r.Deep && r.Path.Contains(p) })
			if ps.Match(p) && !held {
				t.Fatalf("%v selects %s, which is in none of %v", ps, p, ps.Roots())
			}
		}
	})
}

func TestCovers(t *testing.T) {
	for _, c := range []struct {
		list string
		want bool
	}{
		{"/data/**", true},
		{"/data", false},
		{"/data/in", true},
		{"/data/in/**", true},
		{"/data/** !/data/in", true},
		{"/data/** !/data/in !/data/in/**", false},
		{"/data/in/live/**", false},
		{"/other/**", false},
	} {
		if got := patterns(t, c.list).Covers("/data/in"); got != c.want {
			t.Errorf("%q covers /data/in: got %v, want %v", c.list, got, c.want)
		}
	}
}

func TestValidFor(t *testing.T) {
	for _, c := range []struct {
		pattern string
		driver  policy.Driver
		says    string
	}{
		{"/data/db", policy.Btrfs, ""},
		{"tank/db", policy.ZFS, ""},
		{"data/db", policy.Btrfs, "relative"},
		{"!data/**", policy.Btrfs, `such as "/data"`},
		{"/tank/db", policy.ZFS, `such as "tank/db"`},
	} {
		p := patterns(t, c.pattern)[0]
		t.Run(c.pattern, func(t *testing.T) { says(t, p.ValidFor(c.driver), c.says) })
	}
}

func TestDriverOf(t *testing.T) {
	for path, want := range map[dataset.Path]policy.Driver{"/data/db": policy.Btrfs, "/": policy.Btrfs, "tank/db": policy.ZFS, "tank": policy.ZFS} {
		if got := policy.DriverOf(path); got != want {
			t.Errorf("DriverOf(%q) = %q, want %q", path, got, want)
		}
		if err := (policy.Pattern{Path: path}).ValidFor(want); err != nil {
			t.Errorf("%q is not valid for its own driver: %v", path, err)
		}
	}
}
