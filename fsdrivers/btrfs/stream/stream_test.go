package stream

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"antipode/fsdrivers/dataset"
)

var (
	idSelf       = UUID{0x11, 1}
	idBase       = UUID{0x22, 2}
	idMinted     = UUID{0x33, 3}
	idMintedBase = UUID{0x44, 4}
)

func fullPlan() Plan { return Plan{UUID: idSelf} }

func oneSegment() Segment { return Segment{Name: "seg.0", UUID: idMinted} }

func incrementalPlan() Plan {
	return Plan{UUID: idSelf, ParentUUID: idBase, MintedParent: idMintedBase}
}

func fullFirst() First { return First{Name: "s1", UUID: idSelf, Ctransid: 7} }

func incrementalFirst() First {
	return First{Name: "s1", UUID: idSelf, Ctransid: 9, CloneUUID: idBase, CloneCtransid: 7}
}

func encoded(t testing.TB, e *Encoder) []byte {
	t.Helper()
	b, err := e.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// streamOf frames what build adds between the first command and the last.
func streamOf(t testing.TB, version uint32, f First, build func(*Encoder)) []byte {
	t.Helper()
	e := NewEncoder(version)
	e.Header()
	e.First(f)
	if build != nil {
		build(e)
	}
	e.End()
	return encoded(t, e)
}

func clone(source UUID, from, to string) []Attr {
	return []Attr{
		Uint64(AttrFileOffset, 0), Uint64(AttrCloneLen, 4096), Text(AttrPath, to), ID(AttrCloneUUID, source),
		Uint64(AttrCloneCtransid, 7), Text(AttrClonePath, from), Uint64(AttrCloneOffset, 0),
	}
}

func write(path string, data []byte) []Attr {
	return []Attr{Text(AttrPath, path), Uint64(AttrFileOffset, 0), {AttrData, data}}
}

// honest adds one of every command that a sender may send.
func honest(version uint32, base UUID) func(*Encoder) {
	return func(e *Encoder) {
		ino := Uint64(AttrIno, 257)
		at := []Attr{Time(AttrAtime, 1, 2), Time(AttrMtime, 3, 4), Time(AttrCtime, 5, 6)}
		e.Command(Chown, Text(AttrPath, ""), Uint64(AttrUID, 0), Uint64(AttrGID, 0))
		e.Command(Mkdir, Text(AttrPath, "o257-7-0"), ino)
		e.Command(Rename, Text(AttrPath, "o257-7-0"), Text(AttrPathTo, "d é"))
		e.Command(Mkfile, Text(AttrPath, "d é/a"), ino)
		e.Command(Write, write("d é/a", bytes.Repeat([]byte("data"), 100))...)
		e.Command(Clone, clone(idSelf, "d é/a", "d é/b")...)
		e.Command(Clone, clone(base, "old", "d é/b")...)
		e.Command(Symlink, Text(AttrPath, "l"), ino, Text(AttrPathLink, "../../etc/passwd"))
		e.Command(Mkfifo, Text(AttrPath, "f"), ino, Uint64(AttrRdev, 0), Uint64(AttrMode, 0o10644))
		e.Command(Mksock, Text(AttrPath, "s"), ino, Uint64(AttrRdev, 0), Uint64(AttrMode, 0o140644))
		e.Command(Mknod, Text(AttrPath, "n"), ino, Uint64(AttrRdev, 0), Uint64(AttrMode, 0o10644))
		e.Command(Link, Text(AttrPath, "h"), Text(AttrPathLink, "d é/a"))
		e.Command(SetXattr, Text(AttrPath, ""), Text(AttrXattrName, "security.capability"), Attr{AttrXattrData, []byte{0, 1}})
		e.Command(SetXattr, Text(AttrPath, "d é/a"), Text(AttrXattrName, "user.empty"), Attr{AttrXattrData, nil})
		e.Command(RemoveXattr, Text(AttrPath, "d é/a"), Text(AttrXattrName, "user.antipodes"))
		e.Command(Truncate, Text(AttrPath, "d é/a"), Uint64(AttrSize, 400))
		e.Command(Chmod, Text(AttrPath, "d é/a"), Uint64(AttrMode, 0o6755))
		e.Command(Unlink, Text(AttrPath, "h"))
		e.Command(Rmdir, Text(AttrPath, "gone"))
		if version >= 2 {
			e.Command(Fallocate, Text(AttrPath, "a"), Uint32(AttrFallocateMode, 3), Uint64(AttrFileOffset, 0), Uint64(AttrSize, 9))
			e.Command(Fileattr, Text(AttrPath, ""), Uint64(AttrFileattr, 0x10))
			e.Command(EncodedWrite, encodedWrite(MaxUnencoded, 0, MaxUnencoded)...)
			at = append(at, Time(AttrOtime, 7, 8))
		}
		e.Command(Utimes, append([]Attr{Text(AttrPath, "")}, at...)...)
	}
}

func encodedWrite(length, offset, file uint64) []Attr {
	return []Attr{
		Text(AttrPath, "a"), Uint64(AttrFileOffset, 0), Uint64(AttrUnencodedFileLen, file), Uint64(AttrUnencodedLen, length),
		Uint64(AttrUnencodedOffset, offset), Uint32(AttrCompression, 2),
		{AttrData, []byte("zzz")},
	}
}

func honestStream(t testing.TB, version uint32) []byte {
	return streamOf(t, version, incrementalFirst(), honest(version, idBase))
}

// buffers spares the tests that make a Reader for every bit and every cut the
// clearing of its buffer, which takes longer than the rest.
var buffers = sync.Pool{New: func() any { return make([]byte, bufferBytes) }}

func pass(in []byte, p Plan) ([]byte, Position, error) {
	buf := buffers.Get().([]byte)
	defer buffers.Put(buf) //nolint:staticcheck // one word of garbage is fine here
	var out bytes.Buffer
	st, err := Copy(&out, &Reader{src: bytes.NewReader(in), buf: buf}, p, oneSegment())
	return out.Bytes(), st, err
}

// identities collects what a stream names, without the gate.
func identities(t testing.TB, in []byte) (f First, sources []UUID) {
	t.Helper()
	r := NewReader(bytes.NewReader(in))
	f, err := Head(r)
	if err != nil {
		t.Fatal(err)
	}
	for {
		c, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		var a attrs
		if what := a.parse(r.Version(), c.body()); what != "" {
			t.Fatal(what)
		}
		if c.Type == Clone {
			sources = append(sources, a.uuid(AttrCloneUUID))
		}
		if c.Type == End {
			return f, sources
		}
	}
}

func TestCopyRewritesIdentitiesAndNothingElse(t *testing.T) {
	for _, version := range []uint32{1, 2} {
		in := honestStream(t, version)
		for name, wrap := range map[string]func(io.Reader) io.Reader{
			"at once": func(r io.Reader) io.Reader { return r }, "by byte": iotest.OneByteReader,
			"by halves": iotest.HalfReader, "end with data": iotest.DataErrReader,
		} {
			t.Run(name, func(t *testing.T) {
				var out bytes.Buffer
				st, err := Copy(&out, NewReader(wrap(bytes.NewReader(in))), incrementalPlan(), oneSegment())
				if err != nil {
					t.Fatal(err)
				}
				first := incrementalFirst()
				first.Name, first.UUID, first.CloneUUID = "seg.0", idMinted, idMintedBase
				want := streamOf(t, version, first, func(e *Encoder) { honest(version, idBase)(e) })
				want = replaceSources(want)
				if !bytes.Equal(out.Bytes(), want) {
					t.Errorf("version %d: the rewritten stream differs from the one made so", version)
				}
				if st.Done != int64(len(in)-commandBytes) || st.First.Ctransid != 9 {
					t.Errorf("it ended at %+v, want %d bytes before END and transaction 9", st, len(in)-commandBytes)
				}
			})
		}
	}
}

// replaceSources does the slow way what the rewriter does in place.
func replaceSources(b []byte) []byte {
	b = bytes.ReplaceAll(b, idSelf[:], idMinted[:])
	return reseal(bytes.ReplaceAll(b, idBase[:], idMintedBase[:]))
}

// reseal makes every checksum right, as far as b is made of commands.
func reseal(b []byte) []byte {
	b = bytes.Clone(b)
	for p := b[min(headerBytes, len(b)):]; len(p) >= commandBytes; {
		n := int64(binary.LittleEndian.Uint32(p)) + commandBytes
		if n > int64(len(p)) {
			break
		}
		Command{Raw: p[:n]}.seal()
		p = p[n:]
	}
	return b
}

func TestHeadTellsWhatTheStreamMakesBeforeCopy(t *testing.T) {
	r := NewReader(bytes.NewReader(honestStream(t, 2)))
	for range 2 {
		got, err := Head(r)
		if want := incrementalFirst(); err != nil || got != want {
			t.Fatalf("Head = %+v, %v, want %+v", got, err, want)
		}
	}
	var out bytes.Buffer
	if want := int64(boundaries(honestStream(t, 2))[2]); r.Bytes() != want || r.Version() != 2 {
		t.Errorf("after Head: %d bytes of version %d, want %d of version 2", r.Bytes(), r.Version(), want)
	}
	if _, err := Copy(&out, r, incrementalPlan(), oneSegment()); err != nil {
		t.Fatal(err)
	}
	f, sources := identities(t, out.Bytes())
	if f.Name != "seg.0" || f.UUID != idMinted || f.CloneUUID != idMintedBase || f.Ctransid != 9 || f.CloneCtransid != 7 {
		t.Errorf("opening = %+v, want our name, minted identities and the sender's transaction ids", f)
	}
	if len(sources) != 2 || sources[0] != idMinted || sources[1] != idMintedBase {
		t.Errorf("clone sources = %v, want the minted ones", sources)
	}
}

// boundaries are the offsets at which a command begins, and the stream's length.
func boundaries(b []byte) []int {
	at := []int{0, headerBytes}
	for at[len(at)-1] < len(b) {
		i := at[len(at)-1]
		at = append(at, i+commandBytes+int(binary.LittleEndian.Uint32(b[i:])))
	}
	return at
}

func TestCutAnywhereIsNeverTheEnd(t *testing.T) {
	in := honestStream(t, 2)
	end := encoded(t, func() *Encoder { e := NewEncoder(2); e.End(); return e }())
	offsets := boundaries(in)
	offsets = offsets[:len(offsets)-1]
	for range 200 {
		offsets = append(offsets, rand.IntN(len(in)))
	}
	for _, n := range offsets {
		out, _, err := pass(in[:n], incrementalPlan())
		if !errors.Is(err, dataset.ErrCut) {
			t.Errorf("cut at byte %d: error %v, want ErrCut", n, err)
		}
		if bytes.HasSuffix(out, end) {
			t.Errorf("cut at byte %d: an END was passed on", n)
		}
	}
}

func TestSourceThatFailsIsNamed(t *testing.T) {
	broken := errors.New("lane down")
	in := honestStream(t, 1)
	r := NewReader(io.MultiReader(bytes.NewReader(in[:100]), iotest.ErrReader(broken)))
	_, err := Copy(io.Discard, r, incrementalPlan(), oneSegment())
	if !errors.Is(err, dataset.ErrCut) || !errors.Is(err, broken) {
		t.Errorf("error = %v, want ErrCut and the source's own", err)
	}
	r = NewReader(io.MultiReader(bytes.NewReader(in), iotest.ErrReader(broken)))
	_, err = Copy(io.Discard, r, incrementalPlan(), oneSegment())
	if !errors.Is(err, dataset.ErrCut) || !errors.Is(err, broken) {
		t.Errorf("failing after END: error = %v, want ErrCut and the source's own", err)
	}
}

func TestEverySingleBitFlipIsDetected(t *testing.T) {
	for _, version := range []uint32{1, 2} {
		in := honestStream(t, version)
		for bit := range len(in) * 8 {
			in[bit/8] ^= 1 << (bit % 8)
			_, _, err := pass(in, incrementalPlan())
			if !errors.Is(err, dataset.ErrRefused) && !errors.Is(err, dataset.ErrCut) {
				t.Fatalf("version %d, bit %d of byte %d flipped: error %v, want refused or cut", version, bit%8, bit/8, err)
			}
			in[bit/8] ^= 1 << (bit % 8)
		}
	}
}

func TestChecksumErrorIsCorrupt(t *testing.T) {
	in := honestStream(t, 1)
	in[len(in)-1] ^= 1
	_, _, err := pass(in, incrementalPlan())
	if !errors.Is(err, ErrCorrupt) || !errors.Is(err, dataset.ErrRefused) {
		t.Errorf("error = %v, want ErrCorrupt", err)
	}
}

func TestWriterThatFailsEndsTheCopy(t *testing.T) {
	broken := errors.New("pipe broke")
	r, w := io.Pipe()
	r.CloseWithError(broken)
	_, err := Copy(w, NewReader(bytes.NewReader(honestStream(t, 1))), incrementalPlan(), oneSegment())
	if !errors.Is(err, broken) || errors.Is(err, dataset.ErrRefused) || errors.Is(err, dataset.ErrCut) {
		t.Errorf("error = %v, want the writer's own only", err)
	}
}

func TestPlanThatIsNone(t *testing.T) {
	for name, change := range map[string]func(*Plan){
		"no identity":      func(p *Plan) { p.UUID = UUID{} },
		"base not minted":  func(p *Plan) { p.MintedParent = UUID{} },
		"bound below zero": func(p *Plan) { p.MaxBytes = -1 },
		"base only minted": func(p *Plan) { p.ParentUUID = UUID{} },
	} {
		p := incrementalPlan()
		change(&p)
		if out, _, err := pass(honestStream(t, 1), p); err == nil || len(out) > 0 {
			t.Errorf("%s: error %v, %d bytes out, want an error and none", name, err, len(out))
		}
	}
}

func TestSizeOfStreamWithoutData(t *testing.T) {
	in := streamOf(t, 1, fullFirst(), func(e *Encoder) {
		e.Command(UpdateExtent, Text(AttrPath, "a"), Uint64(AttrFileOffset, 0), Uint64(AttrSize, 1<<20))
		e.Command(UpdateExtent, Text(AttrPath, "b"), Uint64(AttrFileOffset, 0), Uint64(AttrSize, 5))
	})
	got, err := Size(bytes.NewReader(in))
	if want := int64(1<<20 + 5 + len(in)); err != nil || got != want {
		t.Errorf("Size = %d, %v, want %d", got, err, want)
	}
	if _, err := Size(bytes.NewReader(in[:len(in)-1])); !errors.Is(err, dataset.ErrCut) {
		t.Errorf("cut: error = %v, want ErrCut", err)
	}
	huge := streamOf(t, 1, fullFirst(), func(e *Encoder) {
		for range 3 {
			e.Command(UpdateExtent, Text(AttrPath, "a"), Uint64(AttrFileOffset, 0), Uint64(AttrSize, 1<<63))
		}
	})
	if got, err := Size(bytes.NewReader(huge)); err != nil || got <= 0 {
		t.Errorf("absurd extents: Size = %d, %v, want a positive number", got, err)
	}
}

func TestEncoderRefusesWhatTheFormatCannotHold(t *testing.T) {
	long := NewEncoder(1)
	long.Command(Write, write("a", make([]byte, 1<<16))...)
	if _, err := long.Bytes(); err == nil {
		t.Error("64 KiB in an attribute of version 1: no error")
	}
	early := NewEncoder(2)
	early.Command(Write, Attr{AttrData, nil}, Text(AttrPath, "a"))
	if _, err := early.Bytes(); err == nil {
		t.Error("data before the path in version 2: no error")
	}
}

func TestUUIDText(t *testing.T) {
	u := NewUUID()
	got, err := ParseUUID(strings.ToUpper(u.String()))
	if err != nil || got != u || u.IsZero() {
		t.Errorf("ParseUUID(%v) = %v, %v", u, got, err)
	}
	if NewUUID() == u {
		t.Error("two drawn UUIDs are equal")
	}
	for _, bad := range []string{"", "x", strings.Repeat("a", 36), u.String() + "0", "{" + u.String()[1:], "-" + u.String()[1:]} {
		if got, err := ParseUUID(bad); err == nil {
			t.Errorf("ParseUUID(%q) = %v, want an error", bad, got)
		}
	}
}

func TestSegmentThatIsNone(t *testing.T) {
	for name, change := range map[string]func(*Segment){
		"nothing minted":     func(s *Segment) { s.UUID = UUID{} },
		"name with a slash":  func(s *Segment) { s.Name = "../x" },
		"no name":            func(s *Segment) { s.Name = "" },
		"name is the parent": func(s *Segment) { s.Name = ".." },
	} {
		s := oneSegment()
		change(&s)
		var out bytes.Buffer
		if _, err := Copy(&out, NewReader(bytes.NewReader(honestStream(t, 1))), incrementalPlan(), s); err == nil || out.Len() > 0 {
			t.Errorf("%s: error %v, %d bytes out, want an error and none", name, err, out.Len())
		}
	}
}
