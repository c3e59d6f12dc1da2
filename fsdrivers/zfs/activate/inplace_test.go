package activate

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/naming"
	"antipode/fsdrivers/zfs/prop"
	"antipode/fsdrivers/zfs/standby/standbytest"
	"antipode/fsdrivers/zfs/zfstest"
)

// live is a target with a replica that was activated in place. Its property written is
// first what is known before it is unmounted, and then what is known after.
func live(t *testing.T, before, after, diff string, more ...string) (*zfstest.Script, *Activator) {
	t.Helper()
	more = append([]string{"dst/into/src/db", prop.Live, prop.On, "dst/into/src/db", "written", before}, more...)
	return activatorOn(t,
		zfstest.Rule{Args: standbytest.GetLineages, Out: standbytest.LineageOut(more...)},
		zfstest.Rule{Args: "list", Out: "dst/into/src/db@antipode_a\t10\t5\n"},
		zfstest.Rule{Args: "get -Hp -o name,property,source,value written", Out: zfstest.Props("dst/into/src/db", "written", after)},
		zfstest.Rule{Args: "get -Hp -o name,property,source,value type,keystatus", Out: zfstest.Props("dst/into/src/db", "type", "filesystem", "dst/into/src/db", "keystatus", "available")},
		zfstest.Rule{Args: "get", Out: zfstest.Props("dst/into/src/db@antipode_a", prop.Received, "2026-01-01T00:00:00Z")},
		zfstest.Rule{Args: "diff", Out: diff},
		zfstest.Rule{Args: "holds"}, zfstest.Rule{Args: "unmount"}, zfstest.Rule{Args: "rollback"}, zfstest.Rule{Args: "set"}, zfstest.Rule{Args: "inherit"}, zfstest.Rule{Args: "mount"},
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
		if got, want := changes(s), "inherit "+prop.Live+" dst/into/src/db"; !slices.Contains(got, want) || isMounted(s) {
			t.Errorf("%s: got %q, want %q and no mount", name, got, want)
		}
	}
}

// isMounted reports whether the last command about it was to mount.
func isMounted(s *zfstest.Script) bool {
	mounted := false
	for _, call := range s.Calls() {
		if verb, _, _ := strings.Cut(call, " "); verb == "mount" || verb == "unmount" {
			mounted = verb == "mount"
		}
	}
	return mounted
}

// TestARawOneIsComparedWhenNobodyCanWrite: what is mapped into memory is written at an
// unmount, so files are compared after one, and before what ZFS wrote is rolled back.
func TestARawOneIsComparedWhenNobodyCanWrite(t *testing.T) {
	s, tg := live(t, "8192", "8192", "", raw()...)
	if err := tg.Rest(t.Context(), "src/db"); err != nil {
		t.Fatal(err)
	}
	at := -1
	for _, want := range []string{"set readonly=on ", "unmount ", "mount ", "diff ", "unmount ", "rollback "} {
		next := slices.IndexFunc(s.Calls()[at+1:], func(call string) bool { return strings.HasPrefix(call, want) })
		if next < 0 {
			t.Fatalf("ran %q, want %q after the first %d", s.Calls(), want, at+1)
		}
		at += 1 + next
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
		if len(sets) == 0 || !strings.Contains(sets[len(sets)-1], "readonly=off") || !isMounted(s) ||
			slices.Contains(changes(s), "inherit "+prop.Live+" dst/into/src/db") {
			t.Errorf("%s: ran %q and %q, want it live at the end", name, sets, changes(s))
		}
	}
}

// TestGoingLiveAgainLeavesAloneWhatIsDone: a restart makes live what its mark says, and
// where that is mounted may be the operator's wish by then.
func TestGoingLiveAgainLeavesAloneWhatIsDone(t *testing.T) {
	const name = "dst/into/src/db"
	for what, c := range map[string]struct {
		canmount, readonly string
		sets               []string
	}{
		"all was done":                       {"on", "off", nil},
		"a Rest did not come to its end":     {"on", "on", []string{"set readonly=off " + name}},
		"it died before it could be mounted": {"noauto", "off", []string{"exec=on", "mountpoint=/dst/into/antipode_live/src/db", "canmount=on"}},
	} {
		s, tg := activatorOn(t,
			zfstest.Rule{Args: standbytest.GetLineages, Out: standbytest.LineageOut(name, prop.Live, prop.On, name, "written", "8192")},
			zfstest.Rule{Args: "list", Out: name + "@antipode_a\t10\t5\n"},
			zfstest.Rule{Args: "get -Hp -o name,property,source,value canmount,volmode,readonly", Out: zfstest.Props(name, "canmount", c.canmount, name, "readonly", c.readonly)},
			zfstest.Rule{Args: "get -Hp -o name,property,source,value type,keystatus", Out: zfstest.Props(name, "type", "filesystem", name, "keystatus", "available")},
			zfstest.Rule{Args: "get", Out: zfstest.Props(name+"@antipode_a", prop.Received, "2026-01-01T00:00:00Z")},
			zfstest.Rule{Args: "holds"}, zfstest.Rule{Args: "set"}, zfstest.Rule{Args: "mount"},
		)
		if _, err := tg.ActivateInPlace(t.Context(), "src/db", dataset.Snapshot{Name: "antipode_a", ID: naming.IDOf(10)}); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		sets := slices.DeleteFunc(s.Calls(), func(call string) bool { return !strings.HasPrefix(call, "set ") })
		if len(sets) != len(c.sets) {
			t.Errorf("%s: ran %q, want %q", what, sets, c.sets)
			continue
		}
		for i, want := range c.sets {
			if !strings.Contains(sets[i], want) {
				t.Errorf("%s: ran %q, want %q in it", what, sets[i], want)
			}
		}
	}
}
