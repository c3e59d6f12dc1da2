package stream

import "encoding/binary"

// fletcher is a running Fletcher-4 checksum over little-endian words of 32 bits,
// as OpenZFS computes it (module/zcommon/zfs_fletcher.c).
type fletcher [4]uint64

// add takes in p, whose length is a multiple of four.
func (f *fletcher) add(p []byte) {
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

// bytes is the checksum as it stands in a record.
func (f *fletcher) bytes() (sum [sumBytes]byte) {
	for i, w := range f {
		binary.LittleEndian.PutUint64(sum[8*i:], w)
	}
	return sum
}
