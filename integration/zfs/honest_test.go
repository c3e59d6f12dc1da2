//go:build zfs

package zfs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"antipode/fsdrivers/zfs/stream"
	"antipode/fsdrivers/zfs/token"
)

// odd is a dataset that makes unusual streams, and with which flags it is sent.
type odd struct {
	name, options string
	plain, secret []string
}

// odds have big and small blocks, each kind of compression, big dnodes, and spilled
// ones where dnodes are small.
var odds = []odd{
	{"small", "recordsize=512 compression=off dnodesize=legacy", []string{"", "-e"}, []string{"-w"}},
	{"middle", "recordsize=128k compression=lz4 dnodesize=auto", []string{"-e -L -c", "-c"}, []string{"-w", "-L -c"}},
	{"big", "recordsize=4m compression=zstd dnodesize=16k", []string{"-L -c", "-L", ""}, []string{"-w"}},
	{"volume", "volblocksize=4k compression=lz4", []string{"-L -c", ""}, []string{"-w"}},
}

// TestHonestStreamsPassTheGate: the gate refuses nothing that zfs send makes. What
// is received through it is sent on, and passes again.
func TestHonestStreamsPassTheGate(t *testing.T) {
	key := " encryption=aes-256-gcm keyformat=raw keylocation=file://" + keyFile(t)
	types, features := make(map[stream.Type]int), stream.Features(0)
	for _, ashift := range []int{9, 12} {
		from, to := poolOf(t, "from", ashift), poolOf(t, "to", 21-ashift)
		for _, o := range odds {
			if ashift == 12 { // it matters to how blocks are packed
				if o.name == "small" {
					continue
				}
				o.plain, o.secret = o.plain[:1], o.secret[:1]
			}
			t.Run(fmt.Sprintf("%s from sectors of %d bytes", o.name, 1<<ashift), func(t *testing.T) {
				s := sender{t, types, &features}
				s.honest(from+"/"+o.name, to+"/"+o.name, o.options, o.plain)
				s.honest(from+"/"+o.name+"-secret", to+"/"+o.name+"-secret", o.options+key, o.secret)
			})
		}
	}
	for _, want := range []stream.Type{
		stream.Object, stream.FreeObjects, stream.Write, stream.Free, stream.Spill, stream.WriteEmbedded, stream.ObjectRange,
	} {
		if types[want] == 0 {
			t.Errorf("no stream had a record %v", want)
		}
	}
	want := stream.Allowed&^(stream.SwitchToLargeBlocks|stream.LongName|stream.LargeMicrozap) | stream.EmbedData | stream.Raw | stream.Resuming
	if features&want != want {
		t.Errorf("no stream had %v", want&^features)
	}
	t.Logf("records of each type: %v; features: %v", types, features)
}

// sender counts what was in the streams that it sends.
type sender struct {
	t        *testing.T
	types    map[stream.Type]int
	features *stream.Features
}

// honest makes a dataset, and sends it in all ways.
func (s sender) honest(ds, replica, options string, flags []string) {
	t := s.t
	t.Helper()
	args := append([]string{"create"}, strings.Fields("-o "+strings.ReplaceAll(options, " ", " -o "))...)
	isVolume := strings.HasPrefix(options, "vol")
	if isVolume {
		args = append(args, "-s", "-V", volumeSize)
	} else {
		args = append(args, "-o", "xattr=sa")
	}
	must(t, "zfs", append(args, ds)...)
	fill(t, ds, isVolume)
	must(t, "zfs", "snapshot", ds+"@1")
	must(t, "zfs", "bookmark", ds+"@1", ds+"#1")
	refill(t, ds, isVolume)
	must(t, "zfs", "snapshot", ds+"@2")
	plan := stream.Plan{FromGUID: guidOf(t, ds+"@1"), ToGUID: guidOf(t, ds+"@2"), Features: stream.Allowed | stream.EmbedData}
	first := plan
	first.FromGUID, first.ToGUID = 0, plan.FromGUID
	for i, how := range flags {
		first.Raw, plan.Raw = how == "-w", how == "-w"
		at := fmt.Sprint(replica, i)
		whole := s.gated(first, "send "+how+" "+ds+"@1")
		receiveThroughGate(t, at, whole)
		if i == 0 {
			s.resumed(first, whole, replica+"-resumed")
			s.gated(plan, "send "+how+" -i "+ds+"#1 "+ds+"@2")
		}
		receiveThroughGate(t, at, s.gated(plan, "send "+how+" -i "+ds+"@1 "+ds+"@2"))
		if i == 0 && how != "" {
			s.gated(first, "send "+how+" "+at+"@1")
			s.gated(plan, "send "+how+" -i "+at+"@1 "+at+"@2")
		}
	}
}

// poolOf makes a pool on a file, whose sectors are that big.
func poolOf(t *testing.T, name string, ashift int) string {
	t.Helper()
	pool := fmt.Sprintf("antipode-%s%d", name, ashift)
	file := filepath.Join(t.TempDir(), pool)
	f, err := os.Create(file)
	if err == nil {
		err = errors.Join(f.Truncate(1<<30), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	must(t, "zpool", "create", "-o", "cachefile=none", "-o", fmt.Sprint("ashift=", ashift), "-m", filepath.Join(t.TempDir(), "at"), pool, file)
	t.Cleanup(func() { run(t, "zpool", "destroy", "-f", pool) })
	return pool
}

func must(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := run(t, name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

func guidOf(t *testing.T, name string) (n uint64) {
	t.Helper()
	if _, err := fmt.Sscan(must(t, "zfs", "get", "-Hp", "-o", "value", "guid", name), &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// gated is what zfs writes, which has passed the gate.
func (s sender) gated(plan stream.Plan, send string) []byte {
	t := s.t
	t.Helper()
	in := raw(t, strings.Fields(send)...)
	var out bytes.Buffer
	st, err := stream.Copy(&out, stream.NewReader(bytes.NewReader(in)), plan)
	if err != nil || !bytes.Equal(out.Bytes(), in) {
		t.Errorf("zfs %s: got error %v and %d of %d bytes, want all", send, err, out.Len(), len(in))
	}
	t.Logf("zfs %.80s: %d records, %d bytes", send, st.Records, st.Bytes)
	r := stream.NewReader(bytes.NewReader(in))
	if o, err := stream.Head(r); err == nil {
		*s.features |= o.Features
	}
	for rec, err := r.Next(); err == nil && rec.Type != stream.End; rec, err = r.Next() {
		s.types[rec.Type]++
	}
	return in
}

func receiveThroughGate(t *testing.T, replica string, in []byte) {
	t.Helper()
	cmd := exec.Command("zfs", "receive", "-u", replica)
	cmd.Stdin = bytes.NewReader(in)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("zfs receive %s: %v: %s", replica, err, out)
	}
}

// resumed cuts a stream, and goes on with what the token asks for.
func (s sender) resumed(plan stream.Plan, whole []byte, replica string) {
	t := s.t
	t.Helper()
	cmd := exec.Command("zfs", "receive", "-s", "-u", replica)
	cmd.Stdin = bytes.NewReader(whole[:len(whole)*6/10])
	if err := cmd.Run(); err == nil {
		t.Fatal("a cut stream was received")
	}
	text := must(t, "zfs", "get", "-Hp", "-o", "value", "receive_resume_token", replica)
	k, err := token.Parse(text)
	if err != nil {
		t.Fatalf("token %q: %v", text, err)
	}
	plan.Resume = &k.Position
	receiveThroughGate(t, replica, s.gated(plan, "send -t "+text))
}

// fill writes files of all sizes, of which some spill, and have many names.
func fill(t *testing.T, ds string, isVolume bool) {
	t.Helper()
	if isVolume {
		if err := (volumes{}).write(t, ds, "a", append(noise(300_000), make([]byte, 1<<20)...)); err != nil {
			t.Fatal(err)
		}
		return
	}
	at := must(t, "zfs", "get", "-H", "-o", "value", "mountpoint", ds)
	for i := range 150 {
		file(t, at, fmt.Sprint("small", i), 0, noise(1+i*97))
	}
	for i := range 20 {
		name := file(t, at, fmt.Sprint("spilled", i), 0, bytes.Repeat([]byte("text "), 1+i*2000))
		for j := range 3 {
			if err := unix.Setxattr(name, fmt.Sprint("user.x", j), noise(700+i*100), 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	file(t, at, "empty", 0, nil)
	file(t, at, "tiny", 0, []byte("fits into a block pointer, packed "+strings.Repeat(" ", 400)))
	file(t, at, "sparse", 1<<32, noise(5000))
	file(t, at, "noise", 0, noise(900_000))
	file(t, at, "text", 0, bytes.Repeat([]byte("some text that packs well. "), 30_000))
	if err := os.Truncate(file(t, at, "hole", 0, nil), 5<<30); err != nil {
		t.Fatal(err)
	}
}

// refill frees objects, and makes new ones of other sizes under their numbers.
func refill(t *testing.T, ds string, isVolume bool) {
	t.Helper()
	if isVolume {
		if err := (volumes{}).write(t, ds, "a", append(make([]byte, 200_000), noise(400_000)...)); err != nil {
			t.Fatal(err)
		}
		return
	}
	at := must(t, "zfs", "get", "-H", "-o", "value", "mountpoint", ds)
	free := make(map[uint64]bool)
	for i := range 150 {
		if i%5 != 0 {
			name := filepath.Join(at, fmt.Sprint("small", i))
			free[inode(t, name)] = true
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	must(t, "zfs", "set", "dnodesize=2k", ds)
	// Mounted anew it looks for free objects from the beginning.
	must(t, "zfs", "unmount", ds)
	must(t, "zfs", "mount", ds)
	again := 0
	for i := range 100 {
		if free[inode(t, file(t, at, fmt.Sprint("new", i), 0, noise(200_000-i*1900)))] {
			again++
		}
	}
	if again == 0 {
		t.Error("no object was used again")
	}
	for i := range 10 { // their spill stays as it is
		file(t, at, fmt.Sprint("spilled", i), 1<<20, []byte("more"))
	}
	if err := errors.Join(os.Truncate(filepath.Join(at, "noise"), 700), os.Truncate(filepath.Join(at, "text"), 300_000)); err != nil {
		t.Fatal(err)
	}
	file(t, at, "sparse", 1<<20, noise(300_000))
}

// file writes data at an offset of a file.
func file(t *testing.T, at, name string, offset int64, data []byte) string {
	t.Helper()
	name = filepath.Join(at, name)
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o644)
	if err == nil {
		_, err = f.WriteAt(data, offset)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func inode(t *testing.T, name string) uint64 {
	t.Helper()
	var s unix.Stat_t
	if err := unix.Stat(name, &s); err != nil {
		t.Fatal(err)
	}
	return s.Ino
}
