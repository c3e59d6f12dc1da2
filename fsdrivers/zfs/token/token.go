// Package token reads and writes the resume tokens of ZFS. It must not know of which
// pool one is, or who sent it.
package token

import (
	"bytes"
	"compress/zlib"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"antipode/fsdrivers/zfs/fletcher"
	"antipode/fsdrivers/zfs/nvlist"
	"antipode/fsdrivers/zfs/stream"
)

// Token is a resume token taken apart. What a peer sends as one lets it choose
// which snapshot of which pool is sent, and whether encrypted (openzfs issue
// 14153): take Position and Bytes from it, after Fits, and nothing else.
//
//	1-<first word of the Fletcher-4 checksum of the compressed list, hex>-
//	  <length of the packed list, hex>-<hex of the list, packed and compressed by zlib>
type Token struct {
	stream.Position
	Bytes    uint64 // of the stream that are received; a figure for people
	ToGUID   uint64
	ToName   string // "pool/fs@snapshot" on the sender
	FromGUID uint64 // 0 for a full stream
	LargeOK  bool   // the stream was begun with -L
	EmbedOK  bool   // -e
	PackedOK bool   // -c
	RawOK    bool   // -w
}

// Limits of a token. A real one has some 200 to 400 characters.
const (
	MaxBytes  = 4 << 10
	maxPacked = 16 << 10
)

// ErrNotToken means: it is no resume token, or one that no plan of ours makes.
var ErrNotToken = errors.New("not a resume token")

// Parse reads a token that comes from a pool or a peer. Errors: ErrToken.
func Parse(s string) (Token, error) {
	raw, err := unpackToken(s)
	if err != nil {
		return Token{}, err
	}
	list, err := nvlist.Parse(raw)
	if err != nil {
		return Token{}, fmt.Errorf("%w: %w", ErrNotToken, err)
	}
	var t Token
	for _, e := range list {
		if err := t.take(e); err != nil {
			return Token{}, err
		}
	}
	if t.ToGUID == 0 || t.ToName == "" {
		return Token{}, fmt.Errorf("it names no snapshot: %w", ErrNotToken)
	}
	return t, nil
}

// unpackToken is the packed list that a token holds.
func unpackToken(s string) ([]byte, error) {
	parts := strings.Split(s, "-")
	if len(s) > MaxBytes || len(parts) != 4 || parts[0] != "1" {
		return nil, fmt.Errorf("%.40q: %w", s, ErrNotToken)
	}
	want, err1 := strconv.ParseUint(parts[1], 16, 64)
	size, err2 := strconv.ParseUint(parts[2], 16, 32)
	packed, err3 := hex.DecodeString(parts[3])
	if err := errors.Join(err1, err2, err3); err != nil || size > maxPacked {
		return nil, fmt.Errorf("%.40q: %w", s, ErrNotToken)
	}
	var sum fletcher.Sum
	if sum.Add(packed); sum[0] != want {
		return nil, fmt.Errorf("its checksum is wrong: %w", ErrNotToken)
	}
	z, err := zlib.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotToken, err)
	}
	raw, err := io.ReadAll(io.LimitReader(z, maxPacked+1))
	if err != nil || uint64(len(raw)) != size {
		return nil, fmt.Errorf("it has %d bytes and says %d: %w", len(raw), size, errors.Join(ErrNotToken, err))
	}
	return raw, nil
}

// take reads one entry. Redacted streams are none of ours.
func (t *Token) take(e nvlist.Entry) (err error) {
	numbers := map[string]*uint64{
		"object": &t.Object, "offset": &t.Offset, "bytes": &t.Bytes, "toguid": &t.ToGUID, "fromguid": &t.FromGUID,
	}
	flags := map[string]*bool{
		"largeblockok": &t.LargeOK, "embedok": &t.EmbedOK, "compressok": &t.PackedOK, "rawok": &t.RawOK,
	}
	switch {
	case numbers[e.Name] != nil && e.Type == nvlist.Uint64Entry:
		*numbers[e.Name] = e.Num
	case flags[e.Name] != nil && e.Type == nvlist.FlagEntry:
		*flags[e.Name] = true
	case e.Name == "toname" && e.Type == nvlist.StringEntry:
		t.ToName = e.Text
	default:
		return fmt.Errorf("it has an entry %.64q: %w", e.Name, ErrNotToken)
	}
	return nil
}

// list is the token's content, in the order in which OpenZFS adds it.
func (t Token) list() (l nvlist.List) {
	number := func(name string, v uint64) { l = append(l, nvlist.Entry{Name: name, Type: nvlist.Uint64Entry, Num: v}) }
	if t.FromGUID != 0 {
		number("fromguid", t.FromGUID)
	}
	number("object", t.Object)
	number("offset", t.Offset)
	number("bytes", t.Bytes)
	number("toguid", t.ToGUID)
	l = append(l, nvlist.Entry{Name: "toname", Type: nvlist.StringEntry, Text: t.ToName})
	for _, f := range []struct {
		name string
		set  bool
	}{{"largeblockok", t.LargeOK}, {"embedok", t.EmbedOK}, {"compressok", t.PackedOK}, {"rawok", t.RawOK}} {
		if f.set {
			l = append(l, nvlist.Entry{Name: f.name, Type: nvlist.FlagEntry})
		}
	}
	return l
}

// String mints a token that `zfs send -t` takes. Its compressed bytes are not
// those that OpenZFS would write; what they hold is.
func (t Token) String() string { return tokenOf(t.list().Pack()) }

// tokenOf is the text of a packed list.
func tokenOf(raw []byte) string {
	var packed bytes.Buffer
	z := zlib.NewWriter(&packed)
	_, _ = z.Write(raw) // a bytes.Buffer takes everything
	_ = z.Close()
	var sum fletcher.Sum
	sum.Add(packed.Bytes())
	return fmt.Sprintf("1-%x-%x-%x", sum[0], len(raw), packed.Bytes())
}

// Fits tells how a token that a peer reported differs from what was planned; ""
// if it does not. Names do not count: the snapshot may have been renamed.
func (t Token) Fits(plan Token) string {
	switch {
	case t.ToGUID != plan.ToGUID:
		return fmt.Sprintf("it is of snapshot %016x, planned is %016x", t.ToGUID, plan.ToGUID)
	case t.FromGUID != plan.FromGUID:
		return fmt.Sprintf("its base is %016x, planned is %016x (0 is none)", t.FromGUID, plan.FromGUID)
	case t.RawOK != plan.RawOK, t.LargeOK && !plan.LargeOK, t.PackedOK && !plan.PackedOK, t.EmbedOK && !plan.EmbedOK:
		return "it was begun with other flags" // one may be missing: it is there only if the stream needs it
	case t.Object >= stream.MaxObject || t.Offset >= 1<<63 || t.Bytes >= 1<<63:
		return "its position is out of bounds"
	}
	return ""
}
