package sidecar

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"antipode/fsdrivers/btrfs/btrfstest"
	"antipode/fsdrivers/btrfs/subvol"
	"antipode/fsdrivers/dataset"
)

type sample struct {
	Name string    `json:"name"`
	At   time.Time `json:"at"`
	Tag  string    `json:"tag"`
}

func TestSidecarComesBack(t *testing.T) {
	dir := btrfstest.OpenTemp(t)
	want := sample{Name: "antipode_a b", At: time.Unix(1, 2).UTC()}
	if _, found, err := Read[sample](dir, "p", Point, ""); found || err != nil {
		t.Errorf("read of none: %v, %v; want not found", found, err)
	}
	btrfstest.Must(t, Write(dir, "p", Point, sample{Name: "older"}))
	btrfstest.Must(t, Write(dir, "p", Point, want))
	got, found, err := Read[sample](dir, "p", Point, "")
	if got != want || !found || err != nil {
		t.Errorf("got %+v, %v, %v; want %+v", got, found, err, want)
	}
	if list, err := subvol.Names(dir); err != nil || len(list) != 1 {
		t.Errorf("directory holds %v, %v; want only p", list, err)
	}
}

func TestDamagedSidecarNamesItself(t *testing.T) {
	dir := btrfstest.OpenTemp(t)
	good, err := encode(Mark, dataset.Mark{})
	btrfstest.Must(t, err)
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
		"another kind":       {encoded(t, Hold, sample{}), "damaged"},
		"not our JSON":       {encoded(t, Mark, "text"), "damaged"},
		"a newer version":    {resealed(newer), "version 2"},
		"longer than it may": {bytes.Repeat([]byte("x"), maxBytes+1), "damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			btrfstest.Must(t, os.WriteFile(filepath.Join(dir.Name(), "mark"), c.data, 0o600))
			_, _, err := Read[dataset.Mark](dir, "mark", Mark, "the cure")
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

func encoded(t *testing.T, k Kind, v any) []byte {
	t.Helper()
	b, err := encode(k, v)
	btrfstest.Must(t, err)
	return b
}

// resealed gives changed lines a digest that fits.
func resealed(b []byte) []byte {
	lines := bytes.SplitAfter(b, []byte("\n"))
	text := append(bytes.Clone(lines[0]), lines[1]...)
	return append(text, digest(text)+"\n"...)
}

func FuzzDecodeSidecar(f *testing.F) {
	for _, v := range []any{dataset.Mark{}, sample{Name: "a", Tag: "b"}, map[string]int{"later": 1}} {
		for _, k := range []Kind{Mark, Hold} {
			b, err := encode(k, v)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b)
		}
	}
	f.Add([]byte("antipode mark 1\n{}\n\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var h sample
		if err := decode(Hold, data, &h); err != nil {
			return
		}
		again, err := encode(Hold, h)
		if err != nil {
			t.Fatalf("what was decoded does not encode: %v", err)
		}
		var second sample
		if err := decode(Hold, again, &second); err != nil || second != h {
			t.Errorf("decoded again: %+v, %v; want %+v", second, err, h)
		}
	})
}
