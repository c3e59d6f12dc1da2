package pool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/cli"
	"antipode/fsdrivers/zfs/naming"
	"antipode/fsdrivers/zfs/prop"
)

// AnswerAll answers the same for each of a list.
func AnswerAll(list []dataset.Snapshot, err error) []error {
	return slices.Repeat([]error{err}, len(list))
}

// razing destroys snapshots and bookmarks of one dataset.
type razing struct {
	host    *Host
	ds      string
	list    []dataset.Snapshot
	answers []error
}

// Raze destroys what is in list and nobody holds, and answers for each. zfs destroys by
// name, so what a name stands for is looked up right before each command: since the caller
// has listed it the snapshot may have been made anew, or the dataset another.
func (h *Host) Raze(ctx context.Context, ds string, list []dataset.Snapshot) []error {
	z := &razing{host: h, ds: ds, list: list, answers: make([]error, len(list))}
	var doomed, marks []int
	for i, snap := range list {
		if err := naming.Own(snap.Name); err != nil {
			copy(z.answers[i:], AnswerAll(list[i:], err))
			break
		}
		if snap.Bookmark {
			marks = append(marks, i)
		} else {
			doomed = append(doomed, i)
		}
	}
	err := z.raze(ctx, doomed)
	for _, i := range marks {
		if err == nil {
			err = z.unmark(ctx, list[i].ID)
		}
		z.answers[i] = err
	}
	return z.answers
}

// unmark destroys the bookmark of ours that has the identity, if there is one.
func (z *razing) unmark(ctx context.Context, id dataset.ID) error {
	all, err := z.host.List(ctx, z.ds)
	if err != nil {
		return cli.Unless(err, dataset.ErrNotFound)
	}
	at := slices.IndexFunc(all, func(e Entry) bool { return e.IsBookmark() && e.IsOurs() && e.ID() == id })
	if at < 0 {
		return nil
	}
	if _, err := z.host.Run(ctx, z.ds, "destroy", all[at].Name); cli.Unless(err, dataset.ErrNotFound) != nil {
		return fmt.Errorf("destroy %s: %w", all[at].Name, err)
	}
	return nil
}

// still are those that are there with the identity that is to go. It answers for those
// that have another, and after an error for all; one that is gone is success.
func (z *razing) still(ctx context.Context, some []int) (there []int, err error) {
	ids := make(map[string]dataset.ID, len(some))
	err = cli.AtOnce(z.names(some), func(names []string) error {
		out, err := z.host.Run(ctx, z.ds, append([]string{"list", "-Hp", "-t", "snapshot", "-o", listColumns}, names...)...)
		if cli.Unless(err, dataset.ErrNotFound) != nil {
			return fmt.Errorf("look up %s: %w", names[0], err)
		}
		found, err := parseList(out)
		for _, e := range found {
			ids[e.Name] = e.ID()
		}
		return err
	})
	if err != nil {
		z.stop(some, err)
		return nil, err
	}
	for _, i := range some {
		full := z.ds + "@" + z.list[i].Name
		switch id, is := ids[full]; {
		case is && id == z.list[i].ID:
			there = append(there, i)
		case is:
			z.answers[i] = fmt.Errorf("%s is %s, not the snapshot %s: %w", full, id, z.list[i].ID, dataset.ErrChanged)
		}
	}
	return there, nil
}

// names are the full names of those.
func (z *razing) names(some []int) []string {
	full := make([]string, len(some))
	for n, i := range some {
		full[n] = z.ds + "@" + z.list[i].Name
	}
	return full
}

// raze destroys snapshots that nobody holds, and answers for each. Its error is one
// that stops everything.
func (z *razing) raze(ctx context.Context, doomed []int) error {
	free, err := z.letGo(ctx, doomed)
	if err != nil {
		z.stop(doomed, err)
		return err
	}
	for len(free) > 0 {
		n, size := 0, len(z.ds)
		for n < len(free) && (n == 0 || size+len(z.list[free[n]].Name) < cli.MaxArgBytes) {
			size += len(z.list[free[n]].Name) + 1
			n++
		}
		if err := z.destroy(ctx, free[:n]); err != nil {
			z.stop(free[n:], err)
			return err
		}
		free = free[n:]
	}
	return nil
}

// destroy runs one `zfs destroy`. That destroys all it is told to, or none where one
// has got a hold, a clone or a send meanwhile: then halves are tried.
func (z *razing) destroy(ctx context.Context, some []int) error {
	some, err := z.still(ctx, some)
	if err != nil || len(some) == 0 {
		return err
	}
	names := make([]string, len(some))
	for n, i := range some {
		names[n] = z.list[i].Name
	}
	_, err = z.host.Run(ctx, z.ds, "destroy", z.ds+"@"+strings.Join(names, ","))
	err = cli.Unless(err, cli.ErrNothing, dataset.ErrNotFound)
	kept := errors.Is(err, dataset.ErrBusy) || errors.Is(err, dataset.ErrHeld)
	switch {
	case err == nil:
		return nil
	case !kept:
		z.stop(some, fmt.Errorf("destroy %s@%s: %w", z.ds, names[0], err))
		return err
	case len(some) == 1:
		z.answers[some[0]] = fmt.Errorf("destroy %s@%s: %w: %w", z.ds, names[0], dataset.ErrHeld, err)
		return nil
	}
	half := len(some) / 2
	if err := z.destroy(ctx, some[:half]); err != nil {
		z.stop(some[half:], err)
		return err
	}
	return z.destroy(ctx, some[half:])
}

// stop answers for those that are left because of an error, unless they are answered
// for.
func (z *razing) stop(left []int, err error) {
	for _, i := range left {
		if z.answers[i] == nil {
			z.answers[i] = err
		}
	}
}

// letGo answers for those that are held, takes pins off that the caller has seen to
// have ended, and returns those that nothing holds.
func (z *razing) letGo(ctx context.Context, doomed []int) (free []int, err error) {
	holds, err := z.holds(ctx, doomed)
	if err != nil {
		return nil, err
	}
	ended := make(map[string][]int) // by tag
	for _, i := range doomed {
		full, pin := z.ds+"@"+z.list[i].Name, ""
		if z.list[i].Pin != nil {
			pin = prop.PinTag(*z.list[i].Pin)
		}
		others := slices.DeleteFunc(slices.Clone(holds[full]), func(tag string) bool { return tag == pin })
		if len(others) > 0 {
			z.answers[i] = fmt.Errorf("destroy %s: %w by %s", full, dataset.ErrHeld, strings.Join(others, ", "))
			continue
		}
		if len(holds[full]) > 0 {
			ended[pin] = append(ended[pin], i)
		}
		free = append(free, i)
	}
	for tag, some := range ended {
		there, err := z.still(ctx, some)
		if err != nil {
			return nil, err
		}
		err = cli.InBatches(z.names(there), func(names []string) error {
			_, err := z.host.Run(ctx, z.ds, append([]string{"release", tag}, names...)...)
			return cli.Unless(err, cli.ErrNothing, dataset.ErrNotFound)
		})
		if err != nil {
			return nil, fmt.Errorf("take off the pin of %s@%s: %w", z.ds, z.list[some[0]].Name, err)
		}
	}
	return free, nil
}

// holds are everybody's tags by snapshot.
func (z *razing) holds(ctx context.Context, doomed []int) (map[string][]string, error) {
	tags := make(map[string][]string)
	return tags, cli.InBatches(z.names(doomed), func(some []string) error {
		out, err := z.host.Run(ctx, z.ds, append([]string{"holds", "-H"}, some...)...)
		if cli.Unless(err, dataset.ErrNotFound) != nil {
			return fmt.Errorf("holds of %s: %w", some[0], err)
		}
		all, err := parseAllHolds(out)
		for _, h := range all {
			tags[h.snapshot] = append(tags[h.snapshot], h.tag)
		}
		return err
	})
}

// ConcernsOne reports whether the error says nothing of other snapshots.
func ConcernsOne(err error) bool {
	return errors.Is(err, dataset.ErrHeld) || errors.Is(err, dataset.ErrChanged)
}

// Frees asks what destroying snapshots would give back. Of more than a command line
// takes, what they share among each other is left out.
func (h *Host) Frees(ctx context.Context, ds string, list []dataset.Snapshot) (sum int64, err error) {
	var names []string
	for _, snap := range list {
		if naming.Own(snap.Name) == nil && !snap.Bookmark {
			names = append(names, snap.Name)
		}
	}
	err = cli.InBatches(names, func(some []string) error {
		out, err := h.Run(ctx, ds, "destroy", "-n", "-v", "-p", ds+"@"+strings.Join(some, ","))
		if cli.Unless(err, cli.ErrNothing) != nil {
			return fmt.Errorf("ask what destroying %s@%s frees: %w", ds, some[0], err)
		}
		bytes, err := parseReclaim(out)
		sum += bytes
		return err
	})
	return sum, err
}

// parseReclaim reads `zfs destroy -nvp`: among the names of what would go a line
// "reclaim", a tab, and bytes.
func parseReclaim(out string) (int64, error) {
	for line := range strings.Lines(out) {
		if size, found := strings.CutPrefix(line, "reclaim\t"); found {
			n, err := strconv.ParseInt(strings.TrimSpace(size), 10, 64)
			if err != nil || n < 0 {
				return 0, fmt.Errorf("cannot read the size %.80q of zfs destroy -nvp", size)
			}
			return n, nil
		}
	}
	return 0, nil // nothing of it is there
}
