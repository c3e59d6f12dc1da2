// Package standby is the replicas below one `into`: which lineages there are and what they hold,
// who may change which, and the places that they have. It receives nothing and makes nothing live.
package standby

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/listing"
	"antipode/fsdrivers/zfs/naming"
	"antipode/fsdrivers/zfs/pool"
	"antipode/fsdrivers/zfs/prop"
)

// Into is one dataset that replicas are received into: which there are, who may change them,
// and where they are moved to. Its methods may be called concurrently.
type Into struct {
	Name string // of the dataset
	Live string // below which activated ones appear

	zfs   *pool.Host
	strip dataset.Path     // what is left out in front of its source's paths
	locks string           // a directory
	clock func() time.Time // of this host; nil: nothing is kept

	// Places is held for writing while datasets are renamed, and for reading by who
	// finds some and works on them by name. A claim comes before it.
	Places sync.RWMutex

	preparing sync.Mutex // guards prepared
	prepared  bool       // it was ours, with our places in it

	mu   sync.Mutex // guards busy
	busy map[dataset.Path]bool

	shelf shelf
	lists *listing.Lists
}

// Options of an into.
type Options struct {
	Name  string           // of the dataset
	Live  string           // "" is antipode_live in it
	Strip dataset.Path     // what is left out in front of its source's paths
	Locks string           // a directory that does not outlive a boot; it is made
	Clock func() time.Time // of this host; nil: nothing is kept
}

// New makes one. It touches nothing but the directory.
func New(zfs *pool.Host, o Options) (*Into, error) {
	for _, name := range []string{o.Name, o.Live, string(o.Strip)} {
		if what := naming.Check(name); what != "" && (name != "" || o.Name == "") {
			return nil, fmt.Errorf("zfs target: %q is not the name of a ZFS dataset (such as tank/standby): %s", name, what)
		}
	}
	if o.Live == "" {
		o.Live = o.Name + "/" + naming.Live
	}
	if naming.PoolOf(o.Live) != naming.PoolOf(o.Name) {
		return nil, fmt.Errorf("zfs target %s: live data go below %s, which is on another pool; a clone cannot leave its pool", o.Name, o.Live)
	}
	if dataset.Path(o.Live).Contains(dataset.Path(o.Name)) {
		return nil, fmt.Errorf("zfs target %s: it lies in %s, where live data go; name a live that it is not in, such as %s/data", o.Name, o.Live, naming.PoolOf(o.Name))
	}
	if err := os.MkdirAll(o.Locks, 0o700); err != nil {
		return nil, fmt.Errorf("zfs target %s: %w", o.Name, err)
	}
	return &Into{
		Name: o.Name, Live: o.Live, strip: o.Strip, zfs: zfs, locks: o.Locks, clock: o.Clock, busy: make(map[dataset.Path]bool),
		shelf: shelf{byPath: make(map[dataset.Path]reading), changes: make(map[dataset.Path]int)}, lists: listing.NewLists(),
	}, nil
}

// EnsurePrepared prepares once. An Into that is missing later is a pool that was
// exported, and not made anew.
func (i *Into) EnsurePrepared(ctx context.Context) error {
	i.preparing.Lock()
	defer i.preparing.Unlock()
	if i.prepared {
		return nil
	}
	if err := i.prepare(ctx); err != nil {
		return fmt.Errorf("zfs target %s: %w", i.Name, err)
	}
	i.prepared = true
	return nil
}

// holderProps are those of datasets that only hold others: nothing is ever
// mounted there, nor written.
func holderProps(more ...string) []string {
	return append([]string{"-o", "canmount=off", "-o", "mountpoint=none", "-o", "readonly=on"}, more...)
}

// prepare makes Into and the places in it, or makes sure that it is ours.
func (i *Into) prepare(ctx context.Context) error {
	own := i.Own()
	f, err := i.zfs.Get(ctx, prop.List("type", prop.Into, prop.Strip), []string{i.Name}, "-d", "1", "-t", "filesystem,volume")
	switch {
	case errors.Is(err, dataset.ErrNotFound):
		if err := i.zfs.Create(ctx, i.Name, holderProps("-p", "-o", prop.Into+"="+prop.On)...); err != nil {
			return err
		}
	case err != nil:
		return err
	case f[i.Name]["type"] != "filesystem":
		return fmt.Errorf("it is a %s; name a filesystem, which is made if it is missing: %w", f[i.Name]["type"], dataset.ErrNotDataset)
	case f[i.Name][prop.Into] != prop.On && len(f) > 1:
		return fmt.Errorf("it holds datasets that are not Antipode's; name one of its own, which is made: %w", dataset.ErrNotDataset)
	case f[i.Name][prop.Into] != prop.On:
		if err := i.zfs.Set(ctx, i.Name, prop.Into, prop.On, "canmount", "off", "readonly", prop.On); err != nil {
			return err
		}
	}
	if err := i.settleLayout(ctx, f[i.Name][prop.Strip]); err != nil {
		return err
	}
	if _, there := f[own]; there {
		return nil
	}
	return i.zfs.Create(ctx, own, holderProps("-o", prop.Placeholder+"="+prop.On)...)
}

// Own is where lineages are that have no place of their own.
func (i *Into) Own() string { return i.Name + "/" + dataset.Dir }

// Home is where the replica of d goes. Nothing that a peer can name leads
// out of Into or to what is Antipode's own in it.
func (i *Into) Home(d dataset.Path) (string, error) {
	if _, err := dataset.ParsePath(string(d)); err != nil {
		return "", fmt.Errorf("%w: %w", dataset.ErrRefused, err)
	}
	if err := i.mustTake(d); err != nil {
		return "", err
	}
	name := i.Name + "/" + i.Relative(d)
	if what := naming.Check(string(d)); what != "" {
		return "", fmt.Errorf("%q cannot be received into ZFS: %s: %w", d, what, dataset.ErrRefused)
	}
	if what := naming.Check(name); what != "" {
		return "", fmt.Errorf("%q cannot be received into %s: %s: %w", d, i.Name, what, dataset.ErrRefused)
	}
	if name == i.Live || strings.HasPrefix(name, i.Live+"/") {
		return "", fmt.Errorf("%q would be among the live data in %s; the dataset needs another path on its source: %w", d, i.Live, dataset.ErrRefused)
	}
	return name, nil
}

// MakeParents makes placeholders for all that lies between Into and a name below it.
func (i *Into) MakeParents(ctx context.Context, name string) error {
	return i.zfs.MakeParents(ctx, i.Name, name, holderProps("-o", prop.Placeholder+"="+prop.On))
}
