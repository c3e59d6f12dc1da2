// Package crossing holds Antipode to its guarantees as an operator meets them:
// two daemon processes on two real Btrfs file systems, each with its own
// configuration, state, socket, key and address, joined by nothing but a link
// that can be cut. Every test is named after what must hold.
//
// The binary is the one that ANTIPODE_BIN names, or is built once.
package crossing

import (
	"fmt"
	"os"
	"testing"

	"antipode/integration/node"
)

// binary is the antipode under test; TestMain sets it.
var binary string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "antipode-crossing-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if binary, err = node.FindBinary(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}
