package retain

import (
	"fmt"

	"antipode/daemon/ledger"
	"antipode/daemon/prune"
	"antipode/daemon/status"
	"antipode/fsdrivers/dataset"
)

// alarmFrozen is the event of a retention that waits for somebody to look.
const alarmFrozen = "retention-frozen"

// FrozenError is why nothing is destroyed of some datasets of a side until somebody
// looks: their snapshots only grow in number.
type FrozenError struct {
	object string
	path   dataset.Path // the first
	count  int
	why    prune.Reason
}

// Frozen is that error of one dataset of a job, or of a peer; nil where its retention
// goes on, by itself or with the next point.
func Frozen(side ledger.Side, name string, path dataset.Path, verdicts []prune.Verdict) *FrozenError {
	for i := range verdicts {
		for _, why := range verdicts[i].Reasons {
			if why.Kind == prune.Frozen {
				return &FrozenError{object: objectOf(side, name), path: path, count: 1, why: why}
			}
		}
	}
	return nil
}

// and counts another dataset in.
func (e *FrozenError) and(other *FrozenError) *FrozenError {
	if e == nil || other == nil {
		if e == nil {
			return other
		}
		return e
	}
	sum := *e
	sum.count++
	return &sum
}

// Why is the reason alone.
func (e *FrozenError) Why() string { return e.why.Text() }

// Error names whose retention it is.
func (e *FrozenError) Error() string {
	more := ""
	if e.count > 1 {
		more = fmt.Sprintf(" and of %s more", status.Count(e.count-1, "dataset"))
	}
	return fmt.Sprintf("%s: retention destroys nothing of %s%s: %s", e.object, e.path, more, e.why.Text())
}

// Next tells what to do about it.
func (e *FrozenError) Next() string {
	if e.why.At.IsZero() {
		return fmt.Sprintf("look with `antipode prune %s --dry-run`", argument(e.object))
	}
	return fmt.Sprintf("see that this clock is right; retention goes on by itself about %s", e.why.At.UTC().Format("2006-01-02 15:04 UTC"))
}

// tellFrozen tells the operator, or that it is over.
func (r *Retention) tellFrozen(s Survey) {
	if s.frozen == nil {
		r.Alarm.Settle(alarmFrozen, r.about())
		return
	}
	r.Alarm.Alarm(alarmFrozen, r.about(), s.frozen.Error()+"; "+s.frozen.Next())
}

// Frozen is the FrozenError of all datasets; nil where none is frozen.
func (s Survey) Frozen() error {
	if s.frozen == nil {
		return nil
	}
	return s.frozen
}
