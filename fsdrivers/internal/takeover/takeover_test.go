package takeover

import (
	"errors"
	"path/filepath"
	"testing"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/internal/command"
)

func TestOneWorksAloneUntilItLetsGo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := Lock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(t.Context(), path); !errors.Is(err, dataset.ErrBusy) || !errors.Is(err, command.ErrLocked) {
		t.Errorf("got %v of what is locked, want %v and why", err, dataset.ErrBusy)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Lock(t.Context(), path)
	if err != nil {
		t.Fatalf("after it was let go: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}
