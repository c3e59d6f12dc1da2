package cli

import (
	"errors"
	"os"
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
	z.hung["tank"] = identify(os.Getpid()) // this process lives
	if err := set("tank/db"); !errors.Is(err, dataset.ErrStuck) || len(s.Calls()) != 0 {
		t.Errorf("got %v after %q, want stuck and no call", err, s.Calls())
	}
	if err := set("other/db"); err != nil {
		t.Errorf("on another pool: %v", err)
	}
	z.hung["tank"] = process{pid: os.Getpid(), start: "1"} // its number is another's now
	if err := set("tank/db"); err != nil {
		t.Errorf("after it ended: %v", err)
	}
}
