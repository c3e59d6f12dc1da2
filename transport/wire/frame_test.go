package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"
)

func TestParseHeader(t *testing.T) {
	chunk := ChunkHeader(7, []byte("payload"))
	flip := func(h Header, at int, to byte) []byte {
		b := h.Append(nil)
		b[at] = to
		return b
	}
	for _, tc := range []struct {
		name string
		b    []byte
		want error
	}{
		{"chunk", chunk.Append(nil), nil},
		{"end", EndHeader(3, 600_000).Append(nil), nil},
		{"end of nothing", EndHeader(0, 0).Append(nil), nil},
		{"idle", Header{Type: FrameIdle}.Append(nil), nil},
		{"empty", nil, ErrMalformed},
		{"cut", chunk.Append(nil)[:HeaderBytes-1], ErrMalformed},
		{"longer", append(chunk.Append(nil), 0), ErrMalformed},
		{"other version", flip(chunk, 0, 2), ErrVersion},
		{"type 0", flip(chunk, 1, 0), ErrMalformed},
		{"type 4", flip(chunk, 1, 4), ErrMalformed},
		{"unknown codec", flip(chunk, 2, 2), ErrMalformed},
		{"packed chunk", ChunkHeader(7, []byte("payload")).Packed(CodecZstd, 6).Append(nil), nil},
		{"packed chunk that is no shorter", chunk.Packed(CodecZstd, 7).Append(nil), ErrMalformed},
		{"packed chunk of nothing", chunk.Packed(CodecZstd, 0).Append(nil), ErrTooLarge},
		{"packed chunk that holds too much", Header{Type: FrameChunk, Codec: CodecZstd, Length: 9, Raw: MaxChunk + 1}.Append(nil), ErrTooLarge},
		{"packed end", Header{Type: FrameEnd, Codec: CodecZstd, Number: 1, Total: 1}.Append(nil), ErrMalformed},
		{"packed idle", Header{Type: FrameIdle, Codec: CodecZstd}.Append(nil), ErrMalformed},
		{"unknown flag", flip(chunk, 3, 1), ErrMalformed},
		{"reserved", flip(chunk, 23, 1), ErrMalformed},
		{"lengths differ", flip(chunk, 7, 8), ErrMalformed},
		{"empty chunk", Header{Type: FrameChunk}.Append(nil), ErrTooLarge},
		{"chunk too large", Header{Type: FrameChunk, Length: MaxChunk + 1, Raw: MaxChunk + 1}.Append(nil), ErrTooLarge},
		{"chunk of 4 GiB", Header{Type: FrameChunk, Length: 1<<32 - 1, Raw: 1<<32 - 1}.Append(nil), ErrTooLarge},
		{"last number", Header{Type: FrameChunk, Number: 1<<64 - 1, Length: 1, Raw: 1}.Append(nil), ErrMalformed},
		{"end with payload", Header{Type: FrameEnd, Number: 1, Total: 1, Length: 1}.Append(nil), ErrMalformed},
		{"end of more bytes than chunks hold", EndHeader(1, MaxChunk*2).Append(nil), ErrMalformed},
		{"end of more chunks than bytes", EndHeader(2, 1).Append(nil), ErrMalformed},
		{"end of no chunk with bytes", EndHeader(0, 1).Append(nil), ErrMalformed},
		{"idle with number", Header{Type: FrameIdle, Number: 1}.Append(nil), ErrMalformed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h, err := ParseHeader(tc.b)
			if !errors.Is(err, tc.want) {
				t.Fatalf("ParseHeader = %+v, %v; want %v", h, err, tc.want)
			}
			if err == nil && !bytes.Equal(h.Append(nil), tc.b) {
				t.Errorf("%+v encodes as %x, want %x", h, h.Append(nil), tc.b)
			}
		})
	}
}

func FuzzParseHeader(f *testing.F) {
	f.Add(ChunkHeader(1, []byte("x")).Append(nil))
	f.Add(ChunkHeader(1, []byte("xxxxxxxx")).Packed(CodecZstd, 5).Append(nil))
	f.Add(EndHeader(2, MaxChunk+5).Append(nil))
	f.Add(Header{Type: FrameIdle}.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ParseHeader(b)
		if err != nil {
			return
		}
		if h.Length > MaxChunk || h.Raw > MaxChunk {
			t.Errorf("accepted lengths %d and %d", h.Length, h.Raw)
		}
		if !bytes.Equal(h.Append(nil), b) {
			t.Errorf("%x is read as %+v, which is written as %x", b, h, h.Append(nil))
		}
	})
}

// fuzzMessage: whatever is accepted can be said again and is accepted again.
func fuzzMessage[M Message](t *testing.T, b []byte) {
	m, err := Parse[M](b)
	if err != nil {
		return
	}
	if _, err := Parse[M](encode(t, m)); err != nil {
		t.Errorf("%s is accepted, and refused as %s: %v", b, encode(t, m), err)
	}
}

func FuzzParseMessage(f *testing.F) {
	for _, v := range []Message{
		sampleHello(), sampleInventoryRequest(), sampleInventory(), sampleOpen(),
		CommitQuery{Step: sampleStep(), Driver: "btrfs"},
		Committed{Published: true, Snapshot: sampleSnapshot()},
		Progress{Next: 1, Have: []Range{{2, 3}}, Credit: 9},
		Errorf(KindGone, "x"),
	} {
		f.Add(mustJSON(v))
	}
	f.Add([]byte(`{"!x":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		fuzzMessage[Hello](t, b)
		fuzzMessage[InventoryRequest](t, b)
		fuzzMessage[Inventory](t, b)
		fuzzMessage[Open](t, b)
		fuzzMessage[CommitQuery](t, b)
		fuzzMessage[Committed](t, b)
		fuzzMessage[Progress](t, b)
		fuzzMessage[*Error](t, b)
	})
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}
