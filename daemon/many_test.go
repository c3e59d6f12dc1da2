package daemon_test

import (
	"fmt"
	"testing"
	"time"

	"antipode/daemon/control"
	"antipode/daemon/policy"
	"antipode/fsdrivers/dataset"
	"antipode/transport/wire"
)

// A job may select more datasets than one exchange of inventories takes.
func TestAJobOfManyDatasetsIsReplicated(t *testing.T) {
	runPair(t, func(p *pair) {
		const many = wire.MaxInventoryDatasets + 72
		for i := range many {
			p.fra1.disk.Make(dataset.Path(fmt.Sprintf("/many/%d", i)))
		}
		p.fra1.config.Jobs[0].Datasets = policy.Patterns{{Path: "/many", Below: true}}
		p.startBoth()
		after(10 * time.Minute)
		missing := 0
		for i := range many {
			if len(p.points(dataset.Path(fmt.Sprintf("/many/%d", i)))) == 0 {
				missing++
			}
		}
		if missing > 0 {
			t.Errorf("%d of %d datasets did not arrive", missing, many)
		}
		shown, err := p.fra1.daemon.Preview(p.t.Context(), control.PlanRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if got := len(shown.Jobs[0].Sends); got != many {
			t.Errorf("the plan shows %d sends, want %d; problems %v", got, many, shown.Jobs[0].Problems)
		}
	})
}
