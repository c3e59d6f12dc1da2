package stream

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"antipode/fsdrivers/dataset"
)

// attack is a stream that a hostile sender may send, and what the gate says.
type attack struct {
	version uint32 // 0 is 1
	build   func(*Encoder)
	plan    func(*Plan)
	want    string // part of what is wrong
}

func (a attack) run(t *testing.T) error {
	t.Helper()
	plan := incrementalPlan()
	if a.plan != nil {
		a.plan(&plan)
	}
	in := streamOf(t, max(a.version, 1), incrementalFirst(), a.build)
	out, _, err := pass(in, plan)
	if whole := encoded(t, func() *Encoder { e := NewEncoder(max(a.version, 1)); e.End(); return e }()); err != nil && bytes.HasSuffix(out, whole) {
		t.Error("refused, and its END was still passed on")
	}
	return err
}

func one(c Type, as ...Attr) func(*Encoder) { return func(e *Encoder) { e.Command(c, as...) } }

func mkfile(path string) func(*Encoder) {
	return one(Mkfile, Text(AttrPath, path), Uint64(AttrIno, 1))
}

func mknod(mode uint64) func(*Encoder) {
	return one(Mknod, Text(AttrPath, "n"), Uint64(AttrIno, 1), Uint64(AttrRdev, 0x801), Uint64(AttrMode, mode))
}

func xattr(name string) func(*Encoder) {
	return one(SetXattr, Text(AttrPath, "a"), Text(AttrXattrName, name), Attr{AttrXattrData, []byte("x")})
}

var attacks = map[string]attack{
	// Paths (btrfs receive only puts a directory in front of them).
	"file above the subvolume":     {build: mkfile("../../../x"), want: "not relative and clean"},
	"file above from within":       {build: mkfile("a/../../x"), want: "not relative and clean"},
	"absolute path":                {build: mkfile("/etc/passwd"), want: "not relative and clean"},
	"no path":                      {build: mkfile(""), want: "is empty"},
	"dot":                          {build: mkfile("./a"), want: "not relative and clean"},
	"slash at the end":             {build: mkfile("a/"), want: "not relative and clean"},
	"two slashes":                  {build: mkfile("a//b"), want: "not relative and clean"},
	"NUL hides the rest":           {build: mkfile("a\x00/../b"), want: "not relative and clean"},
	"component of 256 bytes":       {build: mkfile(strings.Repeat("a", 256)), want: "not relative and clean"},
	"path of 4096 bytes":           {build: mkfile(strings.Repeat("a/", 2047) + "ab"), want: "more than 4095"},
	"rename to above":              {build: one(Rename, Text(AttrPath, "a"), Text(AttrPathTo, "../b")), want: "not relative"},
	"rename from above":            {build: one(Rename, Text(AttrPath, "../a"), Text(AttrPathTo, "b")), want: "not relative"},
	"link to above":                {build: one(Link, Text(AttrPath, "a"), Text(AttrPathLink, "../b")), want: "not relative"},
	"link to absolute":             {build: one(Link, Text(AttrPath, "a"), Text(AttrPathLink, "/b")), want: "not relative"},
	"removing the root":            {build: one(Rmdir, Text(AttrPath, "")), want: "is empty"},
	"symlink to nothing":           {build: one(Symlink, Text(AttrPath, "a"), Uint64(AttrIno, 1), Text(AttrPathLink, "")), want: "is empty"},
	"symlink with NUL":             {build: one(Symlink, Text(AttrPath, "a"), Uint64(AttrIno, 1), Text(AttrPathLink, "b\x00c")), want: "NUL"},
	"symlink of 4096 bytes":        {build: one(Symlink, Text(AttrPath, "a"), Uint64(AttrIno, 1), Text(AttrPathLink, strings.Repeat("a", 4096))), want: "more than 4095"},
	"write above the subvolume":    {build: one(Write, write("../x", []byte("x"))...), want: "not relative"},
	"owner of what is above":       {build: one(Chown, Text(AttrPath, ".."), Uint64(AttrUID, 0), Uint64(AttrGID, 0)), want: "not relative"},
	"attribute of what is above":   {build: one(SetXattr, Text(AttrPath, "../a"), Text(AttrXattrName, "user.a"), Attr{AttrXattrData, nil}), want: "not relative"},
	"encoded write above":          {version: 2, build: one(EncodedWrite, append([]Attr{Text(AttrPath, "../a")}, encodedWrite(1, 0, 1)[1:]...)...), want: "not relative"},
	"fallocate above":              {version: 2, build: one(Fallocate, Text(AttrPath, "../a"), Uint32(AttrFallocateMode, 0), Uint64(AttrFileOffset, 0), Uint64(AttrSize, 1)), want: "not relative"},
	"clone of another's file":      {build: one(Clone, clone(idSelf, "../../tenantB/priv/secret", "a")...), want: "not relative"},
	"clone to above":               {build: one(Clone, clone(idSelf, "a", "../b")...), want: "not relative"},
	"clone of base's outside":      {build: one(Clone, clone(idBase, "../secret", "a")...), want: "not relative"},
	"clone from another subvolume": {build: one(Clone, clone(UUID{9}, "secret", "a")...), want: "neither this subvolume nor its base"},
	"clone from our minted id":     {build: one(Clone, clone(idMinted, "secret", "a")...), want: "neither this subvolume nor its base"},
	"clone from nothing":           {build: one(Clone, clone(UUID{}, "secret", "a")...), want: "neither this subvolume nor its base"},

	// What is made.
	"block device":                {build: mknod(0o60660), want: "device nodes are not allowed"},
	"character device":            {build: mknod(0o20666), want: "device nodes are not allowed"},
	"node that is a file":         {build: mknod(0o100644), want: "no device, fifo or socket"},
	"our own user attribute":      {build: xattr("user.antipode.mark"), want: "Antipode's own"},
	"our own trusted attribute":   {build: xattr("trusted.antipode.x"), want: "Antipode's own"},
	"removing our attribute":      {build: one(RemoveXattr, Text(AttrPath, ""), Text(AttrXattrName, "user.antipode.mark")), want: "Antipode's own"},
	"attribute without a name":    {build: xattr(""), want: "no name of an attribute"},
	"attribute with NUL":          {build: xattr("user.a\x00b"), want: "no name of an attribute"},
	"attribute of 256 bytes":      {build: xattr("user." + strings.Repeat("a", 251)), want: "no name of an attribute"},
	"decompression bomb":          {version: 2, build: one(EncodedWrite, encodedWrite(MaxUnencoded+1, 0, 1)...), want: "decompresses to 131073"},
	"decompressed from outside":   {version: 2, build: one(EncodedWrite, encodedWrite(10, 8, 3)...), want: "of 10 decompressed"},
	"decompressed, wrapped round": {version: 2, build: one(EncodedWrite, encodedWrite(10, 1<<63, 1<<63)...), want: "of 10 decompressed"},
	"stream without data":         {build: one(UpdateExtent, Text(AttrPath, "a"), Uint64(AttrFileOffset, 0), Uint64(AttrSize, 1)), want: "--no-data"},

	// Framing.
	"second subvolume":            {build: func(e *Encoder) { e.First(fullFirst()) }, want: "a second subvolume"},
	"second snapshot":             {build: func(e *Encoder) { e.First(incrementalFirst()) }, want: "a second subvolume"},
	"second stream":               {build: func(e *Encoder) { e.End(); e.Header(); e.First(fullFirst()) }, want: "follows the end"},
	"second end":                  {build: func(e *Encoder) { e.End() }, want: "follows the end"},
	"end that carries something":  {build: one(End, Text(AttrPath, "a")), want: "attribute 15, which it never has"},
	"command 0":                   {build: one(0), want: "unknown command"},
	"command 26, fs-verity":       {version: 2, build: one(26, Text(AttrPath, "a")), want: "unknown command"},
	"command 65535":               {build: one(65535), want: "unknown command"},
	"version 2 in version 1":      {build: one(Fileattr, Text(AttrPath, "a"), Uint64(AttrFileattr, 0)), want: "unknown command in version 1"},
	"attribute 0":                 {build: one(Unlink, Attr{0, nil}), want: "unknown attribute 0"},
	"attribute 32":                {build: one(Unlink, Attr{32, nil}), want: "unknown attribute 32"},
	"attribute 65535":             {build: one(Unlink, Attr{65535, nil}), want: "unknown attribute 65535"},
	"clean path before a bad one": {build: one(Unlink, Text(AttrPath, "a"), Text(AttrPath, "../b")), want: "there twice"},
	"missing attribute":           {build: one(Rename, Text(AttrPath, "a")), want: "lacks attribute 16"},
	"attribute of another":        {build: one(Unlink, Text(AttrPath, "a"), Text(AttrPathTo, "b")), want: "carries attribute 16"},
	"number of seven bytes":       {build: one(Truncate, Text(AttrPath, "a"), Attr{AttrSize, make([]byte, 7)}), want: "has 7 bytes, want 8"},
	"clone source of 15 bytes":    {build: one(Clone, ID(AttrUUID, idSelf), Attr{AttrCloneUUID, make([]byte, 15)}), want: "has 15 bytes, want 16"},
	"attribute beyond its command": {build: func(e *Encoder) {
		e.Command(Unlink, Text(AttrPath, "ab"))
		raw := e.buf[len(e.buf)-commandBytes-6:]
		raw[commandBytes+2] = 3
		Command{Raw: raw}.seal()
	}, want: "longer than its command"},
	"one byte of an attribute": {build: func(e *Encoder) {
		e.Command(Unlink, Text(AttrPath, "ab"))
		raw := append(e.buf[len(e.buf)-commandBytes-6:], 1)
		raw[0]++
		Command{Raw: raw}.seal()
		e.buf = append(e.buf, 1)
	}, want: "cut off"},
	"64 KiB and more in version 1": {build: one(Write, write("a", make([]byte, MaxCommandV1-20))...), want: "more than 65536"},
	"1 MiB and more in version 2":  {version: 2, build: one(Write, write("a", make([]byte, MaxCommandV2))...), want: "more than 1048576"},

	// Not what was announced.
	"another subvolume":      {plan: func(p *Plan) { p.UUID = UUID{8} }, want: "announced was 08000000-"},
	"another base":           {plan: func(p *Plan) { p.ParentUUID = UUID{8} }, want: "announced was 08000000-"},
	"incremental for full":   {plan: func(p *Plan) { p.ParentUUID, p.MintedParent = UUID{}, UUID{} }, want: "announced was a full stream"},
	"longer than it may be":  {plan: func(p *Plan) { p.MaxBytes = 100 }, build: mkfile("a"), want: "longer than the 100 bytes"},
	"first already too long": {plan: func(p *Plan) { p.MaxBytes = 20 }, want: "longer than the 20 bytes"},
}

func TestGateRefuses(t *testing.T) {
	for name, a := range attacks {
		t.Run(name, func(t *testing.T) {
			err := a.run(t)
			var refused *RefusedError
			if !errors.As(err, &refused) || !errors.Is(err, dataset.ErrRefused) {
				t.Fatalf("error = %v, want a RefusedError", err)
			}
			if !strings.Contains(refused.What, a.want) {
				t.Errorf("what = %q, want it to say %q", refused.What, a.want)
			}
			if errors.Is(err, ErrCorrupt) {
				t.Error("the case's checksum is wrong: it tests nothing else")
			}
		})
	}
}

func TestRefusalNamesCommandAndPath(t *testing.T) {
	err := attack{build: func(e *Encoder) {
		mkfile("dir/a")(e)
		e.Command(Mknod, Text(AttrPath, "dir/sda"), Uint64(AttrIno, 1), Uint64(AttrRdev, 0), Uint64(AttrMode, 0o60660))
	}}.run(t)
	want := `btrfs stream refused at command 2, MKNOD of "dir/sda": device nodes are not allowed here`
	if err == nil || err.Error() != want {
		t.Errorf("error = %v, want %s", err, want)
	}
}

func TestFullStreamMustNotNameABase(t *testing.T) {
	in := streamOf(t, 1, fullFirst(), nil)
	if _, _, err := pass(in, fullPlan()); err != nil {
		t.Errorf("full for full: %v", err)
	}
	if _, _, err := pass(in, incrementalPlan()); !errors.Is(err, dataset.ErrRefused) {
		t.Errorf("full for incremental: error = %v, want ErrRefused", err)
	}
	in = streamOf(t, 1, fullFirst(), one(Clone, clone(UUID{}, "a", "b")...))
	if _, _, err := pass(in, fullPlan()); !errors.Is(err, dataset.ErrRefused) {
		t.Errorf("full that clones from no UUID: error = %v, want ErrRefused", err)
	}
}

func TestMaxBytesIsExact(t *testing.T) {
	in := honestStream(t, 2)
	plan := incrementalPlan()
	plan.MaxBytes = int64(len(in))
	if _, _, err := pass(in, plan); err != nil {
		t.Errorf("a stream of exactly MaxBytes: %v", err)
	}
	plan.MaxBytes--
	if _, _, err := pass(in, plan); !errors.Is(err, dataset.ErrRefused) {
		t.Errorf("one byte more than MaxBytes: error = %v, want ErrRefused", err)
	}
}

func TestDevicesPassWhereAllowed(t *testing.T) {
	for _, mode := range []uint64{0o60660, 0o20666} {
		if err := (attack{build: mknod(mode), plan: func(p *Plan) { p.AllowDevices = true }}).run(t); err != nil {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
}

func TestStreamMustOpenRight(t *testing.T) {
	good := honestStream(t, 1)
	open := func(build func(*Encoder)) []byte {
		e := NewEncoder(1)
		e.Header()
		build(e)
		e.End()
		return encoded(t, e)
	}
	version := func(v uint32) []byte {
		b := bytes.Clone(good)
		binary.LittleEndian.PutUint32(b[len(magic):], v)
		return b
	}
	huge := func(b []byte) []byte {
		b = bytes.Clone(b)
		binary.LittleEndian.PutUint32(b[headerBytes:], 0xC0000000)
		return b
	}
	for name, in := range map[string][]byte{
		"no stream":             []byte("#!/bin/sh\nrm -rf /; exit 0\n"),
		"version 0":             version(0),
		"version 3":             version(3),
		"file first":            open(mkfile("a")),
		"end first":             open(func(*Encoder) {}),
		"name above":            open(func(e *Encoder) { e.First(First{Name: "../x", UUID: idSelf}) }),
		"no name":               open(func(e *Encoder) { e.First(First{UUID: idSelf}) }),
		"snapshot of nothing":   open(one(Snapshot, Text(AttrPath, "s"), ID(AttrUUID, idSelf), Uint64(AttrCtransid, 1), ID(AttrCloneUUID, UUID{}), Uint64(AttrCloneCtransid, 1))),
		"subvolume with source": open(one(Subvol, Text(AttrPath, "s"), ID(AttrUUID, idSelf), Uint64(AttrCtransid, 1), ID(AttrCloneUUID, idBase), Uint64(AttrCloneCtransid, 1))),
		"UUID of 15 bytes":      open(one(Subvol, Text(AttrPath, "s"), Attr{AttrUUID, make([]byte, 15)}, Uint64(AttrCtransid, 1))),
		"3 GiB long":            huge(good),
	} {
		out, _, err := pass(in, incrementalPlan())
		if !errors.Is(err, dataset.ErrRefused) || len(out) != 0 {
			t.Errorf("%s: error %v, %d bytes passed on, want ErrRefused and none", name, err, len(out))
		}
	}
	if _, _, err := pass(nil, incrementalPlan()); !errors.Is(err, dataset.ErrCut) {
		t.Errorf("empty: error = %v, want ErrCut", err)
	}
}

func TestNothingOfARefusedCommandIsPassedOn(t *testing.T) {
	in := streamOf(t, 1, incrementalFirst(), func(e *Encoder) {
		mkfile("good")(e)
		e.Command(Symlink, Text(AttrPath, "l"), Uint64(AttrIno, 1), Text(AttrPathLink, "marker"))
		e.Command(Write, write("../evil", []byte("evil"))...)
	})
	out, _, err := pass(in, incrementalPlan())
	if err == nil || bytes.Contains(out, []byte("evil")) {
		t.Errorf("error %v, passed on %q, want a refusal and nothing of the command", err, out)
	}
}
