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
	"testing"
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
	if binary, err = findBinary(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func findBinary(dir string) (string, error) {
	if named := os.Getenv("ANTIPODE_BIN"); named != "" {
		return filepath.Abs(named)
	}
	built := filepath.Join(dir, "antipode")
	out, err := exec.Command("go", "build", "-o", built, "antipode/daemon/cmd/antipode").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build antipode: %w: %s", err, out)
	}
	return built, nil
}
