package crossing

import (
	"testing"

	"golang.org/x/sys/unix"

	"antipode/daemon/control"
)

// What the target would refuse is found on the source before the first byte.
func TestCheckFindsWhatTheTargetWouldRefuse(t *testing.T) {
	p := newPair(t)
	db, big := p.dataset("db"), p.dataset("big")
	random(t, db+"/data", 64<<10)
	must(t, unix.Mkdir(db+"/dev", 0o755))
	must(t, unix.Mknod(db+"/dev/sda", unix.S_IFBLK|0o600, int(unix.Mkdev(8, 0))))
	random(t, big+"/data", 3*mib)
	p.sin.configure(accept(p.into(), `max_bytes = "1MiB"`))
	p.fra.configure(job("db", db) + job("big", big))
	says(t, p.fra.triggerFails("db"), "device nodes are not allowed")
	says(t, p.fra.triggerFails("big"), "longer than the 1048576 bytes")

	says(t, check(t, p.fra, "job db", control.Fatal), db+"/dev/sda is a device node", "sin1 lets none in", `allow = ["devices"]`)
	says(t, check(t, p.fra, "job big", control.Fatal), "the first copy of "+big, "at most 1.00 MiB in one stream", "raise max_bytes")
	says(t, check(t, p.sin, "accept from fra1", control.Good), "keeps up to 32 snapshots", "1024 MiB or 5m0s")

	p.sin.configure(accept(p.into(), `max_bytes = "10MiB"`, `allow = ["devices"]`))
	p.fra.trigger("db")
	p.fra.trigger("big")
	p.same(db)
	p.same(big)
	for _, object := range []string{"job db", "job big"} {
		if out, _, _ := p.fra.call("check", "--json"); missing(out, `"severity": "fatal"`) == "" {
			t.Errorf("%s: check still finds something fatal: %s", object, out)
		}
	}
}
