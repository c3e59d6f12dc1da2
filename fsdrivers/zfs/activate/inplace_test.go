package activate

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/prop"
)

// live is a target with a replica that was activated in place. Its property written is
// first what is known before it is unmounted, and then what is known after.
func live(t *testing.T, before, after, diff string, more ...string) (*scripted, *Activator) {
	t.Helper()
	more = append([]string{"dst/into/src/db", prop.Live, prop.On, "dst/into/src/db", "written", before}, more...)
	return activatorOn(t,
		rule{Args: getLineages, Out: lineageOut(more...)},
		rule{Args: "list", Out: "dst/into/src/db@antipode_a\t10\t5\n"},
		rule{Args: "get -Hp -o name,property,source,value written", Out: props("dst/into/src/db", "written", after)},
		rule{Args: "get -Hp -o name,property,source,value type,keystatus", Out: props("dst/into/src/db", "type", "filesystem", "dst/into/src/db", "keystatus", "available")},
		rule{Args: "get", Out: props("dst/into/src/db@antipode_a", prop.Received, "2026-01-01T00:00:00Z")},
		rule{Args: "diff", Out: diff},
		rule{Args: "holds"}, rule{Args: "unmount"}, rule{Args: "set"}, rule{Args: "inherit"}, rule{Args: "mount"},
	)
}

// raw is what a replica has that was received raw.
func raw() []string { return []string{"dst/into/src/db", prop.Key, strings.Repeat("ab", 32)} }

func TestWhatIsLiveRestsIfNothingWasWritten(t *testing.T) {
	for name, c := range map[string]struct {
		before, after string
		more          []string
	}{
		"nothing at all":                    {"0", "0", nil},
		"what ZFS itself writes at a mount": {"8192", "8192", raw()},
	} {
		s, tg := live(t, c.before, c.after, "", c.more...)
		if err := tg.Rest(t.Context(), "src/db"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got, want := changes(s), "inherit "+prop.Live+" dst/into/src/db"; !slices.Contains(got, want) || slices.Contains(got, "mount dst/into/src/db") {
			t.Errorf("%s: got %q, want %q and no mount", name, got, want)
		}
	}
}

// TestWhatWasWrittenStaysLive: what was written last is known only when nobody can
// write any more. Then it has to go on as it was.
func TestWhatWasWrittenStaysLive(t *testing.T) {
	for name, c := range map[string]struct {
		before, after, diff string
		more                []string
	}{
		"known at once":         {"8192", "8192", "", nil},
		"known after unmount":   {"0", "8192", "", nil},
		"a file of a raw one":   {"0", "8192", "M\t/live/db/a\n", raw()},
		"another, known before": {"8192", "8192", "+\t/live/db/b\n", raw()},
	} {
		s, tg := live(t, c.before, c.after, c.diff, c.more...)
		if err := tg.Rest(t.Context(), "src/db"); !errors.Is(err, dataset.ErrDiverged) {
			t.Errorf("%s: got %v, want diverged", name, err)
		}
		sets := slices.DeleteFunc(s.Calls(), func(call string) bool { return !strings.HasPrefix(call, "set ") || !strings.Contains(call, "readonly") })
		if c.before != "0" && c.more == nil {
			if len(sets) != 0 || len(changes(s)) != 0 {
				t.Errorf("%s: ran %q and %q on what is in use", name, sets, changes(s))
			}
			continue
		}
		if len(sets) == 0 || !strings.Contains(sets[len(sets)-1], "readonly=off") || !slices.Contains(changes(s), "mount dst/into/src/db") ||
			slices.Contains(changes(s), "inherit "+prop.Live+" dst/into/src/db") {
			t.Errorf("%s: ran %q and %q, want it live at the end", name, sets, changes(s))
		}
	}
}
