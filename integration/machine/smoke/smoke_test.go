//go:build zfs

package smoke

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPoolsAndVersion(t *testing.T) {
	src, dst := pools(t)
	for _, pool := range []string{src, dst} {
		if got := value(t, "type", pool); got != "filesystem" {
			t.Errorf("type of pool %s: got %q, want filesystem", pool, got)
		}
	}
	got := must(t, "zfs version")
	t.Log(got)
	if series := os.Getenv("ANTIPODE_ZFS_SERIES"); !strings.Contains(got, "zfs-"+series+".") || !strings.Contains(got, "zfs-kmod-"+series+".") {
		t.Errorf("zfs version: got %q, want tool and module of series %q", got, series)
	}
}

func TestInterruptedReceiveResumes(t *testing.T) {
	src, dst := pools(t)
	fs := dataset(t, src+"/resume")
	must(t, fmt.Sprintf("head -c 8M /dev/urandom >/%[1]s/data; zfs snapshot %[1]s@a", fs))
	stream := send(t, "-Lc", fs+"@a")
	replica := dst + "/resume"
	t.Cleanup(func() { destroy(t, replica) })
	if out, err := receive(t, stream[:len(stream)/2], "-s", "-u", replica+"@a"); err == nil {
		t.Fatalf("half a stream was received: %s", out)
	}
	resume := value(t, "receive_resume_token", replica)
	if !strings.HasPrefix(resume, "1-") {
		t.Fatalf("resume token: got %q", resume)
	}
	rest := send(t, "-t", resume)
	if got, most := len(rest), len(stream)*3/4; got > most {
		t.Errorf("the rest is %d bytes of %d, want at most %d", got, len(stream), most)
	}
	mustReceive(t, rest, "-s", "-u", replica+"@a")
	if got, want := value(t, "guid", replica+"@a"), value(t, "guid", fs+"@a"); got != want {
		t.Errorf("guid: got %s, want %s", got, want)
	}
	must(t, fmt.Sprintf("zfs mount %s || true; cmp /%s/data /%s/data", replica, fs, replica))
}

// A stream of each version is received by the other: the first round leaves one
// in the folder that both machines share, the second takes the other's.
const streamFile = "filesystem.zfs"

func TestOfferAStream(t *testing.T) {
	src, _ := pools(t)
	exchange := os.Getenv("ANTIPODE_ZFS_EXCHANGE")
	if exchange == "" {
		t.Skip("no folder to exchange streams: only one version is tested")
	}
	fs := dataset(t, src+"/offer", "-o recordsize=1M")
	must(t, fmt.Sprintf("seq 100000 >/%[1]s/numbers; zfs snapshot %[1]s@a", fs))
	own := filepath.Join(exchange, os.Getenv("ANTIPODE_ZFS_SERIES"))
	if err := os.MkdirAll(own, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(own, streamFile), send(t, "-Lc", fs+"@a"), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestTakeTheOtherVersionsStream(t *testing.T) {
	_, dst := pools(t)
	exchange, series := os.Getenv("ANTIPODE_ZFS_EXCHANGE"), os.Getenv("ANTIPODE_ZFS_SERIES")
	others, err := filepath.Glob(filepath.Join(exchange, "*", streamFile))
	if err != nil || len(others) < 2 {
		t.Fatalf("streams in %q: got %v, %v, want one of each version", exchange, others, err)
	}
	for _, name := range others {
		from := filepath.Base(filepath.Dir(name))
		if from == series {
			continue
		}
		stream, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		fs := dst + "/from-" + from
		t.Cleanup(func() { destroy(t, fs) })
		mustReceive(t, stream, "-s", fs+"@a")
		must(t, fmt.Sprintf("seq 100000 | cmp - /%s/numbers", fs))
	}
}

func TestVolumesHaveNodes(t *testing.T) {
	needsMachine(t)
	src, _ := pools(t)
	t.Cleanup(func() { destroy(t, src+"/vol") })
	must(t, fmt.Sprintf(`zfs create -V 16M %s/vol
		for i in $(seq 100); do [ -e /dev/zd0 ] && break; sleep 0.05; done
		head -c 1M /dev/urandom | dd of=/dev/zd0 conv=fsync status=none`, src))
}

// TestPassphrase: what makes a key of one is loaded when zfs first calls it.
func TestPassphrase(t *testing.T) {
	src, _ := pools(t)
	const right = "correct horse"
	must(t, fmt.Sprintf("echo '%s' | zfs create -o encryption=on -o keyformat=passphrase -o pbkdf2iters=100000 %s/phrase", right, src))
	t.Cleanup(func() { destroy(t, src+"/phrase") })
	must(t, fmt.Sprintf("zfs unmount %[1]s; zfs unload-key %[1]s", src+"/phrase"))
	load := fmt.Sprintf("zfs load-key %s/phrase", src)
	if out, err := try(t, "echo 'wrong horse' | "+load); err == nil || !strings.Contains(out, "Incorrect key") {
		t.Errorf("another passphrase: got %q, %v, want that it is incorrect", out, err)
	}
	must(t, "echo '"+right+"' | "+load)
}
