package wan

import (
	"encoding/binary"
	"errors"
)

// A packet of a TUN device with IFF_VNET_HDR: struct virtio_net_hdr of
// linux/virtio_net.h in the machine's byte order, then the IP packet. With a GSO
// type its payload is a train: several TCP segments of gso_size, the last maybe
// shorter, under one header.
const (
	vnetBytes = 10

	vnetNeedsChecksum = 1
	gsoNone           = 0
	gsoTCP4           = 1
	gsoECN            = 0x80

	atFlags, atGSO, atHeaderLen, atGSOSize = 0, 1, 2, 4
)

const (
	tcpFIN, tcpPSH, tcpCWR = 0x01, 0x08, 0x80

	minIPv4, minTCP = 20, 20
	protocolTCP     = 6
)

var errOddPacket = errors.New("packet that is no train of TCP over IPv4")

// train is a packet as it came from the device, and how it falls into packets
// of MTU size.
type train struct {
	raw    []byte // with the vnet header
	header int    // bytes of IP and TCP header
	ip     int    // bytes of the IP header
	size   int    // of each segment's payload; 0: the packet is a single one
}

// parse looks at a packet; raw stays in use. A single packet may be anything.
func parse(raw []byte) (train, error) {
	if len(raw) < vnetBytes {
		return train{}, errOddPacket
	}
	t := train{raw: raw}
	if raw[atGSO]&^gsoECN == gsoNone {
		return t, nil
	}
	p := raw[vnetBytes:]
	if raw[atGSO]&^gsoECN != gsoTCP4 || len(p) < minIPv4+minTCP || p[0]>>4 != 4 || p[9] != protocolTCP {
		return train{}, errOddPacket
	}
	t.ip = int(p[0]&0xf) * 4
	t.size = int(binary.NativeEndian.Uint16(raw[atGSOSize:]))
	if t.ip < minIPv4 || len(p) < t.ip+minTCP || t.size == 0 {
		return train{}, errOddPacket
	}
	t.header = t.ip + int(p[t.ip+12]>>4)*4
	if t.header < t.ip+minTCP || len(p) <= t.header {
		return train{}, errOddPacket
	}
	return t, nil
}

// len is of how many packets of MTU size it consists.
func (t train) len() int {
	if t.size == 0 {
		return 1
	}
	return (t.payload() + t.size - 1) / t.size
}

func (t train) payload() int { return len(t.raw) - vnetBytes - t.header }

// bytes is the length of IP packet i.
func (t train) bytes(i int) int {
	if t.size == 0 {
		return len(t.raw) - vnetBytes
	}
	return t.header + min(t.size, t.payload()-i*t.size)
}

// appendPart appends packets from to, without to, as a train of their own.
func (t train) appendPart(b []byte, from, to int) []byte {
	if from == 0 && to == t.len() {
		return append(b, t.raw...)
	}
	at := len(b)
	body := t.raw[vnetBytes+t.header:]
	body = body[from*t.size : min(to*t.size, len(body))]
	b = append(b, t.raw[:vnetBytes+t.header]...)
	b = append(b, body...)
	t.fix(b[at:], from, to)
	return b
}

// fix makes the copied headers right for the part: lengths, sequence number,
// flags that belong to one end, checksums.
func (t train) fix(b []byte, from, to int) {
	p := b[vnetBytes:]
	if to-from == 1 {
		b[atGSO] = gsoNone
		binary.NativeEndian.PutUint16(b[atGSOSize:], 0)
	}
	binary.NativeEndian.PutUint16(b[atHeaderLen:], uint16(t.header))
	tcp := p[t.ip:]
	binary.BigEndian.PutUint32(tcp[4:], binary.BigEndian.Uint32(tcp[4:])+uint32(from*t.size))
	if to < t.len() {
		tcp[13] &^= tcpFIN | tcpPSH
	}
	if from > 0 {
		tcp[13] &^= tcpCWR
	}
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	binary.BigEndian.PutUint16(p[4:], binary.BigEndian.Uint16(p[4:])+uint16(from))
	binary.BigEndian.PutUint16(p[10:], 0)
	binary.BigEndian.PutUint16(p[10:], ^fold(sum(p[:t.ip])))
	// The kernel fills in the rest of a checksum that is marked as partial: the
	// field holds the sum of the pseudo header.
	b[atFlags] |= vnetNeedsChecksum
	pseudo := sum(p[12:20]) + protocolTCP + uint32(len(tcp))
	binary.BigEndian.PutUint16(tcp[16:], fold(pseudo))
}

// sum adds up 16-bit words, as RFC 1071 does.
func sum(b []byte) (s uint32) {
	for ; len(b) >= 2; b = b[2:] {
		s += uint32(binary.BigEndian.Uint16(b))
	}
	return s
}

func fold(s uint32) uint16 {
	for s>>16 != 0 {
		s = s&0xffff + s>>16
	}
	return uint16(s)
}
