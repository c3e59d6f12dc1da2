package stream

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/nvlist"
)

const (
	to   = 0x1122334455667788
	from = 0x99aabbccddeeff00
)

func opening() Opening {
	return Opening{
		Kind: Filesystem, ToGUID: to, ToName: "tank/db@antipode_1", Features: SASpill | LZ4 | LargeBlocks | Compressed,
		Flags: FlagFreeRecords | FlagSpillBlock, Created: time.Unix(1_700_000_000, 0),
	}
}

func rawOpening() Opening {
	o := opening()
	o.Features |= Raw
	return o
}

// streamOf is a stream with checksums that fit, whatever build puts in it.
func streamOf(o Opening, build func(e *Encoder), extra ...nvlist.Entry) []byte {
	var e Encoder
	e.Begin(o, extra...)
	if build != nil {
		build(&e)
	}
	e.End(to)
	return e.Bytes()
}

// honest is a stream that holds one record of each kind that plain streams have.
func honest() []byte {
	return streamOf(opening(), func(e *Encoder) {
		e.Record(FreeObjects, nil, Field{toGUID[FreeObjects], 8, to}, Field{freeObjectsCount, 8, 1})
		e.File(to, 7, bytes.Repeat([]byte("data"), 128), bytes.Repeat([]byte("more"), 128))
		e.Record(Write, make([]byte, 512), Field{toGUID[Write], 8, to}, Field{atObject, 8, 7}, Field{writeType, 4, 19},
			Field{writeOffset, 8, 1 << 20}, Field{writeSize, 8, 1 << 20}, Field{writeCompress, 1, 15}, Field{writePacked, 8, 512})
		e.Record(Spill, make([]byte, 512), Field{toGUID[Spill], 8, to}, Field{atObject, 8, 7}, Field{spillSize, 8, 512})
		e.Record(Free, nil, Field{toGUID[Free], 8, to}, Field{atObject, 8, 7}, Field{freeOffset, 8, 2 << 20}, Field{freeLength, 8, 1<<64 - 1})
	})
}

func honestRaw(key nvlist.Entry) []byte {
	return streamOf(rawOpening(), func(e *Encoder) {
		e.Record(ObjectRange, nil, Field{toGUID[ObjectRange], 8, to}, Field{atObject, 8, 32}, Field{rangeSlots, 8, 32})
		e.Record(Object, make([]byte, 320), Field{toGUID[Object], 8, to}, Field{atObject, 8, 33}, Field{objType, 4, 19},
			Field{objBonusType, 4, 44}, Field{objBlock, 4, 512}, Field{objBonus, 4, 168}, Field{objSlots, 1, 1},
			Field{objRawBonus, 4, 320}, Field{objIndirect, 1, 17}, Field{objLevels, 1, 1}, Field{objBlockPtrs, 1, 1})
		e.Record(Write, make([]byte, 512), Field{toGUID[Write], 8, to}, Field{atObject, 8, 33}, Field{writeType, 4, 19},
			Field{writeSize, 8, 512}, Field{writeCompress, 1, 2}, Field{writePacked, 8, 512})
	}, key)
}

// keydata is what stands behind BEGIN in a raw stream.
func keydata(change func(l nvlist.List) nvlist.List) nvlist.Entry {
	l := nvlist.List{{Name: "DSL_CRYPTO_SUITE", Type: nvlist.Uint64Entry, Num: 8}, {Name: "DSL_CRYPTO_GUID", Type: nvlist.Uint64Entry, Num: 5}}
	for _, n := range []string{"DSL_CRYPTO_VERSION", "keyformat", "pbkdf2iters", "pbkdf2salt", "mdn_nlevels", "to_ivset_guid", "from_ivset_guid"} {
		l = append(l, nvlist.Entry{Name: n, Type: nvlist.Uint64Entry, Num: uint64(len(n))})
	}
	for _, n := range []string{"DSL_CRYPTO_MASTER_KEY_1", "DSL_CRYPTO_HMAC_KEY_1", "DSL_CRYPTO_IV", "DSL_CRYPTO_MAC", "portable_mac"} {
		l = append(l, nvlist.Entry{Name: n, Type: nvlist.BytesEntry, Bytes: []byte(n)})
	}
	if change != nil {
		l = change(l)
	}
	return nvlist.Entry{Name: "crypt_keydata", Type: nvlist.ListEntry, List: l}
}

func pass(in []byte, p Plan) ([]byte, Stats, error) {
	var out bytes.Buffer
	st, err := Copy(&out, NewReader(bytes.NewReader(in)), p)
	return out.Bytes(), st, err
}

func TestHonestStreamsPassUnchanged(t *testing.T) {
	base := opening()
	base.FromGUID = from
	resumed := opening()
	resumed.Features |= Resuming
	resumed.Resume = &Position{Object: 7, Offset: 4096}
	volume := opening()
	volume.Kind = Volume
	big := bytes.Repeat([]byte("sixteen bytes..."), 1<<20)
	for name, c := range map[string]struct {
		in   []byte
		plan Plan
	}{
		"full":              {honest(), Plan{ToGUID: to, Kind: Filesystem}},
		"incremental":       {streamOf(base, nil), Plan{ToGUID: to, FromGUID: from}},
		"of a volume":       {streamOf(volume, nil), Plan{ToGUID: to, Kind: Volume}},
		"resumed":           {streamOf(resumed, nil), Plan{ToGUID: to, Resume: &Position{7, 4096}}},
		"raw":               {honestRaw(keydata(nil)), Plan{ToGUID: to, Raw: true}},
		"just short enough": {honest(), Plan{ToGUID: to, MaxBytes: int64(len(honest()))}},
		"a block of 16 MiB": {streamOf(opening(), func(e *Encoder) { e.File(to, 7, big) }), Plan{ToGUID: to}},
	} {
		t.Run(name, func(t *testing.T) {
			out, st, err := pass(c.in, c.plan)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(out, c.in) {
				t.Errorf("got %d bytes, want the %d of the input unchanged", len(out), len(c.in))
			}
			if st.Bytes != int64(len(c.in)) || st.Written != st.Bytes || !st.End {
				t.Errorf("got stats %+v for %d bytes", st, len(c.in))
			}
		})
	}
}

// begin is a stream of an opening that was changed.
func begin(change func(o *Opening)) []byte {
	o := opening()
	change(&o)
	return streamOf(o, nil)
}

// with is a stream with one record of that type, its toguid set first.
func with(t Type, payload int, fields ...Field) []byte {
	return streamOf(opening(), func(e *Encoder) {
		all := append([]Field{{toGUID[t], 8, to}, {atObject, 8, 7}}, fields...)
		e.Record(t, make([]byte, payload), all...)
	})
}

func object(fields ...Field) []byte {
	return with(Object, 168, append([]Field{{objType, 4, 19}, {objBonusType, 4, 44}, {objBlock, 4, 512}, {objBonus, 4, 168}}, fields...)...)
}

// attacks are streams that zfs receive must never see; the conditions on single
// records are in conditions_test.go.
var attacks = map[string]struct {
	in   []byte
	want string // part of the message
}{
	"with properties or recursive": {compound(), "package of several streams"},
	"to be received as a clone":    {begin(func(o *Opening) { o.Flags |= FlagClone }), "clone"},
	"unknown flags":                {begin(func(o *Opening) { o.Flags |= 1 << 24 }), "unknown flags"},
	"deduplicated":                 {begin(func(o *Opening) { o.Features |= Dedup }), "dedup"},
	"redacted":                     {begin(func(o *Opening) { o.Features |= Redacted }), "redacted"},
	"with holds":                   {begin(func(o *Opening) { o.Features |= Holds }), "holds"},
	"a feature of tomorrow":        {begin(func(o *Opening) { o.Features |= 1 << 40 }), "unknown"},
	"embedded data":                {begin(func(o *Opening) { o.Features |= EmbedData }), "embedded"},
	"of another snapshot":          {begin(func(o *Opening) { o.ToGUID = from }), "it is of snapshot"},
	"on another base":              {begin(func(o *Opening) { o.FromGUID = from }), "its base is"},
	"of a volume":                  {begin(func(o *Opening) { o.Kind = Volume }), "volume"},
	"of a pool's own objects":      {begin(func(o *Opening) { o.Kind = 1 }), "objset type 1"},
	"raw without a key":            {begin(func(o *Opening) { o.Features |= Raw }), "raw is true"},
	"a key and not raw":            {streamOf(opening(), nil, keydata(nil)), "wrapped key"},
	"resumed and not planned so": {begin(func(o *Opening) {
		o.Features |= Resuming
		o.Resume = &Position{1, 0}
	}), "goes on in the middle"},
	"resuming without where":       {begin(func(o *Opening) { o.Features |= Resuming }), "not where"},
	"an unknown entry in its list": {streamOf(opening(), nil, nvlist.Entry{Name: "redact_snaps", Type: nvlist.Uint64Entry}), "redact_snaps"},
	"of the other byte order":      {swapped(), "byte order"},
	"a version of tomorrow":        {rawField(beginVersion+7, 0x80), "version"},
	"a name without an end":        {unnamed(), "no end"},

	"a record of another snapshot": {with(Free, 0, Field{toGUID[Free], 8, from}), "belongs to snapshot"},
	"a block by reference":         {with(WriteByRef, 0), "must not be there"},
	"a redacted range":             {with(Redact, 0), "must not be there"},
	"a second BEGIN":               {streamOf(opening(), func(e *Encoder) { e.Begin(opening()) }), "checksum"},
	"a record of tomorrow":         {with(Type(11), 0), "must not be there"},

	"a bonus of 4 GiB":       {object(Field{objBonus, 4, 1<<32 - 1}), "bytes follow it"},
	"a write without an end": {with(Write, 512, Field{writeOffset, 8, 1<<64 - 1024}, Field{writeSize, 8, 512}, Field{writeType, 4, 19}), ""},
	"a write past the end":   {with(Write, 1024, Field{writeOffset, 8, 1<<64 - 512}, Field{writeSize, 8, 1024}, Field{writeType, 4, 19}), "no end"},
	"a write of 2^63 bytes":  {with(Write, 0, Field{writeSize, 8, 1 << 63}), "bytes follow it"},
}

// rawField changes one byte of BEGIN, without mending what follows.
func rawField(at int, v byte) []byte {
	in := honest()
	in[at] = v
	return in
}

// compound is what zfs send -R, -p, -b and -h begin with.
func compound() []byte { return rawField(beginVersion, honest()[beginVersion]&^3|2) }

func swapped() []byte {
	in := honest()
	copy(in[beginMagic:], []byte{0, 0, 0, 2, 0xf5, 0xba, 0xcb, 0xac})
	return in
}

func unnamed() []byte {
	var e Encoder
	e.Begin(opening())
	raw := bytes.Clone(e.buf)
	for i := beginName; i < recordBytes; i++ {
		raw[i] = 'x'
	}
	e = Encoder{buf: raw}
	e.sum.Add(raw)
	e.End(to)
	return e.Bytes()
}

func TestAttacksAreRefused(t *testing.T) {
	for name, c := range attacks {
		t.Run(name, func(t *testing.T) {
			out, st, err := pass(c.in, Plan{ToGUID: to, Kind: Filesystem})
			if c.want == "" { // the counter-example beside an attack
				if err != nil {
					t.Fatalf("got error %v, want none", err)
				}
				return
			}
			if !errors.Is(err, dataset.ErrRefused) || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got error %v, want refused with %q", err, c.want)
			}
			if st.End || bytes.HasSuffix(out, c.in[len(c.in)-recordBytes:]) {
				t.Errorf("got the end passed on, %+v", st)
			}
			if !bytes.HasPrefix(c.in, out) {
				t.Error("what was passed on is no beginning of the stream")
			}
		})
	}
}

func TestRawStreamsAreHeldToTheirKey(t *testing.T) {
	in := honestRaw(keydata(nil))
	head, err := Head(NewReader(bytes.NewReader(in)))
	if err != nil || head.Key.IsZero() {
		t.Fatalf("got key %v, %v, want one", head.Key, err)
	}
	set := func(name string, v uint64) func(nvlist.List) nvlist.List {
		return func(l nvlist.List) nvlist.List {
			for i := range l {
				if l[i].Name == name {
					l[i].Num, l[i].Bytes = v, append(l[i].Bytes, 0)[:len(l[i].Bytes)]
					if l[i].Type == nvlist.BytesEntry {
						l[i].Bytes = append([]byte{byte(v)}, l[i].Bytes[1:]...)
					}
				}
			}
			return l
		}
	}
	for name, c := range map[string]struct {
		change func(nvlist.List) nvlist.List
		plan   Plan
		want   string
	}{
		"the pinned one":         {nil, Plan{Raw: true, Key: head.Key}, ""},
		"none pinned yet":        {nil, Plan{Raw: true}, ""},
		"another snapshot's mac": {set("portable_mac", 1), Plan{Raw: true, Key: head.Key}, ""},
		"another ivset":          {set("to_ivset_guid", 1), Plan{Raw: true, Key: head.Key}, ""},
		"another wrapped key":    {set("DSL_CRYPTO_MASTER_KEY_1", 1), Plan{Raw: true, Key: head.Key}, "pinned"},
		"another salt":           {set("pbkdf2salt", 1), Plan{Raw: true, Key: head.Key}, "pinned"},
		"another format":         {set("keyformat", 1), Plan{Raw: true, Key: head.Key}, "pinned"},
		"an entry too many":      {func(l nvlist.List) nvlist.List { return append(l, nvlist.Entry{Name: "x", Type: nvlist.Uint64Entry}) }, Plan{Raw: true}, "unknown"},
		"an entry twice":         {func(l nvlist.List) nvlist.List { return append(l, l[0]) }, Plan{Raw: true}, "doubled"},
		"an entry missing":       {func(l nvlist.List) nvlist.List { return l[1:] }, Plan{Raw: true}, "lacks"},
		"raw into a plain one":   {nil, Plan{}, "never mixed"},
	} {
		t.Run(name, func(t *testing.T) {
			c.plan.ToGUID = to
			_, _, err := pass(honestRaw(keydata(c.change)), c.plan)
			if c.want == "" && err != nil {
				t.Errorf("got error %v, want none", err)
			}
			if c.want != "" && (!errors.Is(err, dataset.ErrRefused) || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got error %v, want refused with %q", err, c.want)
			}
		})
	}
	if _, _, err := pass(honest(), Plan{ToGUID: to, Raw: true}); !errors.Is(err, dataset.ErrRefused) {
		t.Errorf("plain into a raw one: got error %v, want refused", err)
	}
}

func TestResumedStreamsGoOnWhereTheTokenSaid(t *testing.T) {
	at := func(p Position) []byte {
		return begin(func(o *Opening) { o.Features, o.Resume = o.Features|Resuming, &p })
	}
	for name, c := range map[string]struct {
		in []byte
		ok bool
	}{
		"there":            {at(Position{7, 4096}), true},
		"another object":   {at(Position{8, 4096}), false},
		"another offset":   {at(Position{7, 0}), false},
		"at its beginning": {honest(), false},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := pass(c.in, Plan{ToGUID: to, Resume: &Position{7, 4096}})
			if got := err == nil; got != c.ok || err != nil && !errors.Is(err, dataset.ErrRefused) {
				t.Errorf("got error %v, want passed %v", err, c.ok)
			}
		})
	}
}

func TestEveryFlippedBitIsFound(t *testing.T) {
	for name, in := range map[string][]byte{"plain": honest(), "raw": honestRaw(keydata(nil))} {
		plan := Plan{ToGUID: to, Raw: name == "raw"}
		for at := range in {
			bad := bytes.Clone(in)
			bad[at] ^= 0x10
			out, _, err := pass(bad, plan)
			if !errors.Is(err, dataset.ErrRefused) && !errors.Is(err, dataset.ErrCut) {
				t.Fatalf("%s: byte %d of %d: got error %v", name, at, len(in), err)
			}
			if !bytes.HasPrefix(in, out) {
				t.Fatalf("%s: byte %d of %d: it was passed on", name, at, len(in))
			}
		}
	}
}

func TestEveryCutIsTold(t *testing.T) {
	in := honest()
	for at := range in {
		out, st, err := pass(in[:at], Plan{ToGUID: to})
		if !errors.Is(err, dataset.ErrCut) || st.End || !bytes.HasPrefix(in, out) {
			t.Fatalf("cut after %d bytes: got error %v, %+v", at, err, st)
		}
	}
	broken := errors.New("the link is down")
	_, err := Copy(io.Discard, NewReader(io.MultiReader(bytes.NewReader(in), iotest.ErrReader(broken))), Plan{ToGUID: to})
	if !errors.Is(err, dataset.ErrCut) || !errors.Is(err, broken) {
		t.Errorf("failure after the last byte: got error %v", err)
	}
}

func TestNothingFollowsTheEnd(t *testing.T) {
	for name, in := range map[string][]byte{
		"a byte": append(honest(), 0), "a second stream": append(honest(), honest()...),
	} {
		out, _, err := pass(in, Plan{ToGUID: to})
		if !errors.Is(err, dataset.ErrRefused) {
			t.Errorf("%s: got error %v, want refused", name, err)
		}
		if len(out) >= len(honest()) {
			t.Errorf("%s: END was passed on", name)
		}
	}
}

func TestTheEndMustSumUpAll(t *testing.T) {
	var e Encoder
	e.Begin(opening())
	e.Record(Free, nil, Field{toGUID[Free], 8, to}, Field{atObject, 8, 7})
	other := Encoder{sum: e.sum}
	e.Record(Type(99), nil) // only to have another sum
	raw := make([]byte, recordBytes)
	put(raw, Field{0, 4, uint64(End)})
	put(raw, Field{toGUID[End], 8, to})
	other.sum.Add(raw[:sumOffset])
	sum := other.sum.Bytes()
	copy(raw[sumOffset:], sum[:])
	in := append(bytes.Clone(e.Bytes()[:2*recordBytes]), raw...)
	if _, _, err := pass(in, Plan{ToGUID: to}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("got error %v, want corrupt", err)
	}
}

func TestTooLongIsRefused(t *testing.T) {
	in := honest()
	if _, _, err := pass(in, Plan{ToGUID: to, MaxBytes: int64(len(in)) - 1}); !errors.Is(err, dataset.ErrRefused) {
		t.Errorf("got error %v, want refused", err)
	}
}

func TestSmallPieces(t *testing.T) {
	in := honest()
	for name, wrap := range map[string]func(io.Reader) io.Reader{
		"a byte a read": iotest.OneByteReader, "the end with the data": iotest.DataErrReader, "halves": iotest.HalfReader,
	} {
		var out bytes.Buffer
		if _, err := Copy(&out, NewReader(wrap(bytes.NewReader(in))), Plan{ToGUID: to}); err != nil || !bytes.Equal(out.Bytes(), in) {
			t.Errorf("%s: got %d of %d bytes, %v", name, out.Len(), len(in), err)
		}
	}
}

// scratch uses all of what it is given, as io.Reader allows.
type scratch struct{ io.Reader }

func (s scratch) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	for i := range p[n:] {
		p[n+i] = 0xaa
	}
	return n, err
}

func TestWhatASourceScribblesIsNotPassedOn(t *testing.T) {
	in := honest()
	var out bytes.Buffer
	if _, err := Copy(&out, NewReader(scratch{bytes.NewReader(in)}), Plan{ToGUID: to}); err != nil || !bytes.Equal(out.Bytes(), in) {
		t.Errorf("got error %v, and what came out is the input: %v", err, bytes.Equal(out.Bytes(), in))
	}
}

func TestAPlanMustBeOne(t *testing.T) {
	for name, p := range map[string]Plan{
		"no identity": {}, "a negative bound": {ToGUID: to, MaxBytes: -1}, "a key and not raw": {ToGUID: to, Key: Key{1}},
	} {
		if _, _, err := pass(honest(), p); err == nil || errors.Is(err, dataset.ErrRefused) {
			t.Errorf("%s: got error %v, want one about the plan", name, err)
		}
	}
}
