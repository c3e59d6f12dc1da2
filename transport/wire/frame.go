package wire

import (
	"encoding/binary"
	"fmt"

	"github.com/cespare/xxhash/v2"
)

// A lane's body is a sequence of frames, each a header of HeaderBytes and, for a
// chunk, its payload. All numbers are big-endian.
//
//	offset size  field
//	0      1     version, 1
//	1      1     type: 1 chunk, 2 end, 3 idle
//	2      1     codec of the payload: 0 raw, 1 zstd
//	3      1     flags, all mandatory: an unknown one is refused
//	4      4     length of the payload on the wire
//	8      8     number; of an end: how many chunks there are
//	16     4     raw length: of the payload once decoded
//	20     4     reserved, 0
//	24     8     digest: xxHash64 (seed 0) of the raw payload; of an end: total
//	             raw bytes of the stream
//
// An end occupies the number behind the last chunk, as a FIN does in TCP: it is
// acknowledged, repeated and refused by the same rules. An idle frame has no
// number; it keeps a lane without work from being taken for a dead one.
const (
	FrameVersion = 1
	HeaderBytes  = 32
	// MinChunk bounds the payload of every chunk but the last from below: each
	// one costs the receiver bookkeeping.
	MinChunk = 64 << 10
	// MaxChunk bounds a payload, raw or coded.
	MaxChunk = 1 << 20
)

// FrameType tells what a frame is.
type FrameType uint8

// The types of frames.
const (
	FrameChunk FrameType = 1
	FrameEnd   FrameType = 2
	FrameIdle  FrameType = 3
)

// Codec says how a payload is packed.
type Codec uint8

// The codecs. A sender uses another one than CodecRaw only towards a peer that has
// named it (CodecsHeader).
const (
	CodecRaw Codec = 0
	// CodecZstd is one frame of zstd (RFC 8878) that says its content's size and
	// needs no dictionary; it is shorter than what it holds.
	CodecZstd Codec = 1
)

// Header is what stands in front of a payload. The zero Header is invalid.
type Header struct {
	Type   FrameType
	Codec  Codec
	Length uint32 // bytes that follow on the wire
	Number uint64 // of the chunk, from 0; of an end: the number of chunks
	Raw    uint32 // bytes of the payload once decoded
	Digest uint64 // of a chunk: Digest(raw payload)
	Total  uint64 // of an end: raw bytes of the whole stream
}

// Digest is the digest of a chunk. TLS authenticates the wire; this one is
// against bad memory and to tell a repetition from another chunk.
func Digest(raw []byte) uint64 { return xxhash.Sum64(raw) }

// ChunkHeader describes a raw payload, which must not be empty.
func ChunkHeader(number uint64, payload []byte) Header {
	n := uint32(len(payload))
	return Header{Type: FrameChunk, Length: n, Number: number, Raw: n, Digest: Digest(payload)}
}

// Packed is the header of the same chunk with its payload packed to so many bytes.
func (h Header) Packed(c Codec, length int) Header {
	h.Codec, h.Length = c, uint32(length)
	return h
}

// EndHeader closes a stream of so many chunks and raw bytes.
func EndHeader(chunks, totalBytes uint64) Header {
	return Header{Type: FrameEnd, Number: chunks, Total: totalBytes}
}

// Append appends the encoded header to b.
func (h Header) Append(b []byte) []byte {
	last := h.Digest
	if h.Type == FrameEnd {
		last = h.Total
	}
	b = append(b, FrameVersion, byte(h.Type), byte(h.Codec), 0)
	b = binary.BigEndian.AppendUint32(b, h.Length)
	b = binary.BigEndian.AppendUint64(b, h.Number)
	b = binary.BigEndian.AppendUint32(b, h.Raw)
	b = binary.BigEndian.AppendUint32(b, 0)
	return binary.BigEndian.AppendUint64(b, last)
}

// ParseHeader reads a header and checks every rule that needs no other frame,
// so that nothing is allocated for a length before it was tested. Errors wrap
// ErrMalformed or ErrVersion.
func ParseHeader(b []byte) (Header, error) {
	if len(b) != HeaderBytes {
		return Header{}, fmt.Errorf("%w: frame header of %d bytes, want %d", ErrMalformed, len(b), HeaderBytes)
	}
	if b[0] != FrameVersion {
		return Header{}, fmt.Errorf("%w: frame of version %d, want %d", ErrVersion, b[0], FrameVersion)
	}
	if b[3] != 0 || binary.BigEndian.Uint32(b[20:]) != 0 {
		return Header{}, fmt.Errorf("%w: frame with unknown mandatory flags", ErrMalformed)
	}
	h := Header{
		Type: FrameType(b[1]), Codec: Codec(b[2]),
		Length: binary.BigEndian.Uint32(b[4:]), Number: binary.BigEndian.Uint64(b[8:]), Raw: binary.BigEndian.Uint32(b[16:]),
	}
	last := binary.BigEndian.Uint64(b[24:])
	if h.Type == FrameEnd {
		h.Total = last
	} else {
		h.Digest = last
	}
	return h, h.validate()
}

// validate checks the fields against the type.
func (h Header) validate() error {
	switch h.Type {
	case FrameChunk:
		return h.validateChunk()
	case FrameEnd:
		if h.Length != 0 || h.Raw != 0 || h.Codec != CodecRaw {
			return fmt.Errorf("%w: end frame with a payload", ErrMalformed)
		}
		if h.Number == 0 != (h.Total == 0) || h.Total/MaxChunk > h.Number || h.Total < h.Number {
			return fmt.Errorf("%w: end frame of %d chunks and %d bytes", ErrMalformed, h.Number, h.Total)
		}
	case FrameIdle:
		if h != (Header{Type: FrameIdle}) {
			return fmt.Errorf("%w: idle frame that is not empty", ErrMalformed)
		}
	default:
		return fmt.Errorf("%w: frame of unknown type %d", ErrMalformed, h.Type)
	}
	return nil
}

func (h Header) validateChunk() error {
	switch {
	case h.Codec > CodecZstd:
		return fmt.Errorf("%w: chunk %d has unknown codec %d", ErrMalformed, h.Number, h.Codec)
	case h.Raw == 0 || h.Raw > MaxChunk || h.Length == 0 || h.Length > MaxChunk:
		return fmt.Errorf("%w: chunk %d says it has %d bytes, want 1 to %d", ErrTooLarge, h.Number, h.Raw, MaxChunk)
	case h.Codec == CodecRaw && h.Length != h.Raw:
		return fmt.Errorf("%w: raw chunk %d of %d bytes says %d", ErrMalformed, h.Number, h.Length, h.Raw)
	case h.Codec != CodecRaw && h.Length >= h.Raw:
		return fmt.Errorf("%w: packed chunk %d of %d bytes takes %d", ErrMalformed, h.Number, h.Raw, h.Length)
	case h.Number == ^uint64(0):
		return fmt.Errorf("%w: chunk number out of range", ErrMalformed)
	}
	return nil
}
