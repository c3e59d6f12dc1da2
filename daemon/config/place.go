package config

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/BurntSushi/toml"
)

// Place is who a node is and where it keeps its things: all that a command needs
// that only looks for the daemon or its key.
type Place struct {
	Node       string `toml:"node"`
	StateDir   string `toml:"state_dir"`
	SocketPath string `toml:"control_socket"`
	Listen     struct {
		Advertise string `toml:"advertise"`
	} `toml:"listen"`
}

// Locate reads only that from the file, whatever else is wrong in it: an operator
// must be able to print a key before the peers know each other, and to ask a
// running daemon while the file is half edited. No file at DefaultPath is the
// default place.
func Locate(path string) (Place, error) {
	p := Place{StateDir: DefaultStateDir, SocketPath: DefaultSocketPath}
	text, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) && path == DefaultPath {
		return p, nil
	}
	if err != nil {
		return p, err
	}
	if _, err := toml.Decode(text, &p); err != nil {
		return p, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}
