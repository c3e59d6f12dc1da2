package pool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/cli"
	"antipode/fsdrivers/zfs/prop"
)

// Holds reads our tags on those snapshots, sorted, and their pins.
func (h *Host) Holds(ctx context.Context, snaps []string) (map[string][]dataset.Tag, map[string]*dataset.Pin, error) {
	all, pins := make(map[string][]dataset.Tag), make(map[string]*dataset.Pin)
	err := cli.ByPool(snaps, func(some []string) error {
		out, err := h.Run(ctx, some[0], append([]string{"holds", "-H"}, some...)...)
		if cli.Unless(err, dataset.ErrNotFound) != nil {
			return fmt.Errorf("holds of %s: %w", some[0], err)
		}
		found, err := parseHolds(out)
		for name, tags := range found {
			slices.Sort(tags)
			all[name] = tags
		}
		if err != nil {
			return err
		}
		theirs, err := parsePins(out)
		maps.Copy(pins, theirs)
		return err
	})
	return all, pins, err
}

// Hold tags a snapshot.
func (h *Host) Hold(ctx context.Context, ds string, s dataset.Snapshot, tag dataset.Tag) error {
	e, err := h.Find(ctx, ds, s)
	if err != nil {
		return err
	}
	_, err = h.Run(ctx, ds, "hold", prop.Namespace+string(tag), e.Name)
	return cli.Unless(err, cli.ErrNothing)
}

// Release takes a tag off the snapshots of ds but those to keep.
func (h *Host) Release(ctx context.Context, ds string, tag dataset.Tag, keep []dataset.ID) error {
	all, err := h.List(ctx, ds)
	if err != nil {
		return cli.Unless(err, dataset.ErrNotFound)
	}
	all = slices.DeleteFunc(all, func(e Entry) bool { return !e.IsSnapshot() || slices.Contains(keep, e.ID()) })
	holds, _, err := h.Holds(ctx, Names(all))
	if err != nil {
		return err
	}
	var held []string
	for name, tags := range holds {
		if slices.Contains(tags, tag) {
			held = append(held, name)
		}
	}
	return cli.InBatches(held, func(some []string) error {
		_, err := h.Run(ctx, ds, append([]string{"release", prop.Namespace + string(tag)}, some...)...)
		return cli.Unless(err, cli.ErrNothing, dataset.ErrNotFound)
	})
}

// parseHolds reads `zfs holds -Hp` and returns our tags by snapshot.
func parseHolds(out string) (map[string][]dataset.Tag, error) {
	all := make(map[string][]dataset.Tag)
	for line := range strings.Lines(out) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) < 2 || f[0] == "" {
			return nil, fmt.Errorf("cannot read the line %.200q of zfs holds", line)
		}
		bare, ours := strings.CutPrefix(f[1], prop.Namespace)
		if tag, err := dataset.ParseTag(bare); ours && err == nil {
			all[f[0]] = append(all[f[0]], tag)
		}
	}
	return all, nil
}

// someHold is one line of zfs holds.
type someHold struct {
	snapshot, tag string
	since         time.Time
}

// parseAllHolds reads `zfs holds -Hp`, where the time is in seconds, or `zfs holds
// -H`, whose time is not read.
func parseAllHolds(out string) ([]someHold, error) {
	var all []someHold
	for line := range strings.Lines(out) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) < 2 || f[0] == "" {
			return nil, fmt.Errorf("cannot read the line %.200q of zfs holds", line)
		}
		h := someHold{snapshot: f[0], tag: f[1]}
		if len(f) > 2 {
			if sec, err := strconv.ParseInt(f[2], 10, 64); err == nil {
				h.since = time.Unix(sec, 0).UTC()
			}
		}
		all = append(all, h)
	}
	return all, nil
}

// parsePins reads `zfs holds` and returns the pin of each snapshot; of two, which a
// crash may leave, the one that was set last.
func parsePins(out string) (map[string]*dataset.Pin, error) {
	holds, err := parseAllHolds(out)
	pins := make(map[string]*dataset.Pin)
	for _, h := range holds {
		if p, isPin := prop.ParsePinTag(h.tag); isPin && (pins[h.snapshot] == nil || p.At.After(pins[h.snapshot].At)) {
			pins[h.snapshot] = &p
		}
	}
	return pins, err
}

// SetPin holds with the new pin before it lets go of others; nil only lets go.
func (h *Host) SetPin(ctx context.Context, ds string, s dataset.Snapshot, p *dataset.Pin) error {
	e, err := h.Find(ctx, ds, s)
	if err != nil {
		return err
	}
	keep := ""
	if p != nil {
		if err := p.Validate(); err != nil {
			return err
		}
		keep = prop.PinTag(*p)
		if _, err := h.Run(ctx, ds, "hold", keep, e.Name); cli.Unless(err, cli.ErrNothing) != nil {
			return err
		}
	}
	out, err := h.Run(ctx, ds, "holds", "-H", e.Name)
	if err != nil {
		return err
	}
	holds, err := parseAllHolds(out)
	for _, one := range holds {
		if strings.HasPrefix(one.tag, prop.PinPrefix) && one.tag != keep {
			_, rerr := h.Run(ctx, ds, "release", one.tag, e.Name)
			err = errors.Join(err, cli.Unless(rerr, cli.ErrNothing))
		}
	}
	return err
}

// AllHolds lists the holds on the snapshots of ours in ds, ours and others'.
func (h *Host) AllHolds(ctx context.Context, ds string) ([]fsdrivers.Hold, error) {
	all, err := h.List(ctx, ds)
	if err != nil {
		return nil, cli.Unless(err, dataset.ErrNotFound)
	}
	var list []fsdrivers.Hold
	err = cli.InBatches(Names(Ours(all, false)), func(some []string) error {
		out, err := h.Run(ctx, some[0], append([]string{"holds", "-Hp"}, some...)...)
		if cli.Unless(err, dataset.ErrNotFound) != nil {
			return err
		}
		holds, err := parseAllHolds(out)
		for _, one := range holds {
			if strings.HasPrefix(one.tag, prop.PinPrefix) {
				continue
			}
			_, short, _ := strings.Cut(one.snapshot, "@")
			bare, isOurs := strings.CutPrefix(one.tag, prop.Namespace)
			list = append(list, fsdrivers.Hold{Snapshot: short, Tag: bare, Ours: isOurs, Since: one.since})
		}
		return err
	})
	slices.SortFunc(list, func(a, b fsdrivers.Hold) int {
		return cmp.Or(cmp.Compare(a.Snapshot, b.Snapshot), cmp.Compare(a.Tag, b.Tag))
	})
	return list, err
}
