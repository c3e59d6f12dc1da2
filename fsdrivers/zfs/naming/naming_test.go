package naming

import (
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	for name, ok := range map[string]bool{
		"tank": true, "tank/db": true, "tank/with space/a:b.c_d-e": true, "tank/-dash": true, "tank/" + strings.Repeat("n", 200): true,
		"": false, "/tank": false, "tank/": false, "tank//db": false, "tank/..": false, "tank/a@b": false, "tank/a#b": false,
		"tank/100%": false, "tank/ü": false, "1tank": false, "-tank": false, "tank/a\nb": false, "tank/" + strings.Repeat("n", 250): false,
		"tank/\xff": false, "tank/ a": true, "tank/a ": true, "tank/ ": true, " tank": false,
	} {
		if what := Check(name); (what == "") != ok {
			t.Errorf("%.40q: got %q, want ok %v", name, what, ok)
		}
	}
	for name, ok := range map[string]bool{
		"antipode_a": true, "antipode_2026-01-01T00:00:00Z": true,
		"daily": false, "antipode_a/b": false, "antipode_ü": false, "antipode_a%b": false, "": false,
	} {
		if err := Own(name); (err == nil) != ok {
			t.Errorf("snapshot %q: got %v, want ok %v", name, err, ok)
		}
	}
}

func FuzzCheckName(f *testing.F) {
	f.Add("tank/a@x")
	f.Fuzz(func(t *testing.T, name string) {
		if Check(name) == "" && (len(name) > maxName || strings.ContainsAny(name, "@#%\n\t")) {
			t.Errorf("%q passes for a name", name)
		}
	})
}
