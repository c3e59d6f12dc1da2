package facts

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"antipode/fsdrivers/btrfs/btrfstest"
	"antipode/fsdrivers/btrfs/sidecar"
	"antipode/fsdrivers/dataset"
)

func TestMarkIsSwappedOnlyFromWhatItIs(t *testing.T) {
	f := Dir{btrfstest.OpenTemp(t)}
	first := dataset.Mark{Activation: dataset.Activation{Generation: 1, ID: dataset.NewActivationID(), Node: "a"}}
	second := dataset.Mark{Activation: dataset.Activation{Generation: 2, ID: dataset.NewActivationID(), Node: "b"}, History: []dataset.Activation{first.Activation}}
	btrfstest.Must(t, f.SwapMark(dataset.Mark{}, first))
	if err := f.SwapMark(dataset.Mark{}, second); !errors.Is(err, dataset.ErrChanged) {
		t.Errorf("swap from an old mark: %v, want ErrChanged", err)
	}
	if err := f.SwapMark(first, dataset.Mark{Activation: dataset.Activation{Generation: 3}}); err == nil {
		t.Error("a mark without form was written")
	}
	btrfstest.Must(t, f.SwapMark(first, second))
	if got, err := f.Mark(); err != nil || !sameMark(got, second) {
		t.Errorf("mark is %+v, %v; want %+v", got, err, second)
	}
}

func TestHoldsAreFoundByContent(t *testing.T) {
	f := Dir{btrfstest.OpenTemp(t)}
	there := func() error { return nil }
	a, b := dataset.Snapshot{ID: "aa", Name: "antipode_a"}, dataset.Snapshot{ID: "bb", Name: "antipode_b"}
	btrfstest.Must(t, f.hold(a, "z.1", there))
	btrfstest.Must(t, f.hold(a, "base", there))
	btrfstest.Must(t, f.hold(a, "base", there)) // again is success
	btrfstest.Must(t, f.hold(b, "base", there))
	gone := errors.New("gone")
	if err := f.hold(b, "x", func() error { return gone }); !errors.Is(err, gone) {
		t.Errorf("hold of what is gone: %v, want %v", err, gone)
	}
	if err := f.hold(a, "../x", there); err == nil {
		t.Error("a tag that leads outside was accepted")
	}
	btrfstest.Must(t, f.Release("base", []dataset.ID{"bb"}))
	btrfstest.Must(t, os.WriteFile(filepath.Join(f.Dir.Name(), holdsDir, sidecar.TempPrefix+"left"), nil, 0o600))
	got, err := f.Holds()
	if err != nil || len(got) != 2 || len(got["aa"]) != 1 || got["aa"][0] != "z.1" || len(got["bb"]) != 1 {
		t.Errorf("holds are %v, %v; want z.1 on aa and base on bb", got, err)
	}
	btrfstest.Must(t, f.Release("none", nil))
}
