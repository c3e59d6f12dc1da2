//go:build zfs

package smoke

import (
	"bytes"
	"cmp"
	"compress/zlib"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"testing"
)

// Layout of a stream, from OpenZFS include/sys/zfs_ioctl.h. It is read here once
// more, apart from the gate that is under test elsewhere.
const (
	recordBytes    = 312
	checksumAt     = recordBytes - 32
	recordBegin    = 0
	recordObject   = 1
	recordWrite    = 3
	recordEnd      = 5
	recordSpill    = 7
	recordEmbedded = 8
	beginFlagsAt   = 36
	beginFromGUID  = 48
	flagClone      = 1
	featuresAt     = 16
	featureRawBit  = 24 + 2 // the two low bits hold the header type
	endChecksumAt  = 8
)

var order = binary.LittleEndian

// fletcher4 is the running checksum of a stream.
type fletcher4 [4]uint64

func (f *fletcher4) add(data []byte) {
	for ; len(data) >= 4; data = data[4:] {
		f[0] += uint64(order.Uint32(data))
		f[1] += f[0]
		f[2] += f[1]
		f[3] += f[2]
	}
}

func (f *fletcher4) put(at []byte) {
	for i, word := range f {
		order.PutUint64(at[8*i:], word)
	}
}

// payloadBytes is how much follows a record.
func payloadBytes(record []byte) int {
	long := func(at int) int { return int(order.Uint64(record[at:])) }
	word := func(at int) int { return int(order.Uint32(record[at:])) }
	round8 := func(n int) int { return (n + 7) &^ 7 }
	switch word(0) {
	case recordBegin:
		return word(4)
	case recordObject:
		return cmp.Or(word(36), round8(word(28))) // raw, else bonus
	case recordWrite:
		return cmp.Or(long(96), long(32)) // compressed, else logical
	case recordSpill:
		return cmp.Or(long(40), long(16))
	case recordEmbedded:
		return round8(word(52))
	}
	return 0
}

// reseal computes all checksums of an altered stream anew.
func reseal(t *testing.T, stream []byte) []byte {
	t.Helper()
	stream = bytes.Clone(stream)
	var sum fletcher4
	for at := 0; at < len(stream); {
		record := stream[at : at+recordBytes]
		if order.Uint32(record) == recordEnd {
			sum.put(record[endChecksumAt:])
		}
		sum.add(record[:checksumAt])
		if at > 0 {
			sum.put(record[checksumAt:])
		}
		sum.add(record[checksumAt:])
		at += recordBytes
		payload := payloadBytes(record)
		sum.add(stream[at : at+payload])
		at += payload
	}
	return stream
}

func TestResealLeavesAGenuineStreamAsItIs(t *testing.T) {
	src, _ := pools(t)
	makeKey(t)
	fs := withData(t, src+"/reseal", encrypted)
	for _, flags := range []string{"-w", "-Lc"} {
		stream := send(t, flags, fs+"@a")
		if !bytes.Equal(reseal(t, stream), stream) {
			t.Fatalf("send %s: the stream changed: its layout or its checksum is not what this file says", flags)
		}
	}
}

func isRaw(stream []byte) bool {
	return order.Uint64(stream[featuresAt:])>>featureRawBit&1 == 1
}

// token is a resume token taken apart: OpenZFS dsl_dataset.c,
// get_receive_resume_token_impl. The list is a native nvlist, which starts with
// 12 bytes of header and ends with a zero size.
type token struct {
	header []byte
	pairs  []pair
}

type pair struct {
	name string
	raw  []byte // the whole pair
}

const (
	nvlistHeaderBytes = 12
	pairNameAt        = 16
)

func parseToken(t *testing.T, text string) token {
	t.Helper()
	parts := strings.Split(text, "-")
	if len(parts) != 4 || parts[0] != "1" {
		t.Fatalf("resume token %q: want 1-checksum-length-payload", text)
	}
	packed, err := hex.DecodeString(parts[3])
	if err != nil {
		t.Fatal(err)
	}
	z, err := zlib.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	list, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	k := token{header: list[:nvlistHeaderBytes]}
	for list = list[nvlistHeaderBytes:]; order.Uint32(list) != 0; {
		size := order.Uint32(list)
		nameBytes := order.Uint16(list[4:])
		k.pairs = append(k.pairs, pair{
			name: string(list[pairNameAt : pairNameAt+nameBytes-1]),
			raw:  bytes.Clone(list[:size]),
		})
		list = list[size:]
	}
	return k
}

// String is the token minted anew, by Go's zlib and not by the kernel's.
func (k token) String() string {
	list := bytes.Clone(k.header)
	for _, p := range k.pairs {
		list = append(list, p.raw...)
	}
	list = append(list, 0, 0, 0, 0)
	var packed bytes.Buffer
	z := zlib.NewWriter(&packed)
	_, _ = z.Write(list)
	_ = z.Close()
	var sum fletcher4
	sum.add(packed.Bytes())
	return fmt.Sprintf("1-%x-%x-%x", sum[0], len(list), packed.Bytes())
}

func (k token) names() (all []string) {
	for _, p := range k.pairs {
		all = append(all, p.name)
	}
	return all
}

// number is the place of the value of a uint64 pair; nil without such a pair.
func (k token) number(name string) []byte {
	for _, p := range k.pairs {
		if p.name == name {
			return p.raw[len(p.raw)-8:]
		}
	}
	return nil
}

// without is the token less one pair.
func (k token) without(name string) token {
	left := token{header: k.header}
	for _, p := range k.pairs {
		if p.name != name {
			left.pairs = append(left.pairs, p)
		}
	}
	return left
}

// renamed is the token with another toname.
func (k token) renamed(name string) token {
	const stringType = 9
	const base = pairNameAt + 8 // "toname" and its zero, padded to 8
	changed := token{header: k.header}
	for _, p := range k.pairs {
		if p.name == "toname" {
			raw := make([]byte, base+(len(name)+8)/8*8)
			copy(raw, p.raw[:base])
			order.PutUint32(raw, uint32(len(raw)))
			order.PutUint32(raw[12:], stringType)
			copy(raw[base:], name)
			p.raw = raw
		}
		changed.pairs = append(changed.pairs, p)
	}
	return changed
}
