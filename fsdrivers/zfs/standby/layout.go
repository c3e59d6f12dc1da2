package standby

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
func (i *Into) settleLayout(ctx context.Context, was string) error {
	if was == string(i.strip) {
		return nil
	}
	f, err := i.zfs.Get(ctx, prop.List(prop.Path, prop.Source), []string{i.Name}, "-r", "-t", "filesystem,volume")
	if err != nil {
		return err
	}
	if held := slices.DeleteFunc(lineagesOf(f), (*Lineage).isForeign); len(held) > 0 {
		return fmt.Errorf("it holds %d replicas, the first is %s, received with strip = %q, which would be looked for elsewhere with strip = %q; set it back, or name a new into: %w",
			len(held), held[0].Name, was, i.strip, dataset.ErrRefused)
	}
	if i.strip.IsZero() {
		return i.zfs.Unset(ctx, i.Name, prop.Strip)
	}
	return i.zfs.Set(ctx, i.Name, prop.Strip, string(i.strip))
}

// mustTake refuses what has no place below Into.
func (i *Into) mustTake(d dataset.Path) error {
	switch strip := i.strip; {
	case strip.IsZero():
		return nil
	case d == strip:
		return fmt.Errorf("%s is itself what strip leaves out, and %s, which the replicas lie in, can be none; name it in no job that replicates here, or take the last part out of strip: %w",
			d, i.Name, dataset.ErrRefused)
	case !strip.Contains(d):
		return fmt.Errorf("%s is not below %s, which is all that %s takes (strip); name it in no job that replicates here, or take strip out: %w",
			d, strip, i.Name, dataset.ErrRefused)
	}
	return nil
}

// Relative is what a path that was taken is called below Into, and below Live.
func (i *Into) Relative(d dataset.Path) string {
	if i.strip.IsZero() {
		return string(d)
	}
	return strings.TrimPrefix(string(d), string(i.strip)+"/")
}
