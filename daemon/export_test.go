package daemon

import (
	"context"

	"antipode/daemon/control"
	"antipode/daemon/plan"
	"antipode/daemon/prune"
)

// What the control socket calls, for tests that have none.

// Trigger is the verb trigger.
func (d *Daemon) Trigger(ctx context.Context, r control.TriggerRequest) (control.TriggerResponse, error) {
	return d.trigger(ctx, r)
}

// Preview is the verb plan.
func (d *Daemon) Preview(ctx context.Context, r control.PlanRequest) (control.Preview[plan.Plan, prune.Verdict], error) {
	return d.preview(ctx, r)
}

// Abort is the verb abort.
func (d *Daemon) Abort(ctx context.Context, r control.AbortRequest) (control.AbortResponse, error) {
	return d.abort(ctx, r)
}

// Check is the verb check.
func (d *Daemon) Check(ctx context.Context) (control.CheckResponse, error) {
	return d.check(ctx, control.Nothing{})
}

// IssueToken is the verb pair.
func (d *Daemon) IssueToken() (control.PairResponse, error) { return d.pairing.issue() }

// RedeemToken is the verb pair-accept.
func (d *Daemon) RedeemToken(ctx context.Context, token string) (control.PairAcceptResponse, error) {
	return d.pairing.redeem(ctx, control.PairAcceptRequest{Token: token})
}

// Rate is the verb rate.
func (d *Daemon) Rate(ctx context.Context, r control.RateRequest) (control.RateResponse, error) {
	return d.rate(ctx, r)
}
