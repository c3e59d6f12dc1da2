package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"antipode/daemon/config"
)

func TestLocateWorksOnAFileThatLoadRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "antipode.toml")
	text := `node = "fra1"
state_dir = "/srv/antipode"
nonsense = 1
[[job]]
id = "db"
replicate_to = ["nobody"]
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Load(path); err == nil {
		t.Fatal("Load took the file, want it refused")
	}
	got, err := config.Locate(path)
	if err != nil || got.Node != "fra1" || got.StateDir != "/srv/antipode" || got.SocketPath != config.DefaultSocketPath {
		t.Errorf("got %+v, %v; want the node, its directory and the default socket", got, err)
	}
}

func TestLocateTellsWhatItCannotRead(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "none.toml")
	if _, err := config.Locate(missing); err == nil {
		t.Error("no file: got no error")
	}
	broken := filepath.Join(t.TempDir(), "antipode.toml")
	if err := os.WriteFile(broken, []byte("node = "), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Locate(broken); err == nil || !strings.Contains(err.Error(), broken) {
		t.Errorf("malformed file: got %v, want its name", err)
	}
}
