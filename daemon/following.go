package daemon

import (
	"context"
	"fmt"
	"sync"

	"antipode/daemon/control"
	"antipode/daemon/plan"
)

// The send verb with the values that planning decides on.
type (
	sendRequest = control.SendRequest[plan.Plan]
	sendPreview = control.SendPreview[plan.Plan]
)

// send carries out plans as they were printed. One that does not fit any more is
// refused and holds back no other.
func (d *Daemon) send(ctx context.Context, r sendRequest) (control.SendResponse, error) {
	answer := control.SendResponse{Sends: []control.Sent{}}
	var planned []sendPreview
	for _, p := range r.Plan {
		if _, err := d.job(p.Job); err != nil {
			return answer, err
		}
		for _, s := range p.Sends {
			if s.Plan != nil && len(s.Plan.Steps) > 0 {
				planned = append(planned, s)
				answer.Sends = append(answer.Sends, control.Sent{Job: p.Job, Dataset: s.Dataset, Peer: s.Peer})
			}
		}
	}
	var under sync.WaitGroup
	for i := range planned {
		under.Go(func() {
			line := &answer.Sends[i]
			if err := d.sendOne(ctx, *planned[i].Plan, line); err != nil {
				line.Error = control.ErrorOf(d.worded(err))
			}
		})
	}
	under.Wait()
	return answer, ctx.Err()
}

func (d *Daemon) sendOne(ctx context.Context, p plan.Plan, line *control.Sent) error {
	w, err := d.job(line.Job)
	if err != nil {
		return err
	}
	c := w.couriers[line.Peer]
	if c == nil {
		return &control.Error{
			Kind: control.KindNotFound, Object: "peer " + line.Peer, Text: "job " + line.Job + " does not replicate to it",
			Next: fmt.Sprintf("it replicates to %v; make a new plan", w.job.ReplicateTo),
		}
	}
	if p.Dataset.Path != line.Dataset {
		return &control.Error{
			Kind: control.KindUsage, Object: string(line.Dataset), Text: fmt.Sprintf("its plan is for %s", p.Dataset.Path), Next: "make a new plan",
		}
	}
	tally, unmade, err := c.Follow(ctx, p)
	line.Steps, line.Bytes, line.Unmade = tally.Steps, tally.Bytes, unmade
	return err
}
