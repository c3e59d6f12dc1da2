package squeeze

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
)

// MaxBytes bounds a chunk, packed or not, and so the window of the format.
const MaxBytes = 1 << 20

// ErrPacked means that what came is not what one frame of zstd may be here.
var ErrPacked = errors.New("packed chunk is damaged")

// Level is how hard the packing tries.
type Level uint8

// The levels. Thorough is as far as memory goes: the one above it takes 50 MiB for
// each processor.
const (
	Off Level = iota
	Fast
	Normal
	Thorough
)

// levels is how many there are.
const levels = int(Thorough) + 1

// String names the level for people.
func (l Level) String() string { return [levels]string{"off", "fast", "normal", "thorough"}[l] }

// mostAtOnce bounds how many chunks are packed, or unpacked, at the same time, and
// with it the memory of the tables: some 8 MiB for each in the most thorough level.
const mostAtOnce = 4

// Coder packs and unpacks chunks. It is safe for concurrent use; what it needs is
// made when it is used first.
type Coder struct {
	slots    chan struct{}
	encoders [levels]func() *zstd.Encoder
	decoder  func() *zstd.Decoder
}

// NewCoder makes one.
func NewCoder() *Coder {
	n := min(runtime.GOMAXPROCS(0), mostAtOnce)
	c := &Coder{slots: make(chan struct{}, n)}
	for l, zl := range map[Level]zstd.EncoderLevel{
		Fast: zstd.SpeedFastest, Normal: zstd.SpeedDefault, Thorough: zstd.SpeedBetterCompression,
	} {
		c.encoders[l] = sync.OnceValue(func() *zstd.Encoder {
			// The chunk has a digest of its own, and its size in its header.
			return must(zstd.NewWriter(nil, zstd.WithEncoderLevel(zl), zstd.WithEncoderCRC(false), zstd.WithSingleSegment(true),
				zstd.WithWindowSize(MaxBytes), zstd.WithEncoderConcurrency(n), zstd.WithLowerEncoderMem(true)))
		})
	}
	c.decoder = sync.OnceValue(func() *zstd.Decoder {
		return must(zstd.NewReader(nil, zstd.WithDecoderConcurrency(n), zstd.WithDecoderLowmem(true), zstd.WithDecodeAllCapLimit(true),
			zstd.WithDecoderMaxMemory(MaxBytes), zstd.WithDecoderMaxWindow(MaxBytes)))
	})
	return c
}

// must is for options that are constants.
func must[T any](v T, err error) T {
	if err != nil {
		panic("squeeze: " + err.Error())
	}
	return v
}

// Pack appends raw, packed at a level, to dst, and tells how long it worked; Off is
// no level to pack at. It waits while as many are at work as there may be.
func (c *Coder) Pack(dst, raw []byte, l Level) ([]byte, time.Duration) {
	c.slots <- struct{}{}
	defer func() { <-c.slots }()
	encoder, began := c.encoders[l](), time.Now()
	dst = encoder.EncodeAll(raw, dst)
	return dst, time.Since(began)
}

// Unpack fills raw with what packed holds: exactly so many bytes, or ErrPacked. It
// takes no memory for what is announced beyond that.
func (c *Coder) Unpack(raw, packed []byte) error {
	var h zstd.Header
	switch err := h.Decode(packed); {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrPacked, err)
	case h.Skippable || h.DictionaryID != 0 || !h.HasFCS || h.FrameContentSize != uint64(len(raw)):
		return fmt.Errorf("%w: its frame holds %d bytes, want %d", ErrPacked, h.FrameContentSize, len(raw))
	}
	c.slots <- struct{}{}
	defer func() { <-c.slots }()
	got, err := c.decoder().DecodeAll(packed, raw[:0:len(raw)])
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrPacked, err)
	case len(got) != len(raw) || len(got) > 0 && &got[0] != &raw[0]:
		return fmt.Errorf("%w: it holds %d bytes, want %d", ErrPacked, len(got), len(raw))
	}
	return nil
}
