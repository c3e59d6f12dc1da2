package main

import (
	"bytes"
	"context"
	"os"
	"testing"
	"time"

	"antipode/integration/loopfs"
	"antipode/integration/node"
)

// The story of `make demo`, with real daemons on real Btrfs, from its first chapter
// to its last: a new user's first command.
func TestStoryIsToldToItsEnd(t *testing.T) {
	loopfs.Require(t)
	bin, err := node.FindBinary(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	below := t.TempDir()
	t.Setenv("TMPDIR", below) // where the story puts up its stage
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var out bytes.Buffer
	scr := &screen{out: &out, width: plainWidth, began: time.Now(), now: time.Now, gone: func(error) {}}
	if code := perform(ctx, scr, bin, "btrfs"); code != 0 {
		t.Errorf("the demo ended with code %d:\n%s", code, out.String())
	}
	left, err := os.ReadFile("/proc/self/mounts")
	if err != nil || bytes.Contains(left, []byte(below)) {
		t.Errorf("something of it is still mounted (%v):\n%s", err, left)
	}
}
