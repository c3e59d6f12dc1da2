package durable_test

import (
	"os"
	"path/filepath"
	"testing"

	"antipode/daemon/durable"
)

func TestWriteFileReplaces(t *testing.T) {
	path := filepath.Join(t.TempDir(), "peer.toml")
	for _, text := range []string{"the first, which is longer", "the second"} {
		if err := durable.WriteFile(path, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != text {
			t.Errorf("got %q, %v; want %q", got, err, text)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v; want 0640", info.Mode(), err)
	}
}

func TestWriteFileThatFailsLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "taken")
	if err := os.MkdirAll(filepath.Join(path, "full"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := durable.WriteFile(path, []byte("x"), 0o600); err == nil {
		t.Fatal("a directory was replaced by a file")
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("left %v, %v; want the directory alone", left, err)
	}
	if err := durable.WriteFile(filepath.Join(dir, "none", "x"), nil, 0o600); err == nil {
		t.Error("a directory that is not there: got no error")
	}
}

func TestJSONComesBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wishes.json")
	got := []string{"default"}
	if err := durable.ReadJSON(path, &got); err != nil || got[0] != "default" {
		t.Errorf("where nothing was written: got %q, %v, want what it was", got, err)
	}
	if err := durable.WriteJSON(path, []string{"db"}); err != nil {
		t.Fatal(err)
	}
	if err := durable.ReadJSON(path, &got); err != nil || len(got) != 1 || got[0] != "db" {
		t.Errorf("got %q, %v, want what was written", got, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
	if err := os.WriteFile(path, []byte(`["d`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := durable.ReadJSON(path, &got); err == nil {
		t.Error("half a file was read without an error")
	}
}
