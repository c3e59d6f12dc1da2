package fake

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"antipode/fsdrivers/dataset"
)

// encodeAll is a whole stream.
func encodeAll(from, to dataset.ID, base, files content) []byte {
	var b []byte
	e := newEncoder(from, to, base, files)
	for rec := e.next(); rec != nil; rec = e.next() {
		b = append(b, rec...)
	}
	return b
}

// decodeAll takes in a stream up to its end mark.
func decodeAll(base content, stream []byte) (*decoder, error) {
	d := newDecoder(base)
	r := bytes.NewReader(stream)
	for !d.ended {
		rec, err := d.read(r)
		if err == nil {
			err = d.apply(rec)
		}
		if err != nil {
			return d, err
		}
	}
	return d, nil
}

func text(s string) *blob { return &blob{size: int64(len(s)), data: []byte(s)} }

func TestRoundTrip(t *testing.T) {
	base := content{"gone": text("x"), "same": text("same"), "changed": text("old"), "shrinks": {size: 200_000, seed: 5}}
	files := content{
		"same": text("same"), "changed": text("new"), "empty": text(""), "shrinks": {size: 199_999, seed: 5},
		"grown": {size: 3*blockSize + 13, seed: 77}, "large": text(string(bytes.Repeat([]byte("large"), 50_000))),
	}
	for name, from := range map[string]content{"full": nil, "incremental": base} {
		t.Run(name, func(t *testing.T) {
			d, err := decodeAll(from, encodeAll("a", "b", from, files))
			if err != nil {
				t.Fatal(err)
			}
			if write, remove := files.changes(d.files); len(write)+len(remove) != 0 {
				t.Errorf("what arrived lacks %q and has %q too much", write, remove)
			}
		})
	}
	if base["changed"].data[0] != 'o' || base["gone"] == nil {
		t.Error("the base was changed")
	}
}

func TestNoCutAndNoFlipIsTaken(t *testing.T) {
	whole := encodeAll("", "b", nil, content{"a": text("content"), "b": {size: 50, seed: 3}})
	for n := range whole {
		if _, err := decodeAll(nil, whole[:n]); !errors.Is(err, dataset.ErrCut) {
			t.Errorf("%d of %d bytes: got %v, want cut", n, len(whole), err)
		}
	}
	for bit := range len(whole) * 8 {
		bad := slices.Clone(whole)
		bad[bit/8] ^= 1 << (bit % 8)
		if _, err := decodeAll(nil, bad); err == nil {
			t.Errorf("bit %d flipped: got no error", bit)
		}
	}
}

func TestRecordsCannotBeMoved(t *testing.T) {
	var recs [][]byte
	e := newEncoder("", "b", nil, content{"a": text("1"), "b": text("2")})
	for rec := e.next(); rec != nil; rec = e.next() {
		recs = append(recs, rec)
	}
	for i := range len(recs) - 1 {
		moved := slices.Clone(recs)
		moved[i], moved[i+1] = moved[i+1], moved[i]
		if _, err := decodeAll(nil, bytes.Join(moved, nil)); err == nil {
			t.Errorf("records %d and %d swapped: got no error", i, i+1)
		}
		if _, err := decodeAll(nil, bytes.Join(slices.Delete(slices.Clone(recs), i, i+1), nil)); err == nil {
			t.Errorf("record %d left out: got no error", i)
		}
	}
}

func FuzzDecode(f *testing.F) {
	whole := encodeAll("a", "b", content{"x": text("x")}, content{"a": text("content"), "b": {size: 50, seed: 3}})
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Add([]byte(magic))
	f.Add(append([]byte(magic), version, 0, 1, 'b', 0, 0, 0, 0, 'F'))
	f.Fuzz(func(t *testing.T, stream []byte) {
		d, err := decodeAll(nil, stream)
		if err == nil && !d.ended {
			t.Error("no error and no end mark")
		}
		if err != nil && !errors.Is(err, dataset.ErrCut) && !errors.Is(err, dataset.ErrRefused) {
			t.Errorf("got %v, want cut or refused", err)
		}
		if d.off > int64(len(stream)) {
			t.Errorf("took in %d of %d bytes", d.off, len(stream))
		}
	})
}
