package config

import (
	"fmt"
	"slices"
	"time"

	"antipode/daemon/policy"
	"antipode/fsdrivers/dataset"
)

// check looks at what only shows between sections.
func (d *draft) check() {
	d.checkPeers()
	d.checkJobs()
	d.checkAccepts()
}

// checkPeers refuses two peers of one name or one key. A peer that the
// operator wrote down and paired as well is the same peer twice.
func (d *draft) checkPeers() {
	var kept []placed[policy.Peer]
	for _, p := range d.peers {
		if p.value.Name != "" && p.value.Name == d.config.Node {
			p.table.wrong("name", "peer %q has the name of this node; every machine needs its own", p.value.Name)
		}
		i := slices.IndexFunc(kept, func(o placed[policy.Peer]) bool {
			return p.value.Name != "" && o.value.Name == p.value.Name || p.value.Key != "" && o.value.Key == p.value.Key
		})
		if i < 0 {
			kept = append(kept, p)
			continue
		}
		switch o := kept[i]; {
		case o.value.Name != p.value.Name:
			p.table.wrong("key", "peer %q has the key of peer %q (%s); each machine has its own, as `antipode identity` prints it there", p.value.Name, o.value.Name, place(o.table))
		case o.value.Key == p.value.Key && o.table.doc != p.table.doc:
			p.table.warn("name", "peer %q stands in %s too, and that is used; remove one of them", p.value.Name, place(o.table))
		default:
			p.table.wrong("name", "peer %q is there already (%s); keep the one whose key `antipode identity` prints on it", p.value.Name, place(o.table))
		}
	}
	d.peers = kept
}

// place tells where a table stands.
func place(t *table) string { return t.problem("", "").place() }

func (d *draft) peerNames() []string {
	var names []string
	for _, p := range d.peers {
		names = append(names, p.value.Name)
	}
	return names
}

func (d *draft) checkJobs() {
	for i, j := range d.jobs {
		d.checkTargets(j)
		d.checkForward(j)
		d.warnRPO(j)
		warnUnsent(j)
		warnJob(j)
		for _, o := range d.jobs[:i] {
			checkPair(j, o)
		}
	}
}

// checkPair refuses what two jobs may not share.
func checkPair(j, o placed[policy.Job]) {
	if j.value.ID != "" && j.value.ID == o.value.ID {
		j.table.wrong("id", "job %q is there already (%s); an id names one job for ever", j.value.ID, place(o.table))
	}
	if j.value.Driver != o.value.Driver || j.value.Forward != o.value.Forward && !sharesPeer(j.value, o.value) {
		return
	}
	if where, overlaps := policy.Overlap(j.value.Datasets, o.value.Datasets); overlaps {
		j.table.wrong("datasets", `jobs %q and %q (%s) both take %s; leave it to one of them, for example with "!%s" at the end of the other's datasets`,
			j.value.ID, o.value.ID, place(o.table), where, where)
	}
}

// sharesPeer holds for jobs that send to one target. There, a path is one dataset's,
// whoever had it first.
func sharesPeer(a, b policy.Job) bool {
	return slices.ContainsFunc(a.ReplicateTo, func(name string) bool { return slices.Contains(b.ReplicateTo, name) })
}

// checkForward looks at a job that sends on what another node sent: it has points to
// pass on and nothing else to do.
func (d *draft) checkForward(j placed[policy.Job]) {
	v, t := j.value, j.table
	if v.Forward == "" {
		return
	}
	if !slices.ContainsFunc(d.accepts, func(a placed[policy.Accept]) bool { return a.value.From == v.Forward && a.value.Driver == v.Driver }) {
		t.wrong("forward", "job %q forwards what %q sends, and no [[accept]] takes %s datasets from it", v.ID, v.Forward, v.Driver)
	}
	if i := slices.Index(v.ReplicateTo, v.Forward); i >= 0 {
		t.wrong(element("replicate_to", i), "job %q would send to %q what came from there", v.ID, v.Forward)
	}
	if len(v.ReplicateTo) == 0 {
		t.wrong("forward", "job %q forwards to nobody; want replicate_to", v.ID)
	}
	for _, key := range []string{"every", "cron", "window", "always", "hooks", "include", "keep", "groups", "brake", "backlog", "min_free", "may_promote"} {
		if t.has(key) {
			t.wrong(key, "job %q forwards points that %s made: it takes no snapshots and prunes none, so that %s says nothing; leave it out", v.ID, v.Forward, key)
		}
	}
}

// checkTargets looks at the peers of a job.
func (d *draft) checkTargets(j placed[policy.Job]) {
	const key = "replicate_to"
	for i, name := range j.value.ReplicateTo {
		at := element(key, i)
		p := slices.IndexFunc(d.peers, func(p placed[policy.Peer]) bool { return p.value.Name == name })
		switch {
		case slices.Contains(j.value.ReplicateTo[:i], name):
			j.table.wrong(at, "job %q names peer %q twice; once is enough", j.value.ID, name)
		case name == d.config.Node:
			j.table.wrong(at, "job %q replicates to %q, which is this node; want the name of a peer", j.value.ID, name)
		case p < 0:
			j.table.wrong(at, "job %q replicates to %q, which is no [[peer]]; %s (pair with it, or add it)", j.value.ID, name, didYouMean(name, d.peerNames()))
		}
	}
}

// warnRPO notes an rpo that can only be missed: each of a job's schedules delays what
// the target gets.
func (d *draft) warnRPO(j placed[policy.Job]) {
	v := j.value
	if v.RPO == 0 || len(v.ReplicateTo) == 0 {
		return
	}
	key := d.config.Node + "/" + v.ID // as the scheduler has it
	warnGap(j.table, fmt.Sprintf("job %q", v.ID), v.RPO, "", v.Schedule.At(key, v.Location))
	warnGap(j.table, fmt.Sprintf("job %q", v.ID), v.RPO, "replicate_", v.Replicate.At(key, v.Location))
}

// warnGap notes an rpo that a schedule, whose keys have that prefix, cannot keep.
func warnGap(t *table, who string, rpo time.Duration, prefix string, c policy.Calendar) {
	gap := c.Gap(rpo)
	if rpo == 0 || gap == 0 {
		return
	}
	when, within := fmt.Sprintf("%scron = %q", prefix, c.Cron), ""
	if c.Every > 0 {
		when = fmt.Sprintf("%severy = %q", prefix, policy.FormatDuration(c.Every))
	}
	if !c.Window.IsZero() {
		within = " within its window"
	}
	t.warn("rpo", "%s has rpo = %q, which %s%s cannot keep: %s may pass between two runs; want an rpo above that, with time to send, or runs closer together",
		who, policy.FormatDuration(rpo), when, within, policy.FormatDuration(gap))
}

// sendingKeys say only how a job sends.
var sendingKeys = [...]string{
	"replicate_every", "replicate_cron", "initial", "intermediates", "include", "backlog", "compress", "compressed_data", "encryption", "rate_limit", "may_promote",
}

// warnUnsent notes what a job says of sending and sends nothing.
func warnUnsent(j placed[policy.Job]) {
	v, t := j.value, j.table
	if len(v.ReplicateTo) > 0 || v.Forward != "" {
		return
	}
	if v.RPO != 0 {
		t.warn("rpo", "job %q has an rpo and no replicate_to, so that there is nothing to measure it on", v.ID)
	}
	for _, key := range sendingKeys {
		if t.has(key) {
			t.warn(key, "job %q has %s and no replicate_to: it sends nothing, so that %s says nothing", v.ID, key, key)
		}
	}
}

// warnJob notes what a job may say and hardly means, and refuses to be pulled amiss.
func warnJob(j placed[policy.Job]) {
	v, t := j.value, j.table
	if v.Pulled && len(v.ReplicateTo) == 0 {
		t.wrong("pulled", "job %q is pulled by nobody; want replicate_to, with the targets that may pull it", v.ID)
	}
	if v.Pulled && !v.Replicate.IsZero() {
		t.wrong("pulled", "job %q is pulled, so that its targets say when; leave out replicate_every and replicate_cron", v.ID)
	}
	switch {
	case !v.Keep.IsZero() || v.Forward != "":
	case t.has("keep"):
		t.warn("keep", "job %q %s here", v.ID, keepsAll)
	default:
		t.warn("", "job %q has no keep, so that its snapshots are never pruned here", v.ID)
	}
}

// keepsAll is said of a keep that is there, and asks for nothing.
const keepsAll = "has a keep without any count or age above zero, which does not mean to keep nothing: nothing is ever pruned"

func (d *draft) checkAccepts() {
	for i, a := range d.accepts {
		name := a.value.From
		if name != "" && !slices.Contains(d.peerNames(), name) {
			a.table.wrong("from", "accept is from %q, which is no [[peer]]; %s (pair with it, or add it)", name, didYouMean(name, d.peerNames()))
		}
		switch {
		case !a.value.Keep.IsZero():
		case a.table.has("keep"):
			a.table.warn("keep", "accept from %q %s", name, keepsAll)
		default:
			a.table.warn("", "accept from %q has no keep, so that what it receives is never pruned", name)
		}
		if at := slices.IndexFunc(d.peers, func(p placed[policy.Peer]) bool { return p.value.Name == name }); at >= 0 && !a.value.Pull.IsZero() && !d.peers[at].table.has("address") {
			a.table.wrong("", `accept pulls from %q, which has no address (%s); want address = "host:port" there`, name, place(d.peers[at].table))
		}
		warnGap(a.table, fmt.Sprintf("accept from %q", name), a.value.RPO, "pull_", a.value.Pull.At("", a.value.Location))
		for _, o := range d.accepts[:i] {
			checkAcceptPair(a, o)
		}
		d.checkInto(a)
	}
}

// checkAcceptPair keeps peers out of each other's trees (G5).
func checkAcceptPair(a, o placed[policy.Accept]) {
	if a.value.Driver != o.value.Driver {
		return
	}
	if a.value.From != "" && a.value.From == o.value.From {
		a.table.wrong("from", "accept from %q with driver %q is there already (%s); one is enough for all its jobs", a.value.From, a.value.Driver, place(o.table))
	}
	for _, mine := range places(a.value) {
		for _, theirs := range places(o.value) {
			if dataset.Path(mine.path).Contains(dataset.Path(theirs.path)) || dataset.Path(theirs.path).Contains(dataset.Path(mine.path)) {
				a.table.wrong(mine.key, "%s = %q and %s = %q (%s) lie inside each other; each accept needs a place of its own",
					mine.key, mine.path, theirs.key, theirs.path, place(o.table))
			}
		}
	}
}

// spot is a path and the key that names it.
type spot struct{ key, path string }

// places lists where an accept writes.
func places(a policy.Accept) []spot {
	var all []spot
	for _, s := range []spot{{"into", a.Into}, {"live", a.Live}} {
		if s.path != "" {
			all = append(all, s)
		}
	}
	return all
}

// checkInto refuses to take received data for data of a job.
func (d *draft) checkInto(a placed[policy.Accept]) {
	for _, j := range d.jobs {
		into := dataset.Path(a.value.Into)
		if into.IsZero() || j.value.Forward != "" || j.value.Driver != a.value.Driver || !j.value.Datasets.Covers(into) {
			continue
		}
		a.table.wrong("into", `into = %q lies in the datasets of job %q (%s), which would replicate what is received; want another place, or "!%s" and "!%s/**" at the end of those datasets`,
			into, j.value.ID, place(j.table), into, into)
	}
}
