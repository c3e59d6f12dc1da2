package machine

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// fakeImage is an image whose loader is a shell script: as virtiofsd it makes
// its socket and stays, as QEMU it runs the given lines with $work set.
func fakeImage(t *testing.T, qemu string) string {
	t.Helper()
	dir := t.TempDir()
	lib := filepath.Join(dir, "qemu/lib")
	if err := os.MkdirAll(lib, 0o755); err != nil {
		t.Fatal(err)
	}
	script := `#!/bin/sh
for a; do
	case $a in
	--socket-path=*) : >"${a#*=}"; exec sleep 60 ;;
	file:*/console) console=${a#file:} ;;
	esac
done
work=${console%/console}
` + qemu + "\n"
	if err := os.WriteFile(filepath.Join(lib, "ld-linux-x86-64.so.2"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestRunTellsHowTheGuestEnded(t *testing.T) {
	for _, c := range []struct {
		name, qemu string
		status     int
		want       error
		text       string
	}{
		{"the command ended well", `echo 0 >$work/control/status`, 0, nil, ""},
		{"the command failed", `echo 7 >$work/control/status`, 7, nil, ""},
		{"init gave up", `echo "pool src: no such device" >$work/control/failed`, 0, ErrGuest, "pool src: no such device"},
		{"the kernel panicked", `echo "Kernel panic" >$console`, 0, ErrGuest, "Kernel panic"},
		{"QEMU does not start", `echo "no such machine" >&2; exit 1`, 0, ErrGuest, "no such machine"},
		{"the status is cut", `: >$work/control/status`, 0, ErrGuest, "no exit status"},
		{"it hangs", `exec sleep 60`, 0, ErrLimit, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := Guest{Image: fakeImage(t, c.qemu), ZFS: "2.4", Limit: 30 * time.Second}
			if errors.Is(c.want, ErrLimit) {
				g.Limit = 200 * time.Millisecond
			}
			status, err := g.Run(t.Context(), []string{"true"})
			if status != c.status || !errors.Is(err, c.want) {
				t.Fatalf("got status %d, error %v, want %d, %v", status, err, c.status, c.want)
			}
			if err != nil && !strings.Contains(err.Error(), c.text) {
				t.Errorf("error: got %q, want it to say %q", err, c.text)
			}
		})
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	g := Guest{Image: fakeImage(t, "exec sleep 60"), ZFS: "2.4"}
	if status, err := g.Run(ctx, []string{"true"}); !errors.Is(err, context.Canceled) {
		t.Fatalf("got status %d, error %v, want context.Canceled", status, err)
	}
}

func TestRunRefusesAShareThatInitCannotRead(t *testing.T) {
	g := Guest{Image: fakeImage(t, "echo 0 >$work/control/status"), ZFS: "2.4", Shares: []Share{{Dir: "/a b"}}}
	if _, err := g.Run(t.Context(), []string{"true"}); err == nil || !strings.Contains(err.Error(), "without spaces") {
		t.Fatalf("got %v, want a refusal of the space", err)
	}
}

func TestNoProgramRunsFromAShare(t *testing.T) {
	g := Guest{
		Image: fakeImage(t, `printf 'share1 ro,noexec /a\nshare2 rw,noexec /b\n' | cmp -s - $work/control/shares; echo $? >$work/control/status`),
		ZFS:   "2.4", Shares: []Share{{Dir: "/a", ReadOnly: true}, {Dir: "/b"}},
	}
	if status, err := g.Run(t.Context(), []string{"true"}); status != 0 || err != nil {
		t.Fatalf("got status %d, %v, want both mounted without programs", status, err)
	}
}

func TestScriptKeepsArgumentsWhole(t *testing.T) {
	want := []string{"it's", `a "b" $c`, "", "*", "two\nlines"}
	g := Guest{ZFS: "2.4", Dir: "/", Env: []string{"NAME=it's = x"}}
	script := g.script(append([]string{"printf", `%s\0`, "it's = x"}, want...))
	out, err := exec.CommandContext(t.Context(), "sh", "-c", script).Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00"); strings.Join(got[1:], "\x00") != strings.Join(want, "\x00") {
		t.Errorf("arguments: got %q, want %q", got[1:], want)
	}
	out, err = exec.CommandContext(t.Context(), "sh", "-c", g.script([]string{"sh", "-c", `printf %s "$NAME"`})).Output()
	if err != nil || string(out) != "it's = x" {
		t.Errorf("environment: got %q, %v", out, err)
	}
}

func TestDiskHasOnePartition(t *testing.T) {
	name := filepath.Join(t.TempDir(), "disk")
	if err := makeDisk(name, true); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sector := make([]byte, 512)
	if _, err := f.Read(sector); err != nil {
		t.Fatal(err)
	}
	want := []byte{0x83, 0, 0, 0, 0, 8, 0, 0, 0, 0xf8, 0x7f, 0}
	if got := sector[450:462]; !bytes.Equal(got, want) {
		t.Errorf("partition: got % x, want % x (type 0x83 from sector 2048 to the end of 4 GiB)", got, want)
	}
	if info, _ := f.Stat(); info.Size() != diskBytes {
		t.Errorf("size: got %d, want %d", info.Size(), int64(diskBytes))
	}
}
