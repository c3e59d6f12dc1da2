package crossing

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// shim stands in front of btrfs in a daemon's PATH. It passes everything on, and
// holds a child where a test wants it: after it has done its work, before it ends.
type shim struct {
	t   *testing.T
	dir string
}

// shimmed puts a shim in front of the daemons that this site starts from now on.
func shimmed(t *testing.T, s *site) *shim {
	t.Helper()
	real := tool(t, "sh", "-c", "command -v btrfs")
	h := &shim{t: t, dir: s.file("shim")}
	must(t, os.Mkdir(h.dir, 0o700))
	script := fmt.Sprintf(`#!/bin/sh
%[1]s "$@"
code=$?
if [ -e %[2]s/hold-$1 ]; then
	echo $$ > %[2]s/new && mv %[2]s/new %[2]s/held-$1
	read -r word < %[2]s/gate
fi
exit $code
`, real, h.dir)
	must(t, unix.Mkfifo(filepath.Join(h.dir, "gate"), 0o600))
	must(t, os.WriteFile(filepath.Join(h.dir, "btrfs"), []byte(script), 0o700))
	s.Env = append(s.Env, "PATH="+h.dir+":"+os.Getenv("PATH"))
	return h
}

// hold has the next `btrfs verb` wait at its end.
func (h *shim) hold(verb string) { write(h.t, filepath.Join(h.dir, "hold-"+verb), "") }

// held is the process that waits; 0 is none yet.
func (h *shim) held(verb string) int {
	text, err := os.ReadFile(filepath.Join(h.dir, "held-"+verb))
	if err != nil {
		return 0
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return pid
}

// letGo lets the next ones pass; what waits stays.
func (h *shim) letGo(verb string) {
	h.t.Helper()
	must(h.t, os.Remove(filepath.Join(h.dir, "hold-"+verb)))
	must(h.t, os.Remove(filepath.Join(h.dir, "held-"+verb)))
}
