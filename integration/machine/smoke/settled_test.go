//go:build zfs

package smoke

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// halfReceived leaves dst with the first half of a stream and returns the token.
func halfReceived(t *testing.T, stream []byte, target string, args ...string) token {
	t.Helper()
	args = append([]string{"-s", "-u"}, append(args, target)...)
	if out, err := receive(t, stream[:len(stream)/2], args...); err == nil {
		t.Fatalf("half a stream was received: %s", out)
	}
	fs, _, _ := strings.Cut(target, "@")
	return parseToken(t, value(t, "receive_resume_token", fs))
}

// withData makes a filesystem with 4 MiB and snapshot @a.
func withData(t *testing.T, name string, options ...string) string {
	t.Helper()
	fs := dataset(t, name, options...)
	must(t, fmt.Sprintf("head -c 4M /dev/urandom >/%[1]s/data; zfs snapshot %[1]s@a", fs))
	return fs
}

const encrypted = "-o encryption=on -o keyformat=raw -o keylocation=file:///tmp/key"

func makeKey(t *testing.T) {
	t.Helper()
	must(t, "[ -e /tmp/key ] || head -c 32 /dev/urandom >/tmp/key")
}

// Settled: may a token that was packed by another zlib, from fields of our own, be used?
func TestMintedTokenIsAccepted(t *testing.T) {
	src, dst := pools(t)
	fs := withData(t, src+"/mint")
	stream := send(t, "-Lc", fs+"@a")
	target := dst + "/mint"
	t.Cleanup(func() { destroy(t, target) })
	k := halfReceived(t, stream, target+"@a")
	t.Logf("fields: %v", k.names())
	original, minted := value(t, "receive_resume_token", target), k.String()
	t.Logf("the same text as the kernel's: %v", original == minted)
	mustReceive(t, send(t, "-t", minted), "-s", "-u", target+"@a")
	if got, want := value(t, "guid", target+"@a"), value(t, "guid", fs+"@a"); got != want {
		t.Errorf("guid: got %s, want %s", got, want)
	}
}

// Settled: what does "zfs send -t" do with a position that its peer made up?
func TestMintedTokenWithAnotherPosition(t *testing.T) {
	src, dst := pools(t)
	fs := withData(t, src+"/position")
	stream := send(t, "-Lc", fs+"@a")
	target := dst + "/position"
	t.Cleanup(func() { destroy(t, target) })
	k := halfReceived(t, stream, target+"@a")
	first := order.Uint64(k.number("offset"))
	order.PutUint64(k.number("offset"), 128<<10)
	early := send(t, "-t", k.String())
	const refused = "kernel modules must be upgraded" // EINVAL under -s: the text misleads
	if out, err := receive(t, early, "-s", "-u", target+"@a"); err == nil || !strings.Contains(out, refused) {
		t.Errorf("offset %d instead of %d: got %q, %v, want %q", 128<<10, first, out, err, refused)
	}
	order.PutUint64(k.number("object"), 1<<40)
	order.PutUint64(k.number("offset"), 1<<60)
	const nothing = "No such file or directory"
	if out, err := try(t, "zfs send -t "+k.String()+" | wc -c"); err == nil || !strings.Contains(out, nothing) {
		t.Errorf("object 2^40, offset 2^60: got %q, %v, want %q", out, err, nothing)
	}
}

// Settled: does the token alone decide which dataset is sent?
func TestTokenNamesAnotherDataset(t *testing.T) {
	src, dst := pools(t)
	fs := withData(t, src+"/mine")
	secret := dataset(t, src+"/secret")
	must(t, fmt.Sprintf("echo topsecret >/%[1]s/f; zfs snapshot %[1]s@s", secret))
	target := dst + "/mine"
	t.Cleanup(func() { destroy(t, target) })
	k := halfReceived(t, send(t, "-L", fs+"@a"), target+"@a").renamed(secret + "@s")
	var guid uint64
	if _, err := fmt.Sscan(value(t, "guid", secret+"@s"), &guid); err != nil {
		t.Fatal(err)
	}
	order.PutUint64(k.number("toguid"), guid)
	order.PutUint64(k.number("object"), 1)
	order.PutUint64(k.number("offset"), 0)
	stream := send(t, "-t", k.String())
	if !bytes.Contains(stream, []byte("topsecret")) {
		t.Error("the other dataset's data is not in the stream: FINDINGS.md says that it is")
	}
}

// Settled: does -w with -t make a raw stream of a token without rawok, and the other way round?
func TestRawFlagBesideAToken(t *testing.T) {
	src, dst := pools(t)
	makeKey(t)
	fs := withData(t, src+"/rawtoken", encrypted)
	raw := send(t, "-w", fs+"@a")
	if !isRaw(raw) {
		t.Fatal("send -w made a stream that is not raw")
	}
	target := dst + "/rawtoken"
	t.Cleanup(func() { destroy(t, target) })
	k := halfReceived(t, raw, target+"@a")
	t.Logf("fields: %v", k.names())
	with, without := k.String(), k.without("rawok").String()
	for _, c := range []struct {
		name string
		args []string
		want bool
	}{
		{"-t with rawok", []string{"-t", with}, true},
		{"-w -t with rawok", []string{"-w", "-t", with}, true},
		{"-t without rawok", []string{"-t", without}, false},
		{"-w -t without rawok", []string{"-w", "-t", without}, true},
	} {
		if got := isRaw(send(t, c.args...)); got != c.want {
			t.Errorf("send %s: raw is %v, want %v", c.name, got, c.want)
		}
	}
	mustReceive(t, send(t, "-w", "-t", without), "-s", "-u", target+"@a")
}

// Settled: can a sender who knows a GUID obtain a clone of another tenant's snapshot?
func TestCloneFlagCrossesTenants(t *testing.T) {
	src, dst := pools(t)
	victim := dataset(t, dst+"/victim")
	must(t, fmt.Sprintf("echo topsecret >/%[1]s/f; zfs snapshot %[1]s@s", victim))
	attacker := dataset(t, src+"/attacker")
	must(t, fmt.Sprintf("zfs snapshot %[1]s@1; zfs snapshot %[1]s@2", attacker))
	stream := send(t, "-i", attacker+"@1", attacker+"@2")
	var guid uint64
	if _, err := fmt.Sscan(value(t, "guid", victim+"@s"), &guid); err != nil {
		t.Fatal(err)
	}
	order.PutUint64(stream[beginFromGUID:], guid)
	target := dst + "/attacker"
	t.Cleanup(func() { destroy(t, target) })
	if out, err := receive(t, reseal(t, stream), "-s", target+"@2"); err == nil || !strings.Contains(out, "does not exist") {
		t.Errorf("without the flag: got %q, %v, want a refusal", out, err)
	}
	order.PutUint32(stream[beginFlagsAt:], order.Uint32(stream[beginFlagsAt:])|flagClone)
	if out, err := receive(t, reseal(t, stream), "-s", target+"@2"); err != nil {
		t.Fatalf("with the flag: refused: %s: FINDINGS.md says that it is received", out)
	}
	want := victim + "@s\ntopsecret"
	if got := must(t, fmt.Sprintf("zfs get -H -o value origin %[1]s; cat /%[1]s/f", target)); got != want {
		t.Errorf("origin and the victim's file: got %q, want %q", got, want)
	}
}

// Settled: may a raw incremental bring another wrapped key?
func TestRawIncrementalWithAlteredKey(t *testing.T) {
	src, dst := pools(t)
	makeKey(t)
	fs := withData(t, src+"/rekey", encrypted)
	target := dst + "/rekey"
	t.Cleanup(func() { destroy(t, target) })
	mustReceive(t, send(t, "-w", fs+"@a"), "-s", "-u", target+"@a")
	must(t, "zfs load-key -L file:///tmp/key "+target+"; zfs unload-key "+target)
	must(t, fmt.Sprintf("echo more >/%[1]s/more; zfs snapshot %[1]s@b", fs))
	stream := send(t, "-w", "-i", "@a", fs+"@b")
	name := []byte("DSL_CRYPTO_MASTER_KEY_1\x00")
	at := bytes.Index(stream, name)
	if at < 0 {
		t.Fatal("no wrapped key in the stream")
	}
	stream[at+len(name)] ^= 1
	mustReceive(t, reseal(t, stream), "-s", "-u", target+"@b")
	unlock := "zfs load-key -L file:///tmp/key " + target
	const locked = "Incorrect key provided"
	if out, err := try(t, unlock); err == nil || !strings.Contains(out, locked) {
		t.Errorf("load-key after the altered step: got %q, %v, want %q", out, err, locked)
	}
	if out, err := try(t, "zfs rollback -r "+target+"@a; "+unlock); err == nil || !strings.Contains(out, locked) {
		t.Errorf("load-key after a rollback to @a: got %q, %v, want %q", out, err, locked)
	}
	mustReceive(t, send(t, "-w", "-i", "@a", fs+"@b"), "-s", "-u", target+"@b")
	must(t, unlock+"; zfs mount "+target+fmt.Sprintf("; cmp /%s/data /%s/data", fs, target))
}

// asUser runs zfs as the unprivileged user 1000.
func asUser(t *testing.T, stdin []byte, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "zfs", args...)
	cmd.Stdin = bytes.NewReader(stdin)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1000, Gid: 1000}}
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// Settled: how far does delegation reach for a receiver without root?
func TestReceiveAppendResumes(t *testing.T) {
	needsMachine(t)
	src, dst := pools(t)
	for _, c := range []struct {
		permission   string
		mayRollBack  bool
		mayAlsoAbort bool
	}{
		{permission: "receive", mayRollBack: true},
		{permission: "receive:append"},
		{permission: "receive:append,destroy", mayAlsoAbort: true},
	} {
		t.Run(c.permission, func(t *testing.T) {
			fs := withData(t, src+"/allow")
			parent := dataset(t, dst+"/allow", "-o mountpoint=none")
			must(t, "zfs allow -u antipode create,mount,"+c.permission+" "+parent)
			target := parent + "/fs"
			resumed(t, send(t, "-Lc", fs+"@a"), target, "@a")
			must(t, fmt.Sprintf("head -c 4M /dev/urandom >/%[1]s/more; zfs snapshot %[1]s@b", fs))
			resumed(t, send(t, "-Lc", "-i", "@a", fs+"@b"), target, "@b")

			must(t, fmt.Sprintf("head -c 4M /dev/urandom >/%[1]s/again; zfs snapshot %[1]s@c", fs))
			step := send(t, "-Lc", "-i", "@b", fs+"@c")
			if out, err := asUser(t, step[:len(step)/2], "receive", "-s", "-u", target+"@c"); err == nil {
				t.Fatalf("half a stream was received: %s", out)
			}
			if out, err := asUser(t, nil, "receive", "-A", target); (err == nil) != c.mayAlsoAbort {
				t.Errorf("receive -A: got %q, %v, want success to be %v", out, err, c.mayAlsoAbort)
			}
			_, _ = try(t, "zfs receive -A "+target)
			must(t, fmt.Sprintf("zfs set readonly=off %[1]s; zfs snapshot %[1]s@foreign", target))
			if out, err := asUser(t, step, "receive", "-F", "-s", "-u", target+"@c"); (err == nil) != c.mayRollBack {
				t.Errorf("receive -F over a foreign snapshot: got %q, %v, want success to be %v", out, err, c.mayRollBack)
			}
		})
	}
}

// resumed receives half of a stream as the user and, by its token, the rest.
func resumed(t *testing.T, stream []byte, target, snapshot string) {
	t.Helper()
	if out, err := asUser(t, stream[:len(stream)/2], "receive", "-s", "-u", target+snapshot); err == nil {
		t.Fatalf("half a stream was received: %s", out)
	}
	resume, err := asUser(t, nil, "get", "-Hp", "-o", "value", "receive_resume_token", target)
	if err != nil || !strings.HasPrefix(resume, "1-") {
		t.Fatalf("resume token: got %q, %v", resume, err)
	}
	if out, err := asUser(t, send(t, "-t", resume), "receive", "-s", "-u", target+snapshot); err != nil {
		t.Errorf("resume of %s: %v: %s", snapshot, err, out)
	}
}

// Settled: does the failback of A.9 (clone the common snapshot, promote, rename) serve raw replicas?
func TestRawFailbackByCloneAndPromote(t *testing.T) {
	src, dst := pools(t)
	makeKey(t)
	fs := withData(t, src+"/failback", encrypted)
	target := dst + "/failback"
	t.Cleanup(func() { destroy(t, target) })
	t.Cleanup(func() { destroy(t, fs+".diverged") })
	mustReceive(t, send(t, "-w", fs+"@a"), "-s", "-u", target+"@a")
	// The standby becomes the primary and writes; so did the old primary meanwhile.
	must(t, fmt.Sprintf(`zfs load-key -L file:///tmp/key %[1]s; zfs mount %[1]s; echo standby >/%[1]s/standby; zfs snapshot %[1]s@b`, target))
	must(t, fmt.Sprintf("echo lost >/%[1]s/lost; zfs snapshot %[1]s@diverged", fs))
	must(t, fmt.Sprintf(`zfs clone -o mountpoint=none %[1]s@a %[1]s.new; zfs promote %[1]s.new
		zfs rename -u %[1]s %[1]s.diverged; zfs rename -u %[1]s.new %[1]s`, fs))
	// The promoted clone is the encryption root of both now.
	roots := must(t, "zfs get -H -o value encryptionroot "+fs+" "+fs+".diverged")
	if want := fs + "\n" + fs; roots != want {
		t.Errorf("encryption roots: got %q, want %q", roots, want)
	}
	mustReceive(t, send(t, "-w", "-i", "@a", target+"@b"), "-s", "-u", fs+"@b")
	t.Logf("keystatus with the diverged head mounted: %s", value(t, "keystatus", fs))
	_, _ = try(t, "zfs unmount "+fs+".diverged; zfs unmount "+fs)
	t.Logf("keystatus with nothing mounted: %s", value(t, "keystatus", fs))
	_, _ = try(t, "zfs unload-key "+fs)
	must(t, fmt.Sprintf(`zfs load-key -L file:///tmp/key %[1]s
		zfs set mountpoint=/%[1]s %[1]s; zfs mount | grep -q '^%[1]s ' || zfs mount %[1]s
		grep -q standby /%[1]s/standby; cmp /%[1]s/data /%[2]s/data`, fs, target))
	must(t, fmt.Sprintf("zfs mount %[1]s.diverged; grep -q lost /%[1]s.diverged/lost", fs))
}

// Settled: and the short failback, when the old primary, mounted and unlocked, wrote nothing?
func TestRawFailbackOntoAnUnwrittenHead(t *testing.T) {
	src, dst := pools(t)
	makeKey(t)
	fs := withData(t, src+"/back", encrypted)
	target := dst + "/back"
	t.Cleanup(func() { destroy(t, target) })
	mustReceive(t, send(t, "-w", fs+"@a"), "-s", "-u", target+"@a")
	must(t, fmt.Sprintf(`zfs load-key -L file:///tmp/key %[1]s; zfs mount %[1]s; echo standby >/%[1]s/standby; zfs snapshot %[1]s@b`, target))
	back := send(t, "-w", "-i", "@a", target+"@b")
	mustReceive(t, back, "-s", "-u", fs+"@b")
	must(t, fmt.Sprintf("zfs unmount %[1]s; zfs unload-key %[1]s; zfs load-key -L file:///tmp/key %[1]s; zfs mount %[1]s; grep -q standby /%[1]s/standby", fs))
	if got := must(t, "zpool status -v "+src+" | tail -n 1"); !strings.Contains(got, "No known data errors") {
		t.Errorf("pool: got %q, want no errors", got)
	}
}

// Settled: does a receive that hears nothing for a while go on? ANTIPODE_WAIT is
// the pause, as sleep(1) reads it: an hour is tried by hand.
func TestReceiveWaits(t *testing.T) {
	src, dst := pools(t)
	pause := os.Getenv("ANTIPODE_WAIT")
	if pause == "" {
		pause = "3"
	}
	fs := withData(t, src+"/waits")
	target := dst + "/waits"
	t.Cleanup(func() { destroy(t, target) })
	must(t, fmt.Sprintf(`zfs send -Lc %s@a | { head -c 1M; sleep %s; cat; } | zfs receive -s -u %s@a`, fs, pause, target))
}
