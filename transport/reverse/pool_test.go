package reverse

import (
	"testing"

	"antipode/transport/peer"
)

// Who is woken and gives up in the same moment passes it on: otherwise a
// connection lies there while somebody waits for one.
func TestAWakeThatComesTooLateIsPassedOn(t *testing.T) {
	p := NewPool(func(string, peer.Fingerprint) bool { return true })
	_, first := p.pop("sin1")
	_, second := p.pop("sin1")
	p.mu.Lock()
	p.shelf("sin1").wake()
	p.mu.Unlock()
	p.forget("sin1", first)
	select {
	case <-second:
	default:
		t.Error("the second still waits")
	}
	if left := len(p.shelf("sin1").waiting); left != 0 {
		t.Errorf("%d wait, want none", left)
	}
}
