package prop_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/prop"
)

func TestMarksFitIntoAProperty(t *testing.T) {
	for name, m := range map[string]dataset.Mark{
		"none":              {},
		"one":               longMark(1, func(int) string { return "fra1" }),
		"the longest nodes": longMark(200, func(int) string { return string(dataset.NewActivationID() + dataset.NewActivationID()) }),
		"the most":          longMark(200, func(i int) string { return fmt.Sprintf("node-%d.of.a.rather.long.domain.example", i%3) }),
	} {
		text, err := prop.EncodeMark(m)
		if err != nil || len(text) > 8191 {
			t.Errorf("%s: got %d bytes, %v", name, len(text), err)
		}
		if got, err := prop.DecodeMark(text); err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("%s: got %+v, %v, want %+v", name, got, err, m)
		}
		for at := range text {
			bad := []byte(text)
			bad[at] ^= 1
			if got, err := prop.DecodeMark(string(bad)); err == nil && !reflect.DeepEqual(got, m) {
				t.Fatalf("%s: byte %d changed: got %+v and no error", name, at, got)
			}
		}
	}
}

func TestTimesSurviveTheirText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "s"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns")).UTC()
		if got := prop.TimeOf(prop.TextOf(want)); !got.Equal(want) || got.Location() != time.UTC {
			t.Fatalf("got %v, want %v", got, want)
		}
	})
	if got := prop.TimeOf("yesterday"); !got.IsZero() {
		t.Errorf("got %v, want zero", got)
	}
}

func FuzzDecodeMark(f *testing.F) {
	text, err := prop.EncodeMark(longMark(3, func(int) string { return "fra1" }))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add("1.x.y")
	f.Fuzz(func(t *testing.T, s string) {
		if m, err := prop.DecodeMark(s); err == nil && m.Validate() != nil {
			t.Errorf("%q: got the invalid %+v", s, m)
		}
	})
}

func longMark(n int, node func(i int) string) dataset.Mark {
	a := func(g int) dataset.Activation {
		return dataset.Activation{
			Generation: uint64(g), ID: dataset.NewActivationID(), Node: node(g), Base: dataset.ID(fmt.Sprintf("%016x", rand.Uint64()|1)),
		}
	}
	m := dataset.Mark{Activation: a(n)}
	for g := n - 1; g > 0 && len(m.History) < dataset.MaxMarkHistory; g-- {
		m.History = append(m.History, a(g))
	}
	return m
}
