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
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"antipode/integration/node"
)

// binary is the antipode under test; TestMain sets it.
var binary string

// shortSegments builds, once, the antipode that can be told how long a segment is:
// the tag failpoints is what nobody ships. It goes with the process.
var shortSegments = sync.OnceValues(func() (string, error) {
	built := filepath.Join(scratch, "antipode-failpoints")
	out, err := exec.Command("go", "build", "-tags", "failpoints", "-o", built, "antipode/daemon/cmd/antipode").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build antipode: %w: %s", err, out)
	}
	return built, nil
})

// scratch is where TestMain builds.
var scratch string

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
	scratch = dir
	if binary, err = node.FindBinary(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}
