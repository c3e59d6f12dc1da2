// Package retain carries a policy out over all datasets that one side holds of a job,
// or of one peer: what is to be destroyed is decided on one dataset at a time
// (daemon/prune), groups and the brake look at all. It knows no job and no peer beyond
// their names, and no clock.
package retain

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"antipode/daemon/control"
	"antipode/daemon/ledger"
	"antipode/daemon/policy"
	"antipode/daemon/prune"
	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
)

// maxDoomed bounds the verdicts that wait between the two passes of a retention;
// what is beyond that is decided on again in the second.
const maxDoomed = 100_000

// Retention is one side's policy over all datasets that it holds of a job, or of
// one peer. It looks at one dataset at a time, twice: groups and the brake need to
// have seen all before anything is destroyed.
type Retention struct {
	Side   ledger.Side
	Name   string // the job, or the peer
	Room   string // which of a peer's it is: its driver; "" of a job
	Bounds policy.Retention
	Paths  []dataset.Path
	// Unseen is why datasets may be missing among Paths; nil: all are there.
	Unseen error
	// Judge lists one dataset and decides; what it returns may be kept.
	Judge func(ctx context.Context, path dataset.Path) ([]prune.Verdict, error)
	By    prune.Destroyer
	// Remember writes down what was destroyed.
	Remember func(path dataset.Path, destroyed []prune.Verdict)
	Alarm    Alarm
}

// Alarm tells the operator of what stops a retention, and that it does no more.
type Alarm interface {
	Alarm(kind, object, text string)
	Settle(kind, object string)
}

// Judgement is of one dataset what is known between the passes.
type Judgement struct {
	Path    dataset.Path
	Total   int
	Doomed  []prune.Verdict // nil if they were too many to keep
	Dropped bool            // Doomed are to be decided on again
	All     []prune.Verdict // only where they are to be shown
}

// Survey is the first pass.
type Survey struct {
	Judged []Judgement
	Groups *prune.Groups // nil: each dataset by itself
	Brake  string        // why nothing may be destroyed; "" is none
	Err    error         // of datasets that cannot be read
	frozen *FrozenError
}

// Survey looks at all datasets and destroys nothing. With whole it keeps every verdict.
func (r *Retention) Survey(ctx context.Context, whole bool) Survey {
	var s Survey
	var errs []error
	if r.Bounds.Groups {
		s.Groups = prune.NewGroups()
		if r.Unseen != nil {
			s.Groups.Miss(firstLine(r.Unseen))
		}
	}
	kept := 0
	for _, path := range r.Paths {
		verdicts, err := r.Judge(ctx, path)
		if err != nil {
			err = fmt.Errorf("list snapshots of %s: %w", path, err)
			errs = append(errs, err)
			if s.Groups != nil {
				s.Groups.Miss(firstLine(err))
			}
			continue
		}
		s.frozen = s.frozen.and(Frozen(r.Side, r.Name, path, verdicts))
		if s.Groups != nil {
			s.Groups.Note(path, verdicts)
		}
		j := Judgement{Path: path, Total: len(verdicts), Doomed: prune.Doomed(verdicts)}
		if whole {
			j.All = verdicts
		} else if kept += len(j.Doomed); kept > maxDoomed {
			j.Doomed, j.Dropped = nil, true
		}
		s.Judged = append(s.Judged, j)
	}
	if s.Groups != nil && s.Groups.Missed() != "" && len(s.Judged) > 0 {
		errs = append(errs, &groupsError{r.Object(), s.Groups.Missed()})
	}
	s.Err = errors.Join(errs...)
	s.Brake = r.stops(ctx, &s)
	return s
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// groupsError is why nothing is destroyed where a dataset of a group was not seen.
type groupsError struct{ object, why string }

// Error names whose retention it is.
func (e *groupsError) Error() string {
	return fmt.Sprintf("retention of %s destroys nothing, since groups is set and not all datasets were seen: %s", e.object, e.why)
}

// Next tells the ways out.
func (e *groupsError) Next() string {
	return "make the dataset readable, take it out of the configuration, or take groups out"
}

// stops applies the groups, counts, and asks the brake.
func (r *Retention) stops(ctx context.Context, s *Survey) string {
	doomed, total := 0, 0
	for i := range s.Judged {
		j := &s.Judged[i]
		if s.Groups != nil {
			s.Groups.Apply(j.All)
			s.Groups.Apply(j.Doomed)
			j.Doomed = prune.Doomed(j.Doomed)
		}
		total += j.Total
		doomed += len(j.Doomed)
		if j.Dropped {
			doomed += len(r.again(ctx, s, j.Path))
		}
	}
	return prune.Brake(r.Bounds.Brake).Stops(doomed, total)
}

// again decides on a dataset once more, with what the groups keep. One that cannot
// be read any more destroys nothing.
func (r *Retention) again(ctx context.Context, s *Survey, path dataset.Path) []prune.Verdict {
	verdicts, err := r.Judge(ctx, path)
	if err != nil {
		return nil
	}
	if s.Groups != nil {
		s.Groups.Apply(verdicts)
	}
	return prune.Doomed(verdicts)
}

// Run carries the policy out. With release, the brake stops nothing. That a dataset is
// frozen stands on the board and was told; frozen is for who asked for the run.
func (r *Retention) Run(ctx context.Context, release bool) (destroyed int, frozen, err error) {
	s := r.Survey(ctx, false)
	errs := []error{s.Err}
	if err := r.Stopped(s, release); err != nil {
		return 0, s.Frozen(), errors.Join(s.Err, err)
	}
	for _, j := range s.Judged {
		if j.Dropped {
			j.Doomed = r.again(ctx, &s, j.Path)
		}
		if len(j.Doomed) == 0 {
			continue
		}
		done, err := prune.Execute(ctx, j.Path, j.Doomed, r.By)
		r.Remember(j.Path, done)
		destroyed += len(done)
		if err != nil {
			errs = append(errs, fmt.Errorf("prune %s: %w", j.Path, err))
		}
	}
	return destroyed, s.Frozen(), errors.Join(errs...)
}

// Stopped is the brake, which lets nothing be destroyed after a survey; nil where there
// may. It has told the operator, also of what is frozen. With release, the brake stops
// nothing.
func (r *Retention) Stopped(s Survey, release bool) error {
	r.tellFrozen(s)
	if s.Brake == "" || release {
		r.Alarm.Settle(alarmBrake, r.about())
		return nil
	}
	err := &BrakeError{object: r.Object(), Why: s.Brake}
	r.Alarm.Alarm(alarmBrake, r.about(), err.Error()+"; "+err.Next())
	return err
}

// Preview is the very value that Run executes.
func (r *Retention) Preview(ctx context.Context) ([]control.PrunePreview[prune.Verdict], string, error) {
	s := r.Survey(ctx, true)
	all := []control.PrunePreview[prune.Verdict]{}
	for _, j := range s.Judged {
		all = append(all, control.PrunePreview[prune.Verdict]{
			Dataset: j.Path, Verdicts: j.All, Frees: frees(ctx, r.By, j.Path, j.Doomed),
		})
	}
	return all, s.Brake, s.Err
}

// Object names whose retention it is.
func (r *Retention) Object() string { return objectOf(r.Side, r.Name) }

// about is what an alarm is about. A peer may have a room for each driver, and what one
// settles must not end what the other alarms of.
func (r *Retention) about() string {
	if r.Room == "" {
		return r.Object()
	}
	return r.Object() + " (" + r.Room + ")"
}

func objectOf(side ledger.Side, name string) string {
	if side == ledger.Source {
		return "job " + name
	}
	return "accept from " + name
}

// frees asks a driver that can tell; Btrfs knows it only with quotas.
func frees(ctx context.Context, by any, path dataset.Path, doomed []prune.Verdict) control.Estimate {
	if len(doomed) == 0 {
		return control.Estimate{Kind: control.About}
	}
	can, ok := by.(fsdrivers.Freer)
	if !ok {
		return control.Estimate{Kind: control.Unknown}
	}
	list := make([]dataset.Snapshot, len(doomed))
	for i, v := range doomed {
		list[i] = v.Snapshot
	}
	bytes, err := can.Frees(ctx, path, list)
	if err != nil {
		return control.Estimate{Kind: control.Unknown}
	}
	return control.Estimate{Bytes: bytes, Kind: control.About}
}

// alarmBrake is the event of a retention that was stopped.
const alarmBrake = "brake"

// BrakeError is why a retention destroyed nothing.
type BrakeError struct {
	object string
	Why    string
	plan   bool // somebody asked for it by a plan
}

// Error names whose retention it is.
func (e *BrakeError) Error() string { return e.object + ": " + e.Why }

// Next tells how to let it go.
func (e *BrakeError) Next() string {
	if e.plan {
		return "look at what the plan names; if it is meant, `antipode prune --plan FILE --release-brake`"
	}
	arg := argument(e.object)
	return fmt.Sprintf("look with `antipode prune %s --dry-run`; if it is meant, `antipode prune %s --release-brake`", arg, arg)
}

// argument names to `antipode prune` what Object names to people.
func argument(object string) string {
	if from, is := strings.CutPrefix(object, "accept from "); is {
		return "--from " + from
	}
	return strings.TrimPrefix(object, "job ")
}
