package btrfs

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"antipode/fsdrivers/dataset"
)

func TestSidecarComesBack(t *testing.T) {
	dir := openTemp(t)
	want := point{ID: "6f1f", Name: "antipode_a b", Created: time.Unix(1, 2).UTC(), Retain: time.Unix(3, 4).UTC()}
	if _, found, err := readSidecar[point](dir, "p", kindPoint, ""); found || err != nil {
		t.Errorf("read of none: %v, %v; want not found", found, err)
	}
	must(t, writeSidecar(dir, "p", kindPoint, point{Name: "older"}))
	must(t, writeSidecar(dir, "p", kindPoint, want))
	got, found, err := readSidecar[point](dir, "p", kindPoint, "")
	if got != want || !found || err != nil {
		t.Errorf("got %+v, %v, %v; want %+v", got, found, err, want)
	}
	if list, err := names(dir); err != nil || len(list) != 1 {
		t.Errorf("directory holds %v, %v; want only p", list, err)
	}
}

func TestDamagedSidecarNamesItself(t *testing.T) {
	dir := openTemp(t)
	good, err := encodeSidecar(kindMark, dataset.Mark{})
	must(t, err)
	newer := bytes.Replace(good, []byte(" 1\n"), []byte(" 2\n"), 1)
	head, _, _ := bytes.Cut(newer, []byte("\n"))
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"empty":              {nil, "damaged"},
		"cut":                {good[:len(good)-1], "damaged"},
		"a flipped bit":      {flip(good, len(head)+3), "damaged"},
		"a flipped digest":   {flip(good, len(good)-3), "damaged"},
		"something behind":   {append(good[:len(good):len(good)], '\n'), "damaged"},
		"another kind":       {encoded(t, kindHold, hold{}), "damaged"},
		"not our JSON":       {encoded(t, kindMark, "text"), "damaged"},
		"a newer version":    {resealed(newer), "version 2"},
		"longer than it may": {bytes.Repeat([]byte("x"), maxSidecarBytes+1), "damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			must(t, os.WriteFile(filepath.Join(dir.Name(), "mark"), c.data, 0o600))
			_, _, err := readSidecar[dataset.Mark](dir, "mark", kindMark, "the cure")
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), filepath.Join(dir.Name(), "mark")) {
				t.Errorf("error %v, want one that says %q and names the file", err, c.want)
			}
			if c.want == "damaged" && !strings.Contains(err.Error(), "the cure") {
				t.Errorf("error %v, want one with the cure", err)
			}
		})
	}
}

func flip(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 1
	return b
}

func encoded(t *testing.T, k kind, v any) []byte {
	t.Helper()
	b, err := encodeSidecar(k, v)
	must(t, err)
	return b
}

// resealed gives changed lines a digest that fits.
func resealed(b []byte) []byte {
	lines := bytes.SplitAfter(b, []byte("\n"))
	text := append(bytes.Clone(lines[0]), lines[1]...)
	return append(text, digest(text)+"\n"...)
}

func TestMarkIsSwappedOnlyFromWhatItIs(t *testing.T) {
	f := facts{openTemp(t)}
	first := dataset.Mark{Activation: dataset.Activation{Generation: 1, ID: dataset.NewActivationID(), Node: "a"}}
	second := dataset.Mark{Activation: dataset.Activation{Generation: 2, ID: dataset.NewActivationID(), Node: "b"}, History: []dataset.Activation{first.Activation}}
	must(t, f.swapMark(dataset.Mark{}, first))
	if err := f.swapMark(dataset.Mark{}, second); !errors.Is(err, dataset.ErrChanged) {
		t.Errorf("swap from an old mark: %v, want ErrChanged", err)
	}
	if err := f.swapMark(first, dataset.Mark{Activation: dataset.Activation{Generation: 3}}); err == nil {
		t.Error("a mark without form was written")
	}
	must(t, f.swapMark(first, second))
	if got, err := f.mark(); err != nil || !sameMark(got, second) {
		t.Errorf("mark is %+v, %v; want %+v", got, err, second)
	}
}

func TestHoldsAreFoundByContent(t *testing.T) {
	f := facts{openTemp(t)}
	there := func() error { return nil }
	a, b := dataset.Snapshot{ID: "aa", Name: "antipode_a"}, dataset.Snapshot{ID: "bb", Name: "antipode_b"}
	must(t, f.hold(a, "z.1", there))
	must(t, f.hold(a, "base", there))
	must(t, f.hold(a, "base", there)) // again is success
	must(t, f.hold(b, "base", there))
	gone := errors.New("gone")
	if err := f.hold(b, "x", func() error { return gone }); !errors.Is(err, gone) {
		t.Errorf("hold of what is gone: %v, want %v", err, gone)
	}
	if err := f.hold(a, "../x", there); err == nil {
		t.Error("a tag that leads outside was accepted")
	}
	must(t, f.release("base", []dataset.ID{"bb"}))
	must(t, os.WriteFile(filepath.Join(f.dir.Name(), holdsDir, tempPrefix+"left"), nil, 0o600))
	got, err := f.holds()
	if err != nil || len(got) != 2 || len(got["aa"]) != 1 || got["aa"][0] != "z.1" || len(got["bb"]) != 1 {
		t.Errorf("holds are %v, %v; want z.1 on aa and base on bb", got, err)
	}
	must(t, f.release("none", nil))
}

func openTemp(t *testing.T) *os.File {
	t.Helper()
	dir, err := os.Open(t.TempDir())
	must(t, err)
	t.Cleanup(func() { dir.Close() })
	return dir
}

func FuzzDecodeSidecar(f *testing.F) {
	for _, v := range []any{dataset.Mark{}, hold{ID: "a", Tag: "b"}, map[string]int{"later": 1}} {
		for _, k := range []kind{kindMark, kindHold} {
			b, err := encodeSidecar(k, v)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b)
		}
	}
	f.Add([]byte("antipode mark 1\n{}\n\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var h hold
		if err := decodeSidecar(kindHold, data, &h); err != nil {
			return
		}
		again, err := encodeSidecar(kindHold, h)
		if err != nil {
			t.Fatalf("what was decoded does not encode: %v", err)
		}
		var second hold
		if err := decodeSidecar(kindHold, again, &second); err != nil || second != h {
			t.Errorf("decoded again: %+v, %v; want %+v", second, err, h)
		}
	})
}
