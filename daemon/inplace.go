package daemon

import (
	"context"
	"errors"
	"fmt"

	"antipode/daemon/activate"
	"antipode/daemon/control"
	"antipode/daemon/cure"
	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
)

// A replica may go live itself, where its file system can: nothing is copied, and it is
// no standby any more until this side gives way. The mark says that it is so, before it
// is live; so a daemon that dies in between goes on in the same way.

// inPlacer is what makes the room's replicas themselves live; nil where it cannot.
func (r *room) inPlacer() activate.InPlacer {
	if p, can := r.driver.(fsdrivers.InPlacer); can {
		return p
	}
	return nil
}

// mayGoThatWay refuses, before anything is done, to make the replica itself live where
// that is not possible. at is the place of the point that was chosen.
func (p promotion) mayGoThatWay(ctx context.Context, r control.PromoteRequest, at int) error {
	refused := func(next, text string, args ...any) error {
		return &control.Error{Kind: control.KindRefused, Object: string(p.key.Dataset), Text: fmt.Sprintf(text, args...), Next: next}
	}
	const copied = "leave --in-place out: a copy goes live then, which shares its data with the replica"
	driver := p.room.inPlacer()
	switch {
	case !r.InPlace:
		return nil
	case p.role == activate.Primary && !p.mark.InPlace:
		return refused("leave --in-place out to finish that", "it was promoted in generation %d, and a copy is live", p.mark.Generation)
	case p.role == activate.Primary:
		return nil
	case driver == nil:
		return refused(copied, "its file system (%s) cannot make a replica itself live", p.room.Accept().Driver)
	case at < 0:
		return nil // told by the promotion
	case at != len(p.points)-1:
		return refused(copied, "only the newest recovery point, %s, can go live in place", p.points[len(p.points)-1].Name)
	}
	if err := driver.MayActivateInPlace(ctx, p.key.Dataset, p.points[at]); err != nil {
		return refused(copied, "%v", err)
	}
	return nil
}

// rest makes a replica that is live itself a standby again. The mark still says that this
// node is primary of it: a daemon that dies after it finds that at its start, and makes it
// live once more.
func (p promotion) rest(ctx context.Context) error {
	if !p.isLiveItself() {
		return nil
	}
	driver, can := p.room.driver.(fsdrivers.InPlacer)
	if !can {
		return &cure.UnfitError{Cure: cure.GiveWay, Why: "its driver cannot make it a standby again", Then: "see `antipode check`"}
	}
	err := driver.Rest(ctx, p.key.Dataset)
	switch {
	case errors.Is(err, dataset.ErrDiverged):
		return &cure.UnfitError{
			Cure: cure.GiveWay, Why: err.Error(),
			Then: "copy to elsewhere what is to be kept of it, give up the rest (ZFS: `zfs rollback` to its newest snapshot), and give way again",
		}
	case errors.Is(err, dataset.ErrBusy):
		return &cure.UnfitError{Cure: cure.GiveWay, Why: err.Error(), Then: "stop what uses it, and give way again"}
	}
	return err
}

// isLiveItself goes by the mark, which is there before and after the replica is live.
func (p promotion) isLiveItself() bool { return p.role == activate.Primary && p.mark.InPlace }
