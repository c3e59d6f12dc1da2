package client

import (
	"testing"
	"time"

	"antipode/transport/wire"
)

func TestWhatAPathIsGiven(t *testing.T) {
	const far = 100 * time.Millisecond
	for _, tc := range []struct {
		name         string
		path         Path
		start, least int
		whole, lanes int // bytes of a chunk
	}{
		{"nothing known", Path{}, 2, 2, wire.MaxChunk, wire.MaxChunk},
		{"one machine", Path{MinRTT: time.Millisecond, LossBased: true}, 2, 2, wire.MaxChunk, wire.MaxChunk},
		{"far, CUBIC", Path{MinRTT: far, LossBased: true}, 4, 2, 256 << 10, 64 << 10},
		{"far, BBR", Path{MinRTT: far}, 3, 3, 256 << 10, 256 << 10},
	} {
		start, least := lanesFor(tc.path)
		if start != tc.start || least != tc.least {
			t.Errorf("%s: starts with %d lanes and keeps %d, want %d and %d", tc.name, start, least, tc.start, tc.least)
		}
		whole, lanes := chunkFor(tc.path)
		if whole != tc.whole || lanes != tc.lanes {
			t.Errorf("%s: chunks of %d and %d bytes, want %d and %d", tc.name, whole, lanes, tc.whole, tc.lanes)
		}
	}
}
