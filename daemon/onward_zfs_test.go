package daemon_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"antipode/daemon/control"
	"antipode/daemon/policy"
	"antipode/daemon/status"
	"antipode/fsdrivers/dataset"
)

// tankDB is what a dataset is called on ZFS.
const tankDB = dataset.Path("tank/db")

// onTank makes the pair's job one of ZFS: of a pool with that and another dataset.
func (p *pair) onTank() {
	p.t.Helper()
	p.fra1.disk.Remove(db)
	p.fra1.disk.Make("tank")
	p.fra1.disk.Make(tankDB)
	job := &p.fra1.config.Jobs[0]
	job.Driver, job.Datasets = policy.ZFS, policy.Patterns{{Path: tankDB}}
	accept := &p.sin1.config.Accepts[0]
	accept.Driver, accept.Into = policy.ZFS, "backup/fra1"
}

// Names of ZFS have no slash in front, and are as good for a chain.
func TestAChainCarriesDatasetsWithNamesOfZFS(t *testing.T) {
	for pattern, datasets := range map[string]policy.Patterns{
		"by name": {{Path: tankDB}}, "the pool": {{Path: "tank", Below: true}},
	} {
		t.Run(pattern, func(t *testing.T) {
			runPair(t, func(p *pair) {
				p.onTank()
				syd1 := p.chain()
				p.sin1.config.Jobs[0].Driver, p.sin1.config.Jobs[0].Datasets = policy.ZFS, datasets
				syd1.config.Accepts[0].Driver, syd1.config.Accepts[0].Into = policy.ZFS, "backup/sin1"
				p.startBoth()
				p.start(syd1)
				defer func() { syd1.stop() }()
				for hour := range 3 {
					if err := p.fra1.disk.Write(tankDB, "log", []byte(fmt.Sprint("hour ", hour))); err != nil {
						t.Fatal(err)
					}
					after(time.Hour)
				}
				middle, end := p.pointsOf(p.sin1, "backup/fra1", tankDB), p.pointsOf(syd1, "backup/sin1", tankDB)
				if len(end) < 3 || !slices.Equal(ids(middle), ids(end)) {
					t.Errorf("syd1 holds %v, want what sin1 holds: %v", ids(end), ids(middle))
				}
				j := p.sin1.daemon.Status().Jobs[0]
				if len(j.Datasets) != 1 || j.Datasets[0].Path != tankDB || j.Problem != nil || j.Datasets[0].Peers[0].State != status.StateOK {
					t.Errorf("sin1 shows %+v, want one dataset that is sent on", j)
				}
				p.wantFinding(p.sin1, "job onward", control.Good, "sends on what fra1 sends")
			})
		})
	}
}

// On ZFS what is stripped is into itself, and that can be no replica.
func TestCheckNamesTheDatasetThatIsStrippedItself(t *testing.T) {
	for strip, want := range map[dataset.Path]string{
		"tank":      "sin1 takes only what is below tank (strip): it refuses 1 of the job's datasets, the first is tank",
		"tank/data": "sin1 takes only what is below tank/data (strip): it refuses 2 of the job's datasets, the first is tank",
	} {
		runPair(t, func(p *pair) {
			p.onTank()
			p.fra1.config.Jobs[0].Datasets = policy.Patterns{{Path: "tank"}, {Path: tankDB}}
			p.sin1.config.Accepts[0].Strip = strip
			p.startBoth()
			after(time.Minute)
			p.wantFinding(p.fra1, "job db", control.Fatal, want)
		})
	}
}
