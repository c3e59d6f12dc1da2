package fake

import (
	"bytes"
	"encoding/binary"
	"maps"
	"slices"
)

// blob is the content of one file. It does not change once it is in a content;
// copies of a dataset share it, as snapshots share extents.
type blob struct {
	size int64
	data []byte // nil where seed is set
	seed uint64 // 0: data; otherwise the bytes are made from it
}

// content is the files of a dataset or snapshot, by name.
type content map[string]*blob

// fill writes the blob's bytes from offset off, a multiple of 8, into p, which
// must not reach beyond the end.
func (b *blob) fill(p []byte, off int64) {
	if b.seed == 0 {
		copy(p, b.data[off:])
		return
	}
	var word [8]byte
	for i := 0; i < len(p); i += 8 {
		binary.LittleEndian.PutUint64(word[:], mix(b.seed+uint64(off)/8+uint64(i)/8))
		copy(p[i:], word[:])
	}
}

// mix is the finalizer of splitmix64: cheap, and incompressible as real data.
func mix(x uint64) uint64 {
	x *= 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// bytes returns a copy of all of it.
func (b *blob) bytes() []byte {
	p := make([]byte, b.size)
	b.fill(p, 0)
	return p
}

// same reports whether two blobs hold the same bytes.
func (b *blob) same(o *blob) bool {
	switch {
	case b == o:
		return true
	case o == nil || b.size != o.size || b.seed != o.seed:
		return false
	}
	return bytes.Equal(b.data, o.data)
}

// changes lists what turns base into c: the names to write and those to
// remove, each sorted, so that a stream of them is always the same bytes.
func (c content) changes(base content) (write, remove []string) {
	for name, b := range c {
		if !b.same(base[name]) {
			write = append(write, name)
		}
	}
	for name := range base {
		if c[name] == nil {
			remove = append(remove, name)
		}
	}
	slices.Sort(write)
	slices.Sort(remove)
	return write, remove
}

// files returns a copy of everything.
func (c content) files() map[string][]byte {
	all := make(map[string][]byte, len(c))
	for name, b := range c {
		all[name] = b.bytes()
	}
	return all
}

// clone shares the blobs and nothing else.
func (c content) clone() content {
	if c == nil {
		return content{}
	}
	return maps.Clone(c)
}
