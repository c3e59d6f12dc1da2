package hook

import (
	"strings"
	"sync"
)

// output keeps the first bytes of what a command writes, and lets it write on: a
// full pipe would stop it.
type output struct {
	mu    sync.Mutex // guards all below; a command that hangs may still write
	limit int
	kept  []byte
	cut   int64
}

// Write keeps what fits and never fails.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := min(len(p), o.limit-len(o.kept))
	o.kept = append(o.kept, p[:n]...)
	o.cut += int64(len(p) - n)
	return len(p), nil
}

func (o *output) text() (kept string, cut int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.ToValidUTF8(string(o.kept), "?"), o.cut
}
