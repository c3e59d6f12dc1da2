package crossing

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"antipode/daemon/control"
	"antipode/daemon/status"
)

func TestOddNamesOfDatasetsAreReplicatedAndPromoted(t *testing.T) {
	p := newPair(t)
	names := []string{"with spaces  and 'quotes'", "данные ☃ 東京", "-rf", "$(reboot);`x`", "a.b,c=d"}
	sections := ""
	for i, name := range names {
		path := p.dataset(name)
		random(t, filepath.Join(path, "data"), 64<<10)
		write(t, filepath.Join(path, name), name)
		sections += job("job"+string(rune('a'+i)), path)
	}
	p.sin.configure(accept(p.into()))
	p.fra.configure(sections)
	for i, name := range names {
		path, id := p.fra.at(name), "job"+string(rune('a'+i))
		p.fra.trigger(id)
		p.same(path)
		overwrite(t, filepath.Join(path, "data"), 7, 1000)
		p.fra.trigger(id)
		p.same(path)
	}
	p.fra.kill()
	for _, name := range names {
		var r control.PromoteResponse
		p.sin.ask(&r, "promote", p.fra.at(name), "--yes")
		p.sameTree(p.fra.at(name), r.Live)
	}
}

// What is wrong with one dataset is said of that one, with a way out, and holds
// back no other.
func TestWrongDatasetIsNamedAndOtherJobsGoOn(t *testing.T) {
	p := newPair(t)
	good, plain, gone := p.dataset("good"), p.fra.at("plain"), p.dataset("gone")
	for _, path := range []string{good, gone} {
		random(t, path+"/data", 64<<10)
	}
	must(t, os.Mkdir(plain, 0o755))
	p.sin.configure(accept(p.into()))
	p.fra.configure(job("good", good) + job("plain", plain) + job("gone", gone) + job("never", p.fra.at("never")))
	p.fra.trigger("gone")
	p.same(gone)
	tool(t, "btrfs", "subvolume", "delete", filepath.Join(gone, ".antipode", p.snapshots(gone)[0]))
	tool(t, "sh", "-c", "cd "+gone+" && btrfs subvolume delete .antipode && cd .. && btrfs subvolume delete gone")

	says(t, p.fra.triggerFails("plain"), plain, "is a plain directory", "btrfs subvolume create")
	says(t, p.fra.triggerFails("gone"), gone, "not found", "next: ", "mount")
	says(t, p.fra.triggerFails("never"), p.fra.at("never"), "not found", "next: ", "mount")
	for _, j := range p.fra.status().Jobs {
		if j.ID != "good" && j.Problem == nil {
			t.Errorf("status shows no problem of job %s", j.ID)
		}
	}
	for _, id := range []string{"plain", "gone", "never"} {
		says(t, check(t, p.fra, "job "+id, control.Fatal), "cure: ")
	}
	p.fra.trigger("good")
	p.same(good)
	if !exists(filepath.Join(p.replica(gone), p.points(gone)[0])) {
		t.Error("the points of the dataset that vanished went with it")
	}

	// Made anew under the same name: another dataset, which must not be mixed up.
	p.dataset("gone")
	random(t, gone+"/data", 64<<10)
	p.fra.trigger("gone")
	p.same(gone)
	if n := len(p.points(gone)); n != 1 {
		t.Errorf("%d points, want the one of the new dataset", n)
	}
	if former, err := filepath.Glob(p.replica(gone) + ".was-*/antipode_gone_*"); err != nil || len(former) != 1 {
		t.Errorf("set aside are %v, %v; want the one point of the former dataset", former, err)
	}
}

func TestPlainDirectoryAsIntoIsRefusedWithTheCure(t *testing.T) {
	p := newPair(t)
	must(t, os.MkdirAll(p.into()+"/photos", 0o755))
	good := p.sin.Sections
	p.sin.Sections = accept(p.into())
	p.sin.write()
	says(t, p.sin.refused("reload"), p.into(), "not empty", "move what is in it away")
	if !exists(p.into() + "/photos") {
		t.Error("what was in the directory is gone")
	}
	p.sin.Sections = good
	p.sin.write()
	p.sin.ask(nil, "reload")
}

// One [[accept]] that cannot be opened, as when a disk is not mounted at boot,
// must not keep the daemon from serving everybody else.
func TestDaemonStartsWithOneAcceptThatCannotBeOpened(t *testing.T) {
	p := newPair(t)
	db := p.dataset("db")
	random(t, db+"/data", 64<<10)
	must(t, os.MkdirAll(p.into()+"/photos", 0o755))
	own := p.sin.at("own")
	tool(t, "btrfs", "subvolume", "create", own)
	p.sin.stop()
	p.sin.Sections = accept(p.into()) + "[[job]]\nid = \"own\"\ndriver = \"btrfs\"\ndatasets = [\"" + own + "\"]\n"
	p.sin.write()
	p.fra.configure(job("db", db))
	p.sin.start()
	says(t, p.fra.triggerFails("db"), p.into())
	p.sin.trigger("own")
	must(t, os.RemoveAll(p.into()))
	p.fra.eventually("it heals by itself or by a reload", func() bool {
		p.sin.ask(nil, "reload")
		return p.fra.try(nil, "trigger", "db", "--wait") == nil
	})
	p.same(db)
}

// The tools are not there: it is said, and what needs no tool goes on.
func TestMissingBtrfsProgramIsNamed(t *testing.T) {
	p := newStrangers(t, roomy)
	p.introduce()
	db := p.dataset("db")
	random(t, db+"/data", 64<<10)
	p.fra.Sections, p.sin.Sections = job("db", db), accept(p.into())
	p.fra.write()
	p.sin.write()
	hide := hiding("btrfs")
	p.fra.shell = hide
	p.fra.start()
	p.sin.start()
	says(t, p.fra.triggerFails("db"), "btrfs", "not installed, or not in PATH")
	out, _, code := p.fra.call("check")
	if code == 0 {
		t.Error("check finds nothing wrong without btrfs")
	}
	says(t, out, "btrfs-progs")
	if len(p.snapshots(db)) != 1 {
		t.Errorf("snapshots = %v, want the one that needs no program", p.snapshots(db))
	}
	p.fra.stop()
	p.fra.shell = ""
	p.fra.start()

	p.sin.stop()
	p.sin.shell = hide
	p.sin.start()
	text := p.fra.triggerFails("db")
	says(t, text, "btrfs", "not installed, or not in PATH")
	p.fra.await("the target says so too", func(status.Status) bool {
		return strings.Contains(problemOf(replicaLine(p.sin.status(), db).LastError), "not in PATH")
	})
	p.sin.stop()
	p.sin.shell = ""
	p.sin.start()
	p.fra.trigger("db")
	p.same(db)
	p.tidy(db)
}

// hiding runs the daemon where a program is covered: the driver also looks in the
// usual directories, so no PATH would do.
func hiding(program string) string {
	return `for d in /usr/local/sbin /usr/sbin /sbin /usr/local/bin /usr/bin /bin; do [ -f $d/` + program + ` ] && mount --bind /dev/null $d/` + program + `; done; exec "$@"`
}
