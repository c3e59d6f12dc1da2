package crossing

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"antipode/integration/sample"
)

// receivedArgs is struct btrfs_ioctl_received_subvol_args.
type receivedArgs struct {
	uuid               [16]byte
	stransid, rtransid uint64
	stime, rtime       [16]byte
	flags              uint64
	_                  [16]uint64
}

const iocSetReceived = 0xc0c89425 // BTRFS_IOC_SET_RECEIVED_SUBVOL

// impersonate gives a writable subvolume the received UUID of another one.
func impersonate(t *testing.T, path string, uuid [16]byte) {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	args := receivedArgs{uuid: uuid, stransid: 7}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), iocSetReceived, uintptr(unsafe.Pointer(&args))); errno != 0 {
		t.Fatalf("set received UUID of %s: %v", path, errno)
	}
}

var receivedLine = regexp.MustCompile(`Received UUID:\s+([0-9a-f-]{36})`)

// receivedUUID is the identity of a published point.
func receivedUUID(t *testing.T, path string) (text string, raw [16]byte) {
	t.Helper()
	m := receivedLine.FindStringSubmatch(tool(t, "btrfs", "subvolume", "show", path))
	if m == nil {
		t.Fatalf("%s has no received UUID", path)
	}
	digits := regexp.MustCompile(`[0-9a-f]{2}`).FindAllString(regexp.MustCompile(`-`).ReplaceAllString(m[1], ""), -1)
	for i, d := range digits {
		for _, c := range d {
			raw[i] = raw[i]<<4 | byte(c-'0')
			if c >= 'a' {
				raw[i] -= 'a' - '0' - 10
			}
		}
	}
	return m[1], raw
}

// `btrfs receive` takes the first subvolume with the UUID that it looks for, on the
// whole file system. Whatever somebody else has there, with an older number and
// other content, the next increment builds on the point that we published.
func TestForeignSubvolumeWithOurBasesIdentityIsNotBuiltOn(t *testing.T) {
	p := newPair(t)
	db := p.dataset("db")
	furnish(t, db)
	decoy := p.sin.at("decoy") // it gets a lower number than anything received
	tool(t, "btrfs", "subvolume", "create", decoy)
	write(t, decoy+"/wrong", "not what you think")
	p.sin.configure(accept(p.into()))
	p.fra.configure(job("db", db))
	p.fra.trigger("db")
	base := filepath.Join(p.replica(db), p.same(db))
	_, id := receivedUUID(t, base)

	impersonate(t, decoy, id)
	tool(t, "btrfs", "property", "set", "-f", decoy, "ro", "true")
	if got, _ := receivedUUID(t, decoy); got == "" {
		t.Fatal("the decoy has no identity, so that this test shows nothing")
	}
	tool(t, "btrfs", "subvolume", "snapshot", "-r", base, p.sin.at("copy"))
	tool(t, "btrfs", "subvolume", "snapshot", base, p.sin.at("changed"))
	write(t, p.sin.at("changed/odd/-rf"), "changed")
	impersonate(t, p.sin.at("changed"), id)

	for i, change := range sample.Changes() {
		change(t, db)
		if r := p.fra.trigger("db"); r.Steps != 1 {
			t.Errorf("run %d brought %d steps, want 1", i, r.Steps)
		}
		p.same(db)
	}
	for _, kept := range []string{"decoy/wrong", "copy/big", "changed/odd"} {
		if !exists(p.sin.at(kept)) {
			t.Errorf("%s was removed: it is not ours", kept)
		}
	}
}

// What people remove by hand is planned around, or told as a conflict.
func TestSnapshotRemovedByHandIsReplannedOrToldAsConflict(t *testing.T) {
	p := newPair(t)
	db := p.dataset("db")
	random(t, db+"/data", mib)
	p.sin.configure(accept(p.into()))
	p.fra.configure(job("db", db))
	run := func() string {
		t.Helper()
		write(t, db+"/now", t.Name()+p.sin.tail(1))
		p.fra.trigger("db")
		return p.same(db)
	}
	remove := func(path string) { tool(t, "btrfs", "subvolume", "delete", path) }
	first, second, third := run(), run(), run()

	remove(filepath.Join(p.replica(db), third)) // the target's newest: the one before is the base again
	if fourth := run(); len(p.points(db)) != 4 || p.points(db)[3] != fourth {
		t.Errorf("points = %v, want %s sent again from %s, and %s", p.points(db), third, second, fourth)
	}
	p.sameTree(p.snapshot(db, third), filepath.Join(p.replica(db), third))

	remove(p.snapshot(db, first)) // an old one: nobody needs it
	fifth := run()
	if !exists(filepath.Join(p.replica(db), first)) {
		t.Errorf("point %s went with the source's snapshot", first)
	}

	remove(p.snapshot(db, fifth)) // the base, on the source
	before := p.points(db)
	text := p.fra.triggerFails("db")
	says(t, text, db, fifth, "put them back")
	says(t, problemOf(line(p.fra.status(), db).LastError), fifth)
	p.keeps(db, before)
}

// All of them are gone: no base is common, and the replica is not overwritten.
func TestSourceWithoutAnyCommonSnapshotIsToldAsConflict(t *testing.T) {
	p := newPair(t)
	db := p.dataset("db")
	random(t, db+"/data", mib)
	p.sin.configure(accept(p.into()))
	p.fra.configure(job("db", db))
	p.fra.trigger("db")
	p.fra.trigger("db")
	before := p.points(db)
	for _, name := range p.snapshots(db) {
		tool(t, "btrfs", "subvolume", "delete", p.snapshot(db, name))
	}
	says(t, p.fra.triggerFails("db"), "no common base", "--with set-aside")
	p.keeps(db, before)
	if got := len(p.points(db)); got != len(before) {
		t.Errorf("%d points, want the %d from before", got, len(before))
	}
	p.tidy(db)

	// The way out that the text names.
	p.sin.Ask(nil, "resolve", db, "--with", "set-aside", "--yes")
	p.fra.trigger("db")
	p.same(db)
	aside, err := filepath.Glob(p.replica(db) + ".was-*")
	must(t, err)
	if len(aside) != 1 {
		t.Fatalf("%d replicas were set aside, want 1", len(aside))
	}
	for _, name := range before {
		if !exists(filepath.Join(aside[0], name)) {
			t.Errorf("point %s was not kept", name)
		}
	}
}
