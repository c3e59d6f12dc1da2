package standby

import (
	"context"
	"fmt"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/cli"
	"antipode/fsdrivers/zfs/naming"
	"antipode/fsdrivers/zfs/prop"
)

// Settle moves the lineage name of d to its place, if that is free or only a
// placeholder is there, and returns where it is then. It does nothing while
// something below is changing, but what the caller has claimed itself.
func (i *Into) Settle(ctx context.Context, d dataset.Path, name string, claimed ...dataset.Path) (string, error) {
	i.Places.Lock()
	defer i.Places.Unlock()
	home, err := i.Home(d)
	if err != nil || i.IsBusyBelow(d, claimed...) {
		return name, err
	}
	defer i.Changed("")() // what is below a placeholder moves too
	if free, err := i.clear(ctx, home, name); !free || err != nil {
		return name, err
	}
	if err := i.MakeParents(ctx, home); err != nil {
		return name, err
	}
	if err := i.zfs.Rename(ctx, name, home); err != nil {
		return name, err
	}
	return home, nil
}

// clear makes sure that nothing is at home: what is in a placeholder there moves
// to below to, and it is removed. It reports false where something else is there.
func (i *Into) clear(ctx context.Context, home, to string) (free bool, err error) {
	f, err := i.zfs.Get(ctx, prop.List("guid", prop.Placeholder), []string{home}, "-d", "1", "-t", "filesystem,volume")
	if err != nil {
		err = cli.Unless(err, dataset.ErrNotFound)
		return err == nil, err
	}
	if !f.IsPlaceholder(home) {
		return false, nil
	}
	for name := range f {
		if !naming.IsBelow(home, name) {
			continue
		}
		if err := i.zfs.Rename(ctx, name, to+"/"+naming.LeafOf(name)); err != nil {
			return false, err
		}
	}
	// Without -r: it fails if anything is left in it.
	if _, err := i.zfs.Run(ctx, home, "destroy", home); cli.Unless(err, dataset.ErrNotFound) != nil {
		return false, fmt.Errorf("remove the placeholder %s: %w", home, err)
	}
	return true, nil
}
