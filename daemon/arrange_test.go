package daemon

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"antipode/fsdrivers/dataset"
	"antipode/transport/wire"
)

// asksOf reads "db=1 www=2".
func asksOf(text string) (asks []wire.InventoryAsk) {
	for word := range strings.FieldsSeq(text) {
		path, id, _ := strings.Cut(word, "=")
		asks = append(asks, wire.InventoryAsk{Dataset: dataset.Dataset{Path: dataset.Path("/" + path), ID: dataset.ID(id)}})
	}
	return asks
}

func idsOf(text string) map[dataset.Path]dataset.ID {
	ids := map[dataset.Path]dataset.ID{}
	for _, a := range asksOf(text) {
		ids[a.Dataset.Path] = a.Dataset.ID
	}
	return ids
}

func TestRelocations(t *testing.T) {
	for _, c := range []struct{ name, asked, held, want string }{
		{"all is in its place", "db=1 www=2", "db=1 www=2", ""},
		{"nothing is held", "db=1", "", ""},
		{"what is not asked about stays", "db=1", "db=1 www=2", ""},
		{"renamed", "new=1", "old=1", "/old>/new"},
		{"made anew", "db=2", "db=1", "/db>/db.was-1"},
		{"renamed, and another made in its place", "db=2 old=1", "db=1", "/db>/db.was-1 /db.was-1>/old"},
		{"renamed, and another made, asked in the other order", "a=1 db=2", "db=1", "/db>/a"},
		{"two change places", "a=2 b=1", "a=1 b=2", "/a>/a.was-1 /b>/a /a.was-1>/b"},
		{"what was set aside comes back", "db=1", "db=2 db.was-1=1", "/db>/db.was-2 /db.was-1>/db"},
		{"one dataset seen under two paths", "a=1 b=1", "c=1", ""},
		{"a whole tree is renamed", "n=1 n/x=2", "o=1 o/x=2", "/o>/n /o/x>/n/x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, l := range relocations(asksOf(c.asked), idsOf(c.held)) {
				got = append(got, fmt.Sprintf("%s>%s", l.Path, l.to))
			}
			if text := strings.Join(got, " "); text != c.want {
				t.Errorf("got %q, want %q", text, c.want)
			}
		})
	}
}

// TestRelocationsReachWhatIsAskedFor: whatever is held, after the moves each dataset
// that is asked about once has its replica under its path, none is lost, and there
// is nothing left to move.
func TestRelocationsReachWhatIsAskedFor(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(label string) map[dataset.Path]dataset.ID {
			ids := map[dataset.Path]dataset.ID{}
			paths := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"/a", "/b", "/c", "/a/x", "/d"}), 0, 5, rapid.ID[string]).Draw(t, label)
			for i, id := range rapid.Permutation([]string{"1", "2", "3", "4", "5"}).Draw(t, label+" ids")[:len(paths)] {
				ids[dataset.Path(paths[i])] = dataset.ID(id)
			}
			return ids
		}
		held, wish := draw("held"), draw("wish")
		var asks []wire.InventoryAsk
		for path, id := range wish {
			asks = append(asks, wire.InventoryAsk{Dataset: dataset.Dataset{Path: path, ID: id}})
		}
		had := len(held)
		for _, l := range relocations(asks, maps.Clone(held)) {
			if held[l.Path] != l.ID || held[l.to] != "" {
				t.Fatalf("%+v: %s is at %s, and %q where it is to go", l, held[l.Path], l.Path, held[l.to])
			}
			delete(held, l.Path)
			held[l.to] = l.ID
		}
		at := map[dataset.ID]dataset.Path{}
		for path, id := range held {
			at[id] = path
		}
		if len(at) != had {
			t.Fatalf("of %d replicas %d are left: %v", had, len(at), held)
		}
		for path, id := range wish {
			if now, isHeld := at[id]; isHeld && now != path {
				t.Fatalf("%s is asked for as %s, and is at %s", id, path, now)
			}
		}
		if again := relocations(asks, held); len(again) != 0 {
			t.Fatalf("there is more to move: %+v", again)
		}
	})
}
