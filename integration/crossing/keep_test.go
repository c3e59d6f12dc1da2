package crossing

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"antipode/daemon/policy"
	"antipode/fsdrivers/dataset"
	"antipode/integration/sample"
	"antipode/transport/client"
	"antipode/transport/peer"
	"antipode/transport/wire"
)

func TestBothSidesPruneByTheirOwnPolicyAndProtectKeeps(t *testing.T) {
	p := newPair(t)
	db := p.dataset("db")
	write(t, db+"/data", "x")
	p.sin.configure(accept(p.into(), `keep = { last = 4 }`, `protect = "1h"`))
	p.fra.configure(job("db", db, `keep = { last = 2 }`))
	run := func() {
		write(t, db+"/data", fmt.Sprint(len(p.points(db))))
		p.fra.trigger("db")
	}
	for range 6 {
		run()
	}
	p.fra.eventually("the source keeps two", func() bool { return len(p.snapshots(db)) <= 3 })
	if n := len(p.points(db)); n != 6 {
		t.Errorf("%d points, want all 6: they are protected", n)
	}
	p.sin.configure(accept(p.into(), `keep = { last = 4 }`))
	run()
	p.sin.eventually("the target keeps four", func() bool { return len(p.points(db)) == 4 })
	newest := p.same(db)
	if points := p.points(db); points[3] != newest {
		t.Errorf("points = %v, want the newest, %s, among them", points, newest)
	}
	run() // the base was kept on both sides
	p.same(db)
	p.tidy(db)
}

// A source that was taken over has its key. It may send what it likes, under any
// name and time: what the honest source sent before stays.
func TestForgedNamesAndTimesFlushNoPoint(t *testing.T) {
	p := newPair(t)
	db := p.dataset("db")
	write(t, db+"/data", "honest")
	p.sin.configure(accept(p.into(), `keep = { last = 2, hourly = 24, daily = 7 }`))
	p.fra.configure(job("db", db, `keep = { last = 20 }`))
	p.fra.trigger("db")
	honest := p.same(db)
	p.fra.stop()

	thief := p.thief(db)
	now := time.Now().UTC()
	for i, created := range []time.Time{
		now.AddDate(50, 0, 0), now.AddDate(50, 0, 1), now.AddDate(50, 1, 0), now.AddDate(-50, 0, 0),
		now.AddDate(0, 0, 1), now.AddDate(0, 0, 2), now.Add(time.Hour), now.Add(2 * time.Hour), now,
	} {
		write(t, db+"/data", fmt.Sprintf("forged %d", i))
		thief.send(fmt.Sprintf("antipode_db_forged_%02d", i), created)
	}
	p.sin.eventually("what was forged is thinned", func() bool { return len(p.points(db)) <= 4 })
	if !slices.Contains(p.points(db), honest) {
		t.Errorf("the honest point %s was flushed; left are %v", honest, p.points(db))
	}
	for _, name := range []string{"antipode_live", "evil", "../antipode_x", ".antipode_x"} {
		if err := thief.try(name, now); err == nil {
			t.Errorf("a point by the name of %q was taken", name)
		}
	}
	p.tidy(db)
}

// thief sends with the source's key and by hand.
type thief struct {
	t      *testing.T
	p      *pair
	db     dataset.Dataset
	client *client.Client
	base   dataset.Snapshot
	made   int
}

var uuidLine = regexp.MustCompile(`(?m)^\s+UUID:\s+([0-9a-f-]{36})`)

func ownUUID(t *testing.T, path string) dataset.ID {
	t.Helper()
	m := uuidLine.FindStringSubmatch(tool(t, "btrfs", "subvolume", "show", path))
	if m == nil {
		t.Fatalf("%s has no UUID", path)
	}
	return dataset.ID(m[1])
}

func (p *pair) thief(db string) *thief {
	p.t.Helper()
	identity, err := peer.LoadOrCreate(p.fra.file("state"))
	must(p.t, err)
	key, err := peer.ParseFingerprint(p.sin.key())
	must(p.t, err)
	names := p.snapshots(db)
	newest := names[len(names)-1]
	c := client.New(client.Options{Identity: identity, Key: key, Address: p.there.Address()})
	p.t.Cleanup(c.Close)
	return &thief{
		t: p.t, p: p, client: c, db: dataset.Dataset{Path: dataset.Path(db), ID: ownUUID(p.t, db)},
		base: dataset.Snapshot{Name: newest, ID: ownUUID(p.t, p.snapshot(db, newest)), Order: 1},
	}
}

// send makes a snapshot and sends it under a name and a time of its choosing.
func (h *thief) send(name string, created time.Time) {
	h.t.Helper()
	if err := h.try(name, created); err != nil {
		h.t.Fatalf("send %s: %v", name, err)
	}
}

func (h *thief) try(name string, created time.Time) error {
	h.t.Helper()
	h.made++
	path := h.p.snapshot(string(h.db.Path), fmt.Sprintf("antipode_thief_%02d", h.made))
	tool(h.t, "btrfs", "subvolume", "snapshot", "-r", string(h.db.Path), path)
	cmd := exec.Command("btrfs", "send", "-q", "-p", h.p.snapshot(string(h.db.Path), h.base.Name), path)
	out, err := cmd.StdoutPipe()
	must(h.t, err)
	must(h.t, cmd.Start())
	defer func() { _ = cmd.Wait() }() // a refusal breaks its pipe
	to := dataset.Snapshot{Name: name, ID: ownUUID(h.t, path), Created: created, Retain: created, Order: h.base.Order + 1}
	var incarnation [16]byte
	_, _ = rand.Read(incarnation[:]) // it never fails
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err = h.client.Send(ctx, wire.Open{
		Step:   dataset.Step{Job: "db", Dataset: h.db, From: h.base, To: to},
		Driver: string(policy.Btrfs), Incarnation: hex.EncodeToString(incarnation[:]),
	}, struct{ io.Reader }{out}, nil)
	out.Close()
	if err == nil {
		h.base = dataset.Snapshot{Name: filepath.Base(path), ID: to.ID, Order: to.Order}
	}
	return err
}

// What the README says of a day when Antipode itself is gone.
func TestRestoreByHandNeedsNoAntipode(t *testing.T) {
	p := newPair(t)
	db := p.dataset("db")
	furnish(t, db)
	p.sin.configure(accept(p.into()))
	p.fra.configure(job("db", db))
	p.fra.trigger("db")
	sample.Changes()[0](t, db)
	p.fra.trigger("db")
	point := p.same(db)
	p.fra.stop()
	p.sin.stop()
	for _, s := range []*site{p.fra, p.sin} { // nothing of Antipode's is left but the points
		for _, name := range []string{"state", "antipode.toml"} {
			must(t, os.RemoveAll(s.file(name)))
		}
	}
	from := filepath.Join(p.replica(db), point)

	copied := p.sin.at("copied")
	tool(t, "cp", "-a", "--reflink=auto", from, copied)
	p.sameContent(from, copied)

	tool(t, "btrfs", "subvolume", "create", p.fra.at("restored"))
	tool(t, "sh", "-c", fmt.Sprintf("btrfs send -q '%s' | btrfs receive -q '%s'", from, p.fra.at("restored")))
	p.sameTree(p.snapshot(db, point), filepath.Join(p.fra.at("restored"), point))
	tool(t, "btrfs", "subvolume", "snapshot", filepath.Join(p.fra.at("restored"), point), p.fra.at("db2"))
	write(t, p.fra.at("db2/it takes writes"), "")

	tool(t, "btrfs", "subvolume", "snapshot", from, p.sin.at("live"))
	write(t, p.sin.at("live/it takes writes"), "")
}

// sameContent is sameTree but for what cp(1) does with holes.
func (p *pair) sameContent(want, got string) {
	p.t.Helper()
	var other []string
	for _, d := range differences(p.t, want, got) {
		if !strings.Contains(d, ": data [") {
			other = append(other, d)
		}
	}
	if len(other) > 0 {
		p.t.Errorf("%s and %s differ:\n%s", want, got, strings.Join(other, "\n"))
	}
}
