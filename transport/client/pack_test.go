package client

import (
	"net/http"
	"testing"

	"antipode/transport/squeeze"
	"antipode/transport/wire"
)

// A peer that does not say that it takes packed chunks gets them as they are, also
// one that said so before it was put back to an older release.
func TestOnlyWhoAsksForItGetsItPacked(t *testing.T) {
	p := packing{coder: squeeze.NewCoder(), wanted: func() bool { return true }}
	for i, tt := range []struct {
		says string
		want bool
	}{{"", false}, {"zstd", true}, {"brotli, zstd", true}, {"brotli", false}, {"zstd2", false}, {wire.Codecs, true}} {
		h := http.Header{}
		if tt.says != "" {
			h.Set(wire.CodecsHeader, tt.says)
		}
		if p.learn(h); p.isOn() != tt.want {
			t.Errorf("%d: a peer that says %q: got %t, want %t", i, tt.says, p.isOn(), tt.want)
		}
	}
	p.wanted = func() bool { return false }
	if p.isOn() || p.level() != "" {
		t.Error("a job that wants none is packed")
	}
}

func TestIdleProcessors(t *testing.T) {
	idle := idleProcessors()
	for range 3 {
		if got := idle(); got < 0 || got > 4096 {
			t.Errorf("got %v idle processors", got)
		}
	}
}
