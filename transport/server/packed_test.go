package server_test

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/klauspost/compress/zstd"

	"antipode/transport/squeeze"
	"antipode/transport/wire"
)

// packed is a chunk frame around what raw packs to; the header may be bent.
func packed(t *testing.T, number uint64, raw []byte, bend func(*wire.Header, *[]byte)) []byte {
	t.Helper()
	e, err := zstd.NewWriter(nil, zstd.WithSingleSegment(true))
	if err != nil {
		t.Fatal(err)
	}
	payload := e.EncodeAll(raw, nil)
	h := wire.ChunkHeader(number, raw)
	if bend != nil {
		bend(&h, &payload)
	}
	return append(h.Packed(wire.CodecZstd, len(payload)).Append(nil), payload...)
}

func TestPackedChunks(t *testing.T) {
	raw := []byte(strings.Repeat("a point that was received and published. ", 2000))
	end := wire.EndHeader(1, uint64(len(raw))).Append(nil)
	for _, tc := range []struct {
		name   string
		body   []byte
		status int
		holds  string
	}{
		{"whole", step(large('a'), packed(t, 0, raw, nil), end), 200, `"published":true`},
		{"twice, packed and not", step(large('a'), packed(t, 0, raw, nil), chunk(0, raw), packed(t, 0, raw, nil), end), 200, `"published":true`},
		{"another digest", step(large('a'), packed(t, 0, raw, func(h *wire.Header, _ *[]byte) { h.Digest++ }), end), 422, "digest"},
		{"another digest, the second time", step(large('a'), chunk(0, raw), packed(t, 0, raw, func(h *wire.Header, _ *[]byte) { h.Digest++ }), end), 422, "digest"},
		{"other content, the second time", step(large('a'), chunk(0, raw), packed(t, 0, bytes.ToUpper(raw), nil), end), 409, "mismatch"},
		{"damaged", step(large('a'), packed(t, 0, raw, func(_ *wire.Header, p *[]byte) { *p = append(bytes.Clone((*p)[:9]), "rubbish"...) }), end), 422, "packed chunk is damaged"},
		{"says more than it holds", step(large('a'), packed(t, 0, raw, func(h *wire.Header, _ *[]byte) { h.Raw++ }), end), 422, "packed chunk is damaged"},
		{"a bomb", step(large('a'), packed(t, 0, make([]byte, 64<<20), func(h *wire.Header, _ *[]byte) { h.Raw = wire.MinChunk }), end), 422, "packed chunk is damaged"},
		{"holds more than was announced", step(large('a'), packed(t, 0, make([]byte, wire.MaxChunk), nil), end), 413, "announced were"},
		{"a codec of tomorrow", step(large('a'), func() []byte { b := packed(t, 0, raw, nil); b[2] = 9; return b }(), end), 400, "unknown codec 9"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t, nil)
				f.must(f.fra, "POST", wire.PathSteps, bytes.NewReader(tc.body), tc.status, tc.holds)
				if tc.status == 200 && (len(f.target.got) != 1 || !bytes.Equal(f.target.got[0], raw)) {
					t.Error("what was received is not what was packed")
				}
			})
		})
	}
	if squeeze.MaxBytes != wire.MaxChunk {
		t.Errorf("what unpacks is bounded by %d, a chunk by %d", squeeze.MaxBytes, wire.MaxChunk)
	}
}

// large announces chunks that hold the text.
func large(incarnation byte) wire.Open {
	o := opening(incarnation)
	o.ChunkBytes = 256 << 10
	return o
}
