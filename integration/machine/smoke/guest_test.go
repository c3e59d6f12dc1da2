//go:build machine

package smoke

import (
	"strconv"
	"strings"
	"testing"
)

func TestDelayBetweenNamespaces(t *testing.T) {
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
	must(t, `
		truncate -s 256M /tmp/btrfs.img; loop=$(losetup -f --show /tmp/btrfs.img)
		mkfs.btrfs -q $loop; mkdir -p /tmp/btrfs; mount $loop /tmp/btrfs
		btrfs subvolume create /tmp/btrfs/a; echo x >/tmp/btrfs/a/f
		btrfs subvolume snapshot -r /tmp/btrfs/a /tmp/btrfs/s
		mkdir /tmp/btrfs/in; btrfs send -q /tmp/btrfs/s | btrfs receive -q /tmp/btrfs/in
		cmp /tmp/btrfs/in/s/f /tmp/btrfs/a/f
		umount /tmp/btrfs; losetup -d $loop; rm /tmp/btrfs.img`)
}

func TestTunIsThere(t *testing.T) {
	must(t, "ip tuntap add name tun9 mode tun; ip link delete tun9")
}
