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

func TestALinkIsDarkWhereNothingAnswers(t *testing.T) {
	const rtt, late = 400 * time.Millisecond, 150 * time.Millisecond
	quiet, lively, idle := Path{RTT: rtt, Quiet: late}, Path{RTT: rtt, Quiet: 20 * time.Millisecond}, Path{RTT: rtt}
	for _, tc := range []struct {
		name   string
		lanes  []Path
		silent time.Duration
		want   bool
	}{
		{"no lanes", nil, time.Hour, false},
		{"nothing on its way", []Path{idle, idle}, time.Hour, false},
		{"all lanes quiet", []Path{quiet, idle, quiet}, late, true},
		{"one lane goes on", []Path{quiet, lively}, late, false},
		{"the target has spoken", []Path{quiet, quiet}, 20 * time.Millisecond, false},
		{"not for long on so long a path", []Path{{RTT: rtt, Quiet: 90 * time.Millisecond}}, time.Hour, false},
		{"not for long on a short one", []Path{{RTT: time.Millisecond, Quiet: 40 * time.Millisecond}}, time.Hour, false},
	} {
		if got := isDark(tc.lanes, tc.silent); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}
