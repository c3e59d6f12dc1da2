//go:build failpoints

package crash

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"antipode/integration/loopfs"
)

// The quick relative of TestPowerCutAtEveryFailpoint, for every host: what the disk
// holds when a failpoint is reached is copied, and takes the disk's place. What was
// only in memory is gone.
func TestImageCutAtEveryFailpoint(t *testing.T) {
	from := loopfs.New(t, 512<<20)
	disk := loopfs.Make(t, 512<<20)
	s := newScene(t, from, disk.Dir)
	for i, b := range blows() {
		t.Run(b.point, func(t *testing.T) {
			s := &scene{T: t, db: s.db, to: s.to}
			into := filepath.Join(s.to, fmt.Sprint("into", i))
			if b.before != "" {
				s.killedAt(into, b.before)
			}
			child, stdout := s.run(into, b.point, "wait")
			line, err := stdout.ReadString('\n')
			cut := disk.Image + ".cut"
			if err == nil {
				s.tool("cp", "--sparse=always", disk.Image, cut)
			}
			_ = child.Process.Kill()
			_ = child.Wait()
			if err != nil || line != "at "+b.point+"\n" {
				t.Fatalf("failpoint %s was not hit: %q, %v: %s", b.point, line, err, child.Stderr)
			}
			s.endChildren(disk.Dir)
			disk.Unmount()
			s.must(os.Rename(cut, disk.Image))
			disk.Mount()
			s.right(into, "a cut at "+b.point)
			s.complete(into, "a cut at "+b.point)
		})
	}
}

// endChildren kills whatever was started below dir and outlived its parent.
func (s *scene) endChildren(dir string) {
	s.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	s.must(err)
	for _, path := range lines {
		line, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(line, []byte(dir+"/")) {
			continue
		}
		pid, err := strconv.Atoi(strings.Split(path, "/")[2])
		s.must(err)
		_ = unix.Kill(pid, unix.SIGKILL) // it may have ended by now
	}
}
