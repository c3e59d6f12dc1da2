package target

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/prop"
)

// The layout of an Into is how its source's paths become names: what Strip names is
// left out in front, below Into and below Live. It is written on Into, since with another
// one the replicas that are there would be looked for elsewhere.

// settleLayout notes the layout of an Into without replicas, and holds one with replicas
// to what it is.
func (t *Target) settleLayout(ctx context.Context, was string) error {
	if was == string(t.opts.Strip) {
		return nil
	}
	f, err := t.zfs.Get(ctx, prop.List(prop.Path, prop.Source), []string{t.opts.Into}, "-r", "-t", "filesystem,volume")
	if err != nil {
		return err
	}
	if held := slices.DeleteFunc(lineagesOf(f), (*lineage).isForeign); len(held) > 0 {
		return fmt.Errorf("it holds %d replicas, the first is %s, received with strip = %q, which would be looked for elsewhere with strip = %q; set it back, or name a new into: %w",
			len(held), held[0].name, was, t.opts.Strip, dataset.ErrRefused)
	}
	if t.opts.Strip.IsZero() {
		return t.zfs.Unset(ctx, t.opts.Into, prop.Strip)
	}
	return t.zfs.Set(ctx, t.opts.Into, prop.Strip, string(t.opts.Strip))
}

// mustTake refuses what has no place below Into.
func (t *Target) mustTake(d dataset.Path) error {
	switch strip := t.opts.Strip; {
	case strip.IsZero():
		return nil
	case d == strip:
		return fmt.Errorf("%s is itself what strip leaves out, and %s, which the replicas lie in, can be none; name it in no job that replicates here, or take the last part out of strip: %w",
			d, t.opts.Into, dataset.ErrRefused)
	case !strip.Contains(d):
		return fmt.Errorf("%s is not below %s, which is all that %s takes (strip); name it in no job that replicates here, or take strip out: %w",
			d, strip, t.opts.Into, dataset.ErrRefused)
	}
	return nil
}

// relative is what a path that was taken is called below Into, and below Live.
func (t *Target) relative(d dataset.Path) string {
	if t.opts.Strip.IsZero() {
		return string(d)
	}
	return strings.TrimPrefix(string(d), string(t.opts.Strip)+"/")
}
