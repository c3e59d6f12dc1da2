package wan

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"pgregory.net/rapid"
)

const testSequence = 0xfffffff0 // it wraps inside the train

// testTrain is a packet as the kernel hands it over.
func testTrain(size, payload int) []byte {
	b := make([]byte, vnetBytes+20+32+payload)
	b[atFlags], b[atGSO] = vnetNeedsChecksum, gsoTCP4
	binary.NativeEndian.PutUint16(b[atGSOSize:], uint16(size))
	binary.NativeEndian.PutUint16(b[6:], 20)
	binary.NativeEndian.PutUint16(b[8:], 16)
	p := b[vnetBytes:]
	p[0], p[9] = 0x45, protocolTCP
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	copy(p[12:], []byte{10, 99, 0, 1, 10, 99, 0, 2})
	binary.BigEndian.PutUint16(p[10:], ^fold(sum(p[:20])))
	tcp := p[20:]
	binary.BigEndian.PutUint32(tcp[4:], testSequence)
	tcp[12], tcp[13] = 8<<4, 0x10|tcpFIN|tcpPSH|tcpCWR
	for i := range tcp[32:] {
		tcp[32+i] = byte(i % 251)
	}
	return b
}

// Whatever is cut out of a train: each part is a whole packet with its own right
// headers, and the parts together are the train.
func TestPartsOfATrain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(1, 1460).Draw(t, "size")
		payload := rapid.IntRange(1, 20*size).Draw(t, "payload")
		whole, err := parse(testTrain(size, payload))
		if err != nil {
			t.Fatal(err)
		}
		var joined []byte
		for from := 0; from < whole.len(); {
			to := rapid.IntRange(from+1, whole.len()).Draw(t, "to")
			part := whole.appendPart(nil, from, to)
			checkPart(t, whole, part, from, to)
			joined = append(joined, part[vnetBytes+whole.header:]...)
			from = to
		}
		if want := whole.raw[vnetBytes+whole.header:]; !bytes.Equal(joined, want) {
			t.Fatalf("parts hold %d bytes that differ from the train's %d", len(joined), len(want))
		}
	})
}

func checkPart(t *rapid.T, whole train, part []byte, from, to int) {
	p := part[vnetBytes:]
	bytesOf := 0
	for i := from; i < to; i++ {
		bytesOf += whole.bytes(i) - whole.header
	}
	tcp := p[20:]
	flags := tcp[13]
	switch {
	case len(p) != whole.header+bytesOf || int(binary.BigEndian.Uint16(p[2:])) != len(p):
		t.Fatalf("part of %d bytes says %d, want %d", len(p), binary.BigEndian.Uint16(p[2:]), whole.header+bytesOf)
	case fold(sum(p[:20])) != 0xffff:
		t.Fatal("the IP checksum is wrong")
	case binary.BigEndian.Uint32(tcp[4:]) != uint32(uint64(testSequence)+uint64(from*whole.size)):
		t.Fatalf("sequence number %d", binary.BigEndian.Uint32(tcp[4:]))
	case (flags&(tcpFIN|tcpPSH) != 0) != (to == whole.len()), (flags&tcpCWR != 0) != (from == 0):
		t.Fatalf("flags %#x of part %d to %d of %d", flags, from, to, whole.len())
	case binary.BigEndian.Uint16(tcp[16:]) != fold(sum(p[12:20])+protocolTCP+uint32(len(tcp))) && whole.len() != to-from:
		t.Fatal("the checksum is not that of the pseudo header")
	case part[atFlags]&vnetNeedsChecksum == 0:
		t.Fatal("the checksum is not marked as partial")
	case to-from == 1 && whole.len() > 1 && part[atGSO] != gsoNone:
		t.Fatal("a single packet is marked as a train")
	}
}

func TestOddPacketsAreRefused(t *testing.T) {
	good := testTrain(1000, 5000)
	change := func(at int, v byte) []byte {
		b := bytes.Clone(good)
		b[at] = v
		return b
	}
	for name, raw := range map[string][]byte{
		"short":           good[:vnetBytes-1],
		"other GSO":       change(atGSO, 4),
		"IPv6":            change(vnetBytes, 0x65),
		"no TCP":          change(vnetBytes+9, 17),
		"header of IP":    change(vnetBytes, 0x44),
		"header of TCP":   change(vnetBytes+20+12, 4<<4),
		"without payload": good[:vnetBytes+52],
	} {
		if _, err := parse(raw); !errors.Is(err, errOddPacket) {
			t.Errorf("%s: got %v, want %v", name, err, errOddPacket)
		}
	}
	if single, err := parse(change(atGSO, gsoNone)); err != nil || single.len() != 1 || single.bytes(0) != 5052 {
		t.Errorf("single packet: %+v, %v", single, err)
	}
}
