package cli

import (
	"errors"
	"os"
	"slices"
	"testing"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/zfstest"
)

func TestNothingIsStartedBesideWhatHangs(t *testing.T) {
	s := zfstest.New(t, zfstest.Rule{Args: "set"})
	z := New(s.Binary(), 0)
	set := func(name string) error {
		_, err := z.Run(t.Context(), name, "set", "readonly=on", name)
		return err
	}
	lives, ended := identify(os.Getpid()), process{pid: os.Getpid(), start: "1"} // its number is another's now
	for name, hung := range map[string][]process{"one": {lives}, "and one that ended since": {lives, ended}, "and one that ended before": {ended, lives}} {
		z.hung["tank"] = hung
		if err := set("tank/db"); !errors.Is(err, dataset.ErrStuck) || len(s.Calls()) != 0 {
			t.Errorf("%s: got %v after %q, want stuck and no call", name, err, s.Calls())
		}
	}
	if err := set("other/db"); err != nil {
		t.Errorf("on another pool: %v", err)
	}
	z.hung["tank"] = []process{ended, ended}
	if err := set("tank/db"); err != nil {
		t.Errorf("after they ended: %v", err)
	}
}

// TestOneCommandIsAboutOnePool: an error and a child that hangs are told of the pool of the
// first name.
func TestOneCommandIsAboutOnePool(t *testing.T) {
	var got [][]string
	err := ByPool([]string{"a/x", "b@s", "a", "b/y@s", "a#m", "c"}, func(some []string) error {
		got = append(got, some)
		return nil
	})
	want := [][]string{{"a/x", "a", "a#m"}, {"b@s", "b/y@s"}, {"c"}}
	if err != nil || !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}
