package crossing

import (
	"testing"
)

// A host without zfs, whose file also has a job and an accept of ZFS: it says so,
// with the cure, and what is on Btrfs goes on.
func TestJobsOnBtrfsGoOnWhereZFSIsMissing(t *testing.T) {
	p := newStrangers(t, roomy)
	p.introduce()
	db := p.dataset("db")
	random(t, db+"/data", mib)
	const zfsJob = "[[job]]\nid = \"mail\"\ndriver = \"zfs\"\ndatasets = [\"tank/mail/**\"]\nreplicate_to = [\"sin1\"]\n"
	p.fra.Sections = job("db", db) + zfsJob
	p.sin.Sections = accept(p.into()) + "[[accept]]\nfrom = \"fra1\"\ndriver = \"zfs\"\ninto = \"backup/fra1\"\n"
	p.fra.shell, p.sin.shell = hiding("zfs"), hiding("zfs")
	p.fra.write()
	p.sin.write()
	p.fra.start()
	p.sin.start()

	text := p.fra.triggerFails("mail")
	says(t, text, "tank/mail", "install zfsutils-linux")
	for _, j := range p.fra.status().Jobs {
		if j.ID == "mail" {
			says(t, problemOf(j.Problem), "tank/mail", "install zfsutils-linux")
		}
	}
	says(t, p.finding(p.fra, "job mail"), "tank/mail", "install zfsutils-linux")
	says(t, p.finding(p.fra, "zfs"), "install zfsutils-linux")
	says(t, p.finding(p.sin, "backup/fra1"), "install zfsutils-linux")

	p.fra.trigger("db")
	p.same(db)
	p.tidy(db)
}
