package main

import (
	"bytes"
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
	var out bytes.Buffer
	scr := &screen{out: &out, width: plainWidth, began: time.Now(), now: time.Now, gone: func(error) {}}
	if code := perform(t.Context(), scr, bin, "btrfs"); code != 0 {
		t.Errorf("the demo ended with code %d:\n%s", code, out.String())
	}
	if left, _ := os.ReadFile("/proc/self/mounts"); bytes.Contains(left, []byte("antipode-demo-")) {
		t.Errorf("something of it is still mounted:\n%s", left)
	}
}
