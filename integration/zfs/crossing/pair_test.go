//go:build zfs

package crossing

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"antipode/fsdrivers/dataset"
	"antipode/integration/manifest"
	"antipode/integration/node"
	"antipode/integration/sample"
	"antipode/integration/zfs/zvol"
)

const (
	mib = 1 << 20
	// patience bounds every wait: the guest is emulated, and the host may be busy.
	patience = 5 * time.Minute
	// far is the other side of an ocean, as far as an emulated guest can bear it.
	far = "delay 10ms loss 0.1%"
)

// pair is a source, fra1, and a target, sin1, each in a network namespace and on a
// pool of its own.
type pair struct {
	t        *testing.T
	fra, sin *node.Node
	wan      *wan
	from, to string // datasets of this test on either pool
	key      string // file with the key of encrypted datasets
}

// pools are those that the test machine, or make test-zfs, has made.
func pools(t *testing.T) (src, dst string) {
	t.Helper()
	src, dst = os.Getenv("ANTIPODE_ZFS_SRC"), os.Getenv("ANTIPODE_ZFS_DST")
	if src == "" || dst == "" {
		t.Fatal("ANTIPODE_ZFS_SRC and ANTIPODE_ZFS_DST name no pools; run this with make test-zfs")
	}
	return src, dst
}

// newPair makes a pair whose daemons run and that has no job yet.
func newPair(t *testing.T) *pair {
	t.Helper()
	src, dst := pools(t)
	p := &pair{t: t, wan: newWAN(t, far), from: src + "/" + t.Name(), to: dst + "/" + t.Name(), key: filepath.Join(t.TempDir(), "key")}
	node.Must(t, os.WriteFile(p.key, []byte(rand.Text() + rand.Text())[:32], 0o600))
	// They stay: the pools go with the machine, and on a host make test-zfs
	// destroys them.
	p.zfs("create", p.from)
	p.zfs("create", "-o", "canmount=off", p.to)
	p.fra, p.sin = p.node(0, "fra1", runs("send", "")), p.node(1, "sin1", runs("receive", p.to))
	fra, sin := p.fra.Key(), p.sin.Key()
	p.fra.Knows("sin1", sin, p.sin.Address)
	p.sin.Knows("fra1", fra, p.fra.Address)
	p.fra.Start()
	p.sin.Start()
	return p
}

// runs tells a zfs with that command whose arguments hold the text.
func runs(command, text string) func([]byte) bool {
	return func(line []byte) bool {
		return bytes.Contains(line, []byte("zfs\x00"+command+"\x00")) && bytes.Contains(line, []byte(text))
	}
}

// node makes a machine.
func (p *pair) node(i int, name string, isChild func(cmdline []byte) bool) *node.Node {
	p.t.Helper()
	n := node.New(p.t, binary, name, p.wan.addr[i]+":8771")
	// Not `ip netns exec`, whose mounts of its own would hide from us what the daemon mounts.
	n.Prefix = []string{"nsenter", "--net=/run/netns/" + p.wan.ns[i]}
	n.Patience, n.Poll, n.IsChild = patience, 300*time.Millisecond, isChild
	return n
}

// job is a [[job]] to sin1 with further keys. It snapshots also what nothing was
// written to, so that every run has something to send.
func job(id, pattern string, more ...string) string {
	return fmt.Sprintf("[[job]]\nid = %q\ndriver = \"zfs\"\ndatasets = [%q]\nreplicate_to = [\"sin1\"]\nalways = true\n%s\n", id, pattern, strings.Join(more, "\n"))
}

// accept is the [[accept]] from fra1 with further keys.
func accept(into string, more ...string) string {
	return fmt.Sprintf("[[accept]]\nfrom = \"fra1\"\ndriver = \"zfs\"\ninto = %q\n%s\n", into, strings.Join(more, "\n"))
}

// narrow lets little be on its way, so that a test can cut in the middle.
const narrow = "[transport]\nlanes = 2\nwindow = \"1MiB\"\n"

func (p *pair) zfs(args ...string) string {
	p.t.Helper()
	return node.Tool(p.t, "zfs", args...)
}

// into is where sin1 receives.
func (p *pair) into() string { return p.to + "/in" }

// replica is where the points of a dataset are.
func (p *pair) replica(ds string) string { return p.into() + "/" + ds }

// filesystem makes one on fra1.
func (p *pair) filesystem(name string, more ...string) string {
	p.t.Helper()
	ds := p.from + "/" + name
	p.zfs(append(append([]string{"create"}, more...), ds)...)
	return ds
}

// encrypted makes one with a key of its own.
func (p *pair) encrypted(name string) string {
	p.t.Helper()
	return p.filesystem(name, "-o", "encryption=aes-256-gcm", "-o", "keyformat=raw", "-o", "keylocation=file://"+p.key)
}

// volume makes one with random bytes at its beginning.
func (p *pair) volume(name string) string {
	p.t.Helper()
	ds := p.filesystem(name, "-s", "-V", "4M", "-o", "volblocksize=16k")
	p.scribble(ds, 0, mib)
	return ds
}

// scribble overwrites a part of a volume.
func (p *pair) scribble(volume string, at, size int64) {
	p.t.Helper()
	device, err := zvol.Device(volume)
	node.Must(p.t, err)
	sample.Overwrite(p.t, device, at, size)
	f, err := os.Open(device)
	node.Must(p.t, err)
	node.Must(p.t, errors.Join(f.Sync(), f.Close()))
}

// dir is where a dataset is mounted.
func dir(ds string) string { return "/" + ds }

// snapshots lists the snapshots of a dataset, oldest first; none if it is not there.
func (p *pair) snapshots(ds string) []string {
	p.t.Helper()
	return p.points(ds)[ds]
}

// points lists the snapshots of several by one process: waits look often.
func (p *pair) points(all ...string) map[string][]string {
	p.t.Helper()
	list := exec.Command("zfs", append([]string{"list", "-H", "-t", "snapshot", "-o", "name", "-s", "createtxg", "-d", "1"}, all...)...)
	out, err := list.Output()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) { // it exits with 1 where one is not there
		p.t.Fatal(err)
	}
	names := make(map[string][]string)
	for line := range strings.Lines(string(out)) {
		ds, name, _ := strings.Cut(strings.TrimSpace(line), "@")
		names[ds] = append(names[ds], name)
	}
	return names
}

// isUpToDate reports whether the newest snapshot is on the target.
func (p *pair) isUpToDate(ds string) bool {
	p.t.Helper()
	made, there := p.both(ds)
	return len(made) > 0 && slices.Contains(there, made[len(made)-1])
}

// both are the snapshots of a dataset and of its replica.
func (p *pair) both(ds string) (made, there []string) {
	p.t.Helper()
	all := p.points(ds, p.replica(ds))
	return all[ds], all[p.replica(ds)]
}

// property reads one.
func (p *pair) property(ds, name string) string {
	p.t.Helper()
	return p.zfs("get", "-Hp", "-o", "value", name, ds)
}

// same compares the newest snapshot of a dataset with the point of that name, by
// content, and returns its name.
func (p *pair) same(ds string) string {
	p.t.Helper()
	names := p.snapshots(ds)
	if len(names) == 0 {
		p.t.Fatalf("%s has no snapshot", ds)
	}
	newest := names[len(names)-1]
	if p.property(ds, "type") == "volume" {
		if want, got := p.digest(ds+"@"+newest), p.digest(p.replica(ds)+"@"+newest); want != got {
			p.t.Errorf("volume %s@%s is another on the target", ds, newest)
		}
		return newest
	}
	if p.property(p.replica(ds), "keystatus") == "unavailable" {
		p.zfs("load-key", "-L", "file://"+p.key, p.replica(ds))
		defer p.zfs("unload-key", p.replica(ds))
	}
	want, done := p.look(ds + "@" + newest)
	defer done()
	got, done := p.look(p.replica(ds) + "@" + newest)
	defer done()
	p.sameTree(want, got)
	return newest
}

// look mounts a snapshot.
func (p *pair) look(snapshot string) (at string, done func()) {
	p.t.Helper()
	at, err := os.MkdirTemp("", "look-")
	node.Must(p.t, err)
	if err := unix.Mount(snapshot, at, "zfs", unix.MS_RDONLY, ""); err != nil {
		p.t.Fatalf("mount %s: %v", snapshot, err)
	}
	return at, func() {
		node.Must(p.t, unix.Unmount(at, 0))
		node.Must(p.t, os.Remove(at))
	}
}

// sameTree compares two trees in content, owners, modes, times, links, attributes.
func (p *pair) sameTree(want, got string) {
	p.t.Helper()
	ours := func(path string) bool { return path == dataset.Dir } // what Antipode keeps in a Btrfs dataset
	a, err := manifest.Of(want, ours)
	node.Must(p.t, err)
	b, err := manifest.Of(got, ours)
	node.Must(p.t, err)
	if len(a) < 2 {
		p.t.Fatalf("%s is empty, so that this shows nothing", want)
	}
	if diff := manifest.Diff(a, b); len(diff) > 0 {
		p.t.Errorf("%s and %s differ in %d things:\n%s", want, got, len(diff), strings.Join(diff[:min(len(diff), 20)], "\n"))
	}
}

// digest is that of a snapshot of a volume.
func (p *pair) digest(snapshot string) string {
	p.t.Helper()
	pool, _, _ := strings.Cut(snapshot, "/")
	clone := pool + "/look"
	p.zfs("clone", "-o", "volmode=dev", snapshot, clone)
	defer p.zfs("destroy", clone)
	return p.digestOf(clone)
}

func (p *pair) digestOf(volume string) string {
	p.t.Helper()
	device, err := zvol.Device(volume)
	node.Must(p.t, err)
	f, err := os.Open(device)
	node.Must(p.t, err)
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	node.Must(p.t, err)
	return string(h.Sum(nil))
}

func splitLines(s string) []string { return strings.Split(strings.TrimSpace(s), "\n") }
