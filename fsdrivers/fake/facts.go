package fake

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"

	"antipode/fsdrivers/dataset"
)

// Facts lists everything that is on the disk, a line for each dataset, snapshot
// and unfinished receive, sorted: two disks with equal facts hold the same, and
// what a test did to one is what differs. The lines of a replica begin with its
// into.
func (d *Disk) Facts() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var lines []string
	for path, v := range d.live {
		lines = append(lines, fmt.Sprintf("live %s: %s, read-only %t, files %s", path, v.ID, v.readonly, v.files.digest()))
		lines = append(lines, v.facts("live "+string(path))...)
	}
	for k, r := range d.replicas {
		name := fmt.Sprintf("%s of %q", k.into, k.path)
		lines = append(lines, fmt.Sprintf("%s: %s, unfinished %t", name, r.ID, r.partial != nil))
		lines = append(lines, r.facts(name)...)
	}
	slices.Sort(lines)
	return lines
}

func (s *shelf) facts(of string) []string {
	lines := []string{fmt.Sprintf("%s: mark %v", of, s.mark)}
	for _, snap := range s.snaps {
		lines = append(lines, fmt.Sprintf("%s: snapshot %+v, files %s", of, snap.view(), snap.files.digest()))
	}
	return lines
}

// digest tells one content from another, without reading what Grow made.
func (c content) digest() dataset.ID {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(c)) {
		b := c[name]
		fmt.Fprintf(h, "%q %d %d %q\n", name, b.size, b.seed, b.data)
	}
	return dataset.ID(fmt.Sprintf("%x", h.Sum(nil)[:8]))
}
