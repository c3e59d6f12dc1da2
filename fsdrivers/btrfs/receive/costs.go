package receive

import (
	"context"
	"fmt"
	"strings"

	"antipode/fsdrivers/btrfs/segment"
	"antipode/fsdrivers/btrfs/subvol"
)

// Costs implements fsdrivers.Coster.
func (rv *Receiver) Costs(context.Context) (string, error) {
	l := rv.limits
	text := fmt.Sprintf("a copy on its way keeps up to %d snapshots beside the points, which pin what it has replaced since; "+
		"a crash sends at most two segments again, each of %d MiB or %s", segment.MaxKept/2, l.Bytes>>20, l.Most)
	in, err := rv.shelf.Open()
	if err != nil {
		return "", err
	}
	defer in.Close()
	steps, err := subvol.Names(in.Incoming)
	if err != nil {
		return "", err
	}
	var kept []string
	for _, step := range steps {
		r, found, err := readRecord(in, step)
		if err != nil || !found {
			continue // the sweep names it
		}
		w, err := lookAtWork(in, r)
		if err != nil {
			continue // it has just ended
		}
		if j, err := rv.readJournal(w, r.From.IsZero()); err == nil && len(j.Kept) > 0 {
			kept = append(kept, fmt.Sprintf("%s (%d segments, %d MiB of its stream)", r.Dataset.Path, len(j.Kept), j.Newest().At.Done>>20))
		}
		w.close()
	}
	if len(kept) > 0 {
		text += "; on their way now: " + strings.Join(kept, ", ")
	}
	return text, nil
}
