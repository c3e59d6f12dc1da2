// Package fletcher computes the checksum of ZFS's send streams and resume tokens, as
// fast as a stream comes.
package fletcher

import "encoding/binary"

// Size is the size of a checksum in a record.
const Size = 32

// Sum is a running Fletcher-4 checksum over little-endian words of 32 bits,
// as OpenZFS computes it (module/zcommon/zfs_fletcher.c).
type Sum [4]uint64

// Add takes in p, whose length is a multiple of four.
func (f *Sum) Add(p []byte) {
	a, b, c, d := f[0], f[1], f[2], f[3]
	for len(p) >= 16 {
		q := p[:16:16]
		p = p[16:]
		a += uint64(binary.LittleEndian.Uint32(q[0:4]))
		b += a
		c += b
		d += c
		a += uint64(binary.LittleEndian.Uint32(q[4:8]))
		b += a
		c += b
		d += c
		a += uint64(binary.LittleEndian.Uint32(q[8:12]))
		b += a
		c += b
		d += c
		a += uint64(binary.LittleEndian.Uint32(q[12:16]))
		b += a
		c += b
		d += c
	}
	for ; len(p) >= 4; p = p[4:] {
		a += uint64(binary.LittleEndian.Uint32(p))
		b += a
		c += b
		d += c
	}
	f[0], f[1], f[2], f[3] = a, b, c, d
}

// Bytes is the checksum as it stands in a record.
func (f *Sum) Bytes() (sum [Size]byte) {
	for i, w := range f {
		binary.LittleEndian.PutUint64(sum[8*i:], w)
	}
	return sum
}
