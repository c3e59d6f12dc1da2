//go:build zfs

package smoke

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
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

func TestDelayBetweenNamespaces(t *testing.T) {
	needsMachine(t)
	out := must(t, `
		ip netns add near; ip netns add far
		ip link add name near0 netns near type veth peer name far0 netns far
		ip -n near addr add 10.9.0.1/24 dev near0; ip -n far addr add 10.9.0.2/24 dev far0
		ip -n near link set near0 up; ip -n far link set far0 up
		ip netns exec near tc qdisc add dev near0 root netem delay 80ms
		ip netns exec near ping -q -c 3 -i 0.2 10.9.0.2
		ip netns delete near; ip netns delete far`)
	// rtt min/avg/max/mdev = 80.1/80.9/82.0/0.8 ms
	_, times, _ := strings.Cut(out, "= ")
	least, err := strconv.ParseFloat(strings.Split(times, "/")[0], 64)
	if err != nil || least < 80 {
		t.Errorf("round trip: got %q, want at least 80 ms", out)
	}
}

// What dm-flakey drops is gone after the next import, as after a power cut.
func TestFlakyDiskDropsWrites(t *testing.T) {
	needsMachine(t)
	out := must(t, `
		disk=/dev/vdc sectors=$(cat /sys/class/block/vdc/size)
		dmsetup create flaky --table "0 $sectors linear $disk 0"
		mkfs.btrfs -q -f /dev/mapper/flaky; mkdir -p /tmp/flaky; mount /dev/mapper/flaky /tmp/flaky
		echo kept >/tmp/flaky/kept; sync -f /tmp/flaky/kept
		dmsetup suspend --nolockfs flaky
		dmsetup load flaky --table "0 $sectors flakey $disk 0 0 60 1 drop_writes"
		dmsetup resume flaky
		echo lost >/tmp/flaky/lost; sync -f /tmp/flaky/lost || true
		umount /tmp/flaky || umount -l /tmp/flaky
		dmsetup suspend --nolockfs flaky
		dmsetup load flaky --table "0 $sectors linear $disk 0"
		dmsetup resume flaky
		mount /dev/mapper/flaky /tmp/flaky; ls /tmp/flaky
		umount /tmp/flaky; dmsetup remove flaky`)
	if out != "kept" {
		t.Errorf("files after the writes were dropped: got %q, want kept alone", out)
	}
}

func TestWritesAreLogged(t *testing.T) {
	needsMachine(t)
	out := must(t, `
		dmsetup create logged --table "0 $(cat /sys/class/block/vdc/size) log-writes /dev/vdc /dev/vdd"
		echo x | dd of=/dev/mapper/logged conv=fsync status=none
		dmsetup message logged 0 mark done
		dmsetup status logged; dmsetup remove logged`)
	// "0 8388608 log-writes ENTRIES SECTORS": the write, a flush, the mark
	if fields := strings.Fields(out); len(fields) < 4 || fields[3] == "0" {
		t.Errorf("status of the log: got %q, want entries", out)
	}
}

func TestBtrfsMounts(t *testing.T) {
	needsMachine(t)
	must(t, `
		truncate -s 256M /tmp/btrfs.img; loop=$(losetup -f --show /tmp/btrfs.img)
		mkfs.btrfs -q $loop; mkdir -p /tmp/btrfs; mount $loop /tmp/btrfs
		btrfs subvolume create /tmp/btrfs/a; echo x >/tmp/btrfs/a/f
		btrfs subvolume snapshot -r /tmp/btrfs/a /tmp/btrfs/s
		mkdir /tmp/btrfs/in; btrfs send -q /tmp/btrfs/s | btrfs receive -q /tmp/btrfs/in
		cmp /tmp/btrfs/in/s/f /tmp/btrfs/a/f
		umount /tmp/btrfs; losetup -d $loop; rm /tmp/btrfs.img`)
}

func TestVolumesHaveNodes(t *testing.T) {
	needsMachine(t)
	src, _ := pools(t)
	t.Cleanup(func() { destroy(t, src+"/vol") })
	must(t, fmt.Sprintf(`zfs create -V 16M %s/vol
		for i in $(seq 100); do [ -e /dev/zd0 ] && break; sleep 0.05; done
		head -c 1M /dev/urandom | dd of=/dev/zd0 conv=fsync status=none`, src))
}

func TestTunIsThere(t *testing.T) {
	needsMachine(t)
	must(t, "ip tuntap add name tun9 mode tun; ip link delete tun9")
}
