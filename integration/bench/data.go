package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
)

// The content of the dataset: 1 GiB in all, holes left out.
const (
	bigBytes   = 128 << 20 // of each incompressible file
	bigFiles   = 3
	textBytes  = 64 << 20 // of each compressible file
	textFiles  = 4
	smallTotal = 256 << 20 // many small files
	smallLeast = 1 << 10
	smallMost  = 32 << 10
	perDir     = 200
	pieceBytes = 1 << 20 // of the sparse file, one every
	pieceEvery = 8 << 20
	pieces     = 128
)

// maker fills a directory. The first error stays and makes the rest do nothing.
type maker struct {
	root  string
	rand  *rand.ChaCha8
	bytes int64
	err   error
}

// fill makes the dataset, the same one each time, and returns its content's size.
func fill(root string) (int64, error) {
	m := &maker{root: root, rand: rand.NewChaCha8([32]byte{'b', 'e', 'n', 'c', 'h'})}
	for i := range bigFiles {
		m.file(fmt.Sprintf("film-%d.mkv", i), m.rand, bigBytes)
	}
	for i := range textFiles {
		m.file(fmt.Sprintf("log-%d.txt", i), &prose{rand: m.rand}, textBytes)
	}
	for i, left := 0, int64(smallTotal); left > 0; i++ {
		size := min(left, smallLeast+int64(m.rand.Uint64()%(smallMost-smallLeast)))
		m.file(fmt.Sprintf("mail/%03d/%d.eml", i/perDir, i), m.rand, size)
		left -= size
	}
	m.sparse("disk.img")
	return m.bytes, m.err
}

func (m *maker) file(name string, content io.Reader, size int64) {
	m.write(name, func(f *os.File) error {
		_, err := io.CopyN(f, content, size)
		m.bytes += size
		return err
	})
}

func (m *maker) sparse(name string) {
	m.write(name, func(f *os.File) error {
		for i := range int64(pieces) {
			if _, err := io.Copy(io.NewOffsetWriter(f, i*pieceEvery), io.LimitReader(m.rand, pieceBytes)); err != nil {
				return err
			}
			m.bytes += pieceBytes
		}
		return nil
	})
}

func (m *maker) write(name string, content func(*os.File) error) {
	if m.err != nil {
		return
	}
	path := filepath.Join(m.root, name)
	if m.err = os.MkdirAll(filepath.Dir(path), 0o755); m.err != nil {
		return
	}
	f, err := os.Create(path)
	if err != nil {
		m.err = err
		return
	}
	if m.err = content(f); m.err == nil {
		m.err = f.Close()
		return
	}
	f.Close()
}

// prose reads as text that compresses well.
type prose struct {
	rand *rand.ChaCha8
	rest string
}

func (p *prose) Read(b []byte) (int, error) {
	if p.rest == "" {
		words := [...]string{"snapshot", "received", "and", "published", "by", "the", "peer", "in", "generation", "of", "segment", "error"}
		var line strings.Builder
		fmt.Fprintf(&line, "%016x ", p.rand.Uint64())
		for range 12 {
			line.WriteString(words[p.rand.Uint64()%uint64(len(words))] + " ")
		}
		p.rest = line.String() + "\n"
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

// overwrite puts random bytes into a file at an offset, in place.
func overwrite(path string, at, size int64, seed uint64) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	random := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), 'x'})
	if _, err := io.Copy(io.NewOffsetWriter(f, at), io.LimitReader(random, size)); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
