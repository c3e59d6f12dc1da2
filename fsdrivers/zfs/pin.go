package zfs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/prop"
)

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

// setPin holds with the new pin before it lets go of others; nil only lets go.
func (t *tool) setPin(ctx context.Context, ds string, s dataset.Snapshot, p *dataset.Pin) error {
	e, err := t.find(ctx, ds, s)
	if err != nil {
		return err
	}
	keep := ""
	if p != nil {
		if err := p.Validate(); err != nil {
			return err
		}
		keep = prop.PinTag(*p)
		if _, err := t.run(ctx, ds, "hold", keep, e.name); unless(err, errNothing) != nil {
			return err
		}
	}
	out, err := t.run(ctx, ds, "holds", "-H", e.name)
	if err != nil {
		return err
	}
	holds, err := parseAllHolds(out)
	for _, h := range holds {
		if strings.HasPrefix(h.tag, prop.PinPrefix) && h.tag != keep {
			_, rerr := t.run(ctx, ds, "release", h.tag, e.name)
			err = errors.Join(err, unless(rerr, errNothing))
		}
	}
	return err
}

// Pin implements fsdrivers.Pinner.
func (s *Source) Pin(ctx context.Context, d dataset.Path, snap dataset.Snapshot, p dataset.Pin) error {
	return s.setPin(ctx, d, snap, &p)
}

// Unpin implements fsdrivers.Pinner.
func (s *Source) Unpin(ctx context.Context, d dataset.Path, snap dataset.Snapshot) error {
	return s.setPin(ctx, d, snap, nil)
}

func (s *Source) setPin(ctx context.Context, d dataset.Path, snap dataset.Snapshot, p *dataset.Pin) error {
	name, err := s.name(d)
	if err == nil {
		defer s.changed(name, false)
		err = s.zfs.setPin(ctx, name, snap, p)
	}
	if err != nil {
		return fmt.Errorf("pin %s of %s: %w", snap.Name, d, err)
	}
	return nil
}

// Pin implements fsdrivers.Pinner.
func (t *Target) Pin(ctx context.Context, d dataset.Path, snap dataset.Snapshot, p dataset.Pin) error {
	return t.setPin(ctx, d, snap, &p)
}

// Unpin implements fsdrivers.Pinner.
func (t *Target) Unpin(ctx context.Context, d dataset.Path, snap dataset.Snapshot) error {
	return t.setPin(ctx, d, snap, nil)
}

func (t *Target) setPin(ctx context.Context, d dataset.Path, snap dataset.Snapshot, p *dataset.Pin) error {
	t.places.RLock()
	defer t.places.RUnlock()
	defer t.changed(d)()
	l, err := t.lineageOf(ctx, d, snap)
	if err == nil {
		err = t.zfs.setPin(ctx, l.name, snap, p)
	}
	if err != nil {
		return fmt.Errorf("pin %s of %s: %w", snap.Name, d, err)
	}
	return nil
}

// allHolds lists the holds on the snapshots of ours in ds, ours and others'.
func (t *tool) allHolds(ctx context.Context, ds string) ([]fsdrivers.Hold, error) {
	all, err := t.list(ctx, ds)
	if err != nil {
		return nil, unless(err, dataset.ErrNotFound)
	}
	var list []fsdrivers.Hold
	err = inBatches(names(ours(all, false)), func(some []string) error {
		out, err := t.run(ctx, some[0], append([]string{"holds", "-Hp"}, some...)...)
		if unless(err, dataset.ErrNotFound) != nil {
			return err
		}
		holds, err := parseAllHolds(out)
		for _, h := range holds {
			if strings.HasPrefix(h.tag, prop.PinPrefix) {
				continue
			}
			_, short, _ := strings.Cut(h.snapshot, "@")
			bare, isOurs := strings.CutPrefix(h.tag, prop.Namespace)
			list = append(list, fsdrivers.Hold{Snapshot: short, Tag: bare, Ours: isOurs, Since: h.since})
		}
		return err
	})
	slices.SortFunc(list, func(a, b fsdrivers.Hold) int {
		return cmp.Or(cmp.Compare(a.Snapshot, b.Snapshot), cmp.Compare(a.Tag, b.Tag))
	})
	return list, err
}

// Holds implements fsdrivers.HoldLister.
func (s *Source) Holds(ctx context.Context, d dataset.Path) ([]fsdrivers.Hold, error) {
	name, err := s.name(d)
	if err != nil {
		return nil, unless(err, dataset.ErrNotFound)
	}
	list, err := s.zfs.allHolds(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("holds of %s: %w", d, err)
	}
	return list, nil
}

// Holds implements fsdrivers.HoldLister.
func (t *Target) Holds(ctx context.Context, d dataset.Path) ([]fsdrivers.Hold, error) {
	t.places.RLock()
	defer t.places.RUnlock()
	r, err := t.replica(ctx, d)
	if err != nil {
		return nil, fmt.Errorf("holds of %s: %w", d, err)
	}
	var all []fsdrivers.Hold
	for _, l := range r.lineages {
		list, err := t.zfs.allHolds(ctx, l.name)
		if err != nil {
			return nil, fmt.Errorf("holds of %s: %w", d, err)
		}
		all = append(all, list...)
	}
	return all, nil
}
