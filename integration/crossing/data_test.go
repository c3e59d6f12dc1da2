package crossing

import (
	"testing"

	"antipode/integration/sample"
)

// The words of these tests for package sample.

func random(t *testing.T, path string, size int64) { t.Helper(); sample.Random(t, path, size) }

func overwrite(t *testing.T, path string, at, size int64) {
	t.Helper()
	sample.Overwrite(t, path, at, size)
}

func write(t *testing.T, path, text string) { t.Helper(); sample.Write(t, path, text) }

func furnish(t *testing.T, root string) { t.Helper(); sample.Furnish(t, root, 150, 6*mib) }
