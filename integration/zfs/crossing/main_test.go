//go:build zfs

package crossing

import (
	"fmt"
	"os"
	"path/filepath"
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
	found, err := node.FindBinary(dir)
	if err == nil {
		binary, err = nearby(found, dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// nearby copies the program into dir: from a folder that the test machine shares
// with its host it takes ten times as long to start.
func nearby(program, dir string) (string, error) {
	text, err := os.ReadFile(program)
	if err != nil {
		return "", err
	}
	copied := filepath.Join(dir, "near-antipode")
	return copied, os.WriteFile(copied, text, 0o700)
}
