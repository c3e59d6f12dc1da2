package daemon

import (
	"context"

	"antipode/daemon/control"
	"antipode/daemon/ledger"
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
	return d.check(ctx, control.CheckRequest{})
}

// CheckDeep is the verb check --deep.
func (d *Daemon) CheckDeep(ctx context.Context) (control.CheckResponse, error) {
	return d.check(ctx, control.CheckRequest{Deep: true})
}

// IssueToken is the verb pair.
func (d *Daemon) IssueToken() (control.PairResponse, error) { return d.pairing.Issue() }

// RedeemToken is the verb pair-accept.
func (d *Daemon) RedeemToken(ctx context.Context, token string, reverse bool) (control.PairAcceptResponse, error) {
	return d.pairing.Redeem(ctx, control.PairAcceptRequest{Token: token, Reverse: reverse})
}

// Rate is the verb rate.
func (d *Daemon) Rate(ctx context.Context, r control.RateRequest) (control.RateResponse, error) {
	return d.rate(ctx, r)
}

// Unpin is the verb unpin.
func (d *Daemon) Unpin(ctx context.Context, r control.PinRequest) (control.PinResponse, error) {
	return d.unpin(ctx, r)
}

// Names is the verb names.
func (d *Daemon) Names(ctx context.Context, r control.NamesRequest) (control.NamesResponse, error) {
	return d.names(ctx, r)
}

// Resolve is the verb resolve.
func (d *Daemon) Resolve(ctx context.Context, r control.ResolveRequest) (control.ResolveResponse, error) {
	return d.resolve(ctx, r)
}

// Send is the verb send.
func (d *Daemon) Send(ctx context.Context, r control.SendRequest[plan.Plan]) (control.SendResponse, error) {
	return d.send(ctx, r)
}

// Prune is the verb prune.
func (d *Daemon) Prune(ctx context.Context, r control.PruneRequest[prune.Verdict]) (control.PruneResponse[prune.Verdict], error) {
	return d.prune(ctx, r)
}

// Pin is the verb pin.
func (d *Daemon) Pin(ctx context.Context, r control.PinRequest) (control.PinResponse, error) {
	return d.pin(ctx, r)
}

// Holds is the verb holds.
func (d *Daemon) Holds(ctx context.Context, r control.HoldsRequest) (control.HoldsResponse, error) {
	return d.holds(ctx, r)
}

// Explain is the verb explain.
func (d *Daemon) Explain(ctx context.Context, r control.ExplainRequest) (control.ExplainResponse[prune.Verdict], error) {
	return d.explain(ctx, r)
}

// Abandon is the verb abandon.
func (d *Daemon) Abandon(ctx context.Context, r control.AbandonRequest) (control.AbandonResponse, error) {
	return d.abandon(ctx, r)
}

// History is the verb history.
func (d *Daemon) History(q ledger.Query) (control.HistoryResponse[ledger.Entry], error) {
	return d.history(context.Background(), q)
}
