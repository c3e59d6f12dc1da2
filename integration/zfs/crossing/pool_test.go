//go:build zfs

package crossing

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"antipode/integration/node"
)

var poolCount atomic.Int32

// pool is a small one of a test's own, on a file in a tmpfs.
type pool struct {
	t    *testing.T
	name string
	dir  string // of the tmpfs
}

// newPool makes one of that size on a disk of that size. It is made before the
// daemons, whose mount namespaces would keep what is mounted later busy, and goes
// after them.
func newPool(t *testing.T, what string, size int64) *pool {
	t.Helper()
	p := &pool{t: t, name: fmt.Sprintf("apz%d-%d%s", os.Getpid(), poolCount.Add(1), what)}
	dir, err := os.MkdirTemp("", "disk-")
	node.Must(t, err)
	p.dir = dir
	node.Must(t, unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)))
	t.Cleanup(func() {
		node.Must(t, unix.Unmount(dir, 0))
		node.Must(t, os.Remove(dir))
	})
	image := filepath.Join(dir, "image")
	node.Must(t, os.WriteFile(image, nil, 0o600))
	node.Must(t, os.Truncate(image, size))
	p.zpool("create", "-o", "cachefile=none", "-O", "canmount=off", "-O", "mountpoint=none", p.name, image)
	t.Cleanup(func() { p.zpool("destroy", "-f", p.name) })
	return p
}

func (p *pool) zpool(args ...string) string { p.t.Helper(); return node.Tool(p.t, "zpool", args...) }

// export takes the pool away, between two of the commands that use it.
func (p *pool) export() {
	p.t.Helper()
	var out []byte
	if !node.Within(patience, func() (done bool) {
		var err error
		out, err = exec.Command("zpool", "export", "-f", p.name).CombinedOutput()
		return err == nil
	}) {
		p.t.Fatalf("zpool export %s: %s", p.name, out)
	}
}

// imports brings it back under a name, with further options.
func (p *pool) imports(name string, options ...string) {
	p.t.Helper()
	p.zpool(append(append([]string{"import", "-d", p.dir, "-o", "cachefile=none"}, options...), p.name, name)...)
	p.name = name
}
