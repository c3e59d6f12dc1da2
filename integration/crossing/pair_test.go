package crossing

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"antipode/fsdrivers/dataset"
	"antipode/integration/link"
	"antipode/integration/manifest"
)

const (
	roomy = 2 << 30 // of a sparse image; what is not written takes no room
	mib   = 1 << 20
)

// slots bounds how many pairs work at once, however many cores there are.
var slots = make(chan struct{}, 2)

// pair is a source, fra1, and a target, sin1, that know each other. Each calls
// the other over a link of its own.
type pair struct {
	t           *testing.T
	fra, sin    *site
	there, back *link.Link
}

// newPair makes a pair whose daemons run and that has no job yet.
func newPair(t *testing.T) *pair {
	t.Helper()
	p := newStrangers(t, roomy)
	p.introduce()
	p.fra.start()
	p.sin.start()
	return p
}

// newStrangers makes two machines and the links between them, and starts nothing.
func newStrangers(t *testing.T, targetSize int64) *pair {
	t.Helper()
	return newStrangersOf(t, binary, targetSize)
}

// newStrangersOf is newStrangers with another build of antipode.
func newStrangersOf(t *testing.T, binary string, targetSize int64) *pair {
	t.Helper()
	t.Parallel()
	slots <- struct{}{}
	t.Cleanup(func() { <-slots })
	p := &pair{t: t, fra: newSiteOf(t, binary, "fra1", roomy), sin: newSiteOf(t, binary, "sin1", targetSize)}
	p.there, p.back = p.open(p.sin), p.open(p.fra)
	return p
}

func (p *pair) open(to *site) *link.Link {
	p.t.Helper()
	host, _, _ := strings.Cut(to.Address, ":")
	l, err := link.Open(host+":0", to.Address)
	must(p.t, err)
	p.t.Cleanup(func() { l.Close() })
	to.Advertise = l.Address()
	to.write()
	return l
}

// introduce pins each other's key by hand.
func (p *pair) introduce() {
	p.t.Helper()
	fra, sin := p.fra.key(), p.sin.key()
	p.fra.knows("sin1", sin, p.there.Address())
	p.sin.knows("fra1", fra, p.back.Address())
}

// cut cuts both ways; restore mends both.
func (p *pair) cut()     { p.there.Cut(); p.back.Cut() }
func (p *pair) restore() { p.there.Restore(); p.back.Restore() }

// job is a [[job]] to sin1 with further keys.
func job(id, path string, more ...string) string {
	return fmt.Sprintf("[[job]]\nid = %q\ndriver = \"btrfs\"\ndatasets = [%q]\nreplicate_to = [\"sin1\"]\n%s\n", id, path, strings.Join(more, "\n"))
}

// accept is the [[accept]] from fra1 with further keys.
func accept(into string, more ...string) string {
	return fmt.Sprintf("[[accept]]\nfrom = \"fra1\"\ndriver = \"btrfs\"\ninto = %q\n%s\n", into, strings.Join(more, "\n"))
}

// into is where sin1 receives.
func (p *pair) into() string { return p.sin.at("in") }

// dataset makes a subvolume on fra1 and returns its path.
func (p *pair) dataset(name string) string {
	p.t.Helper()
	path := p.fra.at(name)
	tool(p.t, "btrfs", "subvolume", "create", "--", path)
	return path
}

// replica is where the points of a dataset are published.
func (p *pair) replica(path string) string { return filepath.Join(p.into(), path) }

// points lists the published points of a dataset, sorted by name.
func (p *pair) points(path string) []string {
	p.t.Helper()
	entries, err := os.ReadDir(p.replica(path))
	if os.IsNotExist(err) {
		return nil
	}
	must(p.t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// snapshots lists the snapshots of a dataset on fra1, sorted by name.
func (p *pair) snapshots(path string) []string {
	p.t.Helper()
	names, err := filepath.Glob(filepath.Join(escape(path), dataset.Dir, "antipode_*"))
	must(p.t, err)
	for i := range names {
		names[i] = filepath.Base(names[i])
	}
	slices.Sort(names)
	return names
}

// escape keeps filepath.Glob from reading a path as a pattern.
func escape(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

func (p *pair) snapshot(path, name string) string { return filepath.Join(path, dataset.Dir, name) }

// same compares the newest snapshot of a dataset with the point of that name,
// and returns the name.
func (p *pair) same(path string) string {
	p.t.Helper()
	names := p.snapshots(path)
	if len(names) == 0 {
		p.t.Fatalf("%s has no snapshot", path)
	}
	newest := names[len(names)-1]
	p.sameTree(p.snapshot(path, newest), filepath.Join(p.replica(path), newest))
	return newest
}

func ours(path string) bool { return path == dataset.Dir }

// sameTree compares two trees, what Antipode keeps in a dataset left out.
func (p *pair) sameTree(want, got string) {
	p.t.Helper()
	if diff := differences(p.t, want, got); len(diff) > 0 {
		p.t.Errorf("%s and %s differ in %d things:\n%s", want, got, len(diff), strings.Join(diff[:min(len(diff), 20)], "\n"))
	}
}

// differences compares two trees.
func differences(t *testing.T, want, got string) []string {
	t.Helper()
	a, err := manifest.Of(want, ours)
	must(t, err)
	b, err := manifest.Of(got, ours)
	must(t, err)
	return manifest.Diff(a, b)
}

// tidy fails the test if anything but points is left on the target, or a child
// on either side.
func (p *pair) tidy(path string) {
	p.t.Helper()
	if left, err := os.ReadDir(filepath.Join(p.into(), dataset.Dir, "incoming")); err != nil || len(left) > 0 {
		p.t.Errorf("left in incoming: %v (%v), want nothing", left, err)
	}
	for _, name := range p.points(path) {
		if strings.HasPrefix(name, ".") {
			p.t.Errorf("left beside the points: %s", name)
		}
	}
	want := len(p.points(path)) + 1 // and into itself
	list := tool(p.t, "btrfs", "subvolume", "list", p.sin.fs.Dir)
	if got := strings.Count(list, "\n") + 1; got != want {
		p.t.Errorf("%d subvolumes on the target, want %d:\n%s", got, want, list)
	}
	for _, s := range []*site{p.fra, p.sin} {
		s.eventually("no child is left", func() bool { return len(s.children()) == 0 })
	}
}
