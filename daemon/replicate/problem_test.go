package replicate

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"antipode/daemon/plan"
	"antipode/fsdrivers/dataset"
	"antipode/transport/wire"
)

func TestProblemTellsTheNextStepOnce(t *testing.T) {
	conflict := &plan.NoCommonBase{Evidence: plan.Evidence{Dataset: dataset.Dataset{Path: "/db", ID: "d1"}}}
	answer := &wire.Error{Kind: wire.KindInternal, Text: "no room", Next: "make room"}
	for _, err := range []error{conflict, fmt.Errorf("plan: %w", conflict), answer, fmt.Errorf("open: %w", answer)} {
		p := Problem(err, time.Unix(0, 0))
		if p.Next == "" || strings.Contains(p.Text, p.Next) {
			t.Errorf("%v: the text is %q beside the next step %q", err, p.Text, p.Next)
		}
	}
}
