// Package activate makes a recovery point live and writable. It receives nothing.
package activate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"antipode/fsdrivers"
	"antipode/fsdrivers/btrfs/facts"
	"antipode/fsdrivers/btrfs/naming"
	"antipode/fsdrivers/btrfs/sidecar"
	"antipode/fsdrivers/btrfs/standby"
	"antipode/fsdrivers/btrfs/subvol"
	"antipode/fsdrivers/dataset"
)

const activationFile = "activation"

// Activator makes replicas of a shelf live.
type Activator struct {
	shelf *standby.Shelf
	live  string // see New
}

// New makes one; live is a directory on the same file system, below which live
// data appear, or "": inside the replicas.
func New(s *standby.Shelf, live string) *Activator { return &Activator{shelf: s, live: live} }

// activation is what the newest activation of a replica wants, and how far it
// came. It makes a repeated call recognise its own work.
type activation struct {
	Snapshot dataset.ID `json:"snapshot"`
	Aside    string     `json:"aside"`
	// Copy is the UUID of the writable snapshot; zero until it is made.
	Copy dataset.ID `json:"copy,omitzero"`
}

// Activate implements fsdrivers.Activator. The writable snapshot is made under
// the name that is to be set aside and exchanged with what is live in one
// rename: at no moment is nothing live, and nothing that the sweep would take
// for its own ever holds the old data. A snapshot of the recovery point goes
// into the live dataset's .antipode, so that, as a source, it has the base for
// an incremental way back (FIELD-NOTES B.7, B.4).
//
// With a live several datasets may live side by side, so aside is
// put behind the dataset's own name there. Activate an outer dataset before the
// ones below it: what is live in it is set aside with it.
func (a *Activator) Activate(_ context.Context, d dataset.Path, snap dataset.Snapshot, aside string) (done fsdrivers.Activated, err error) {
	if _, err := dataset.ParseName(aside); err != nil || strings.HasPrefix(aside, naming.Prefix) {
		return done, fmt.Errorf("activate %s: cannot set aside as %q: want one path component that does not begin with %q", d, aside, naming.Prefix)
	}
	err = a.shelf.WithReplica(d, func(in *standby.Into, r *standby.Replica) error {
		if r == nil || r.Dir == nil {
			return fmt.Errorf("activate %s: nothing was received of it: %w", d, dataset.ErrNotFound)
		}
		done, err = a.activate(in, r, snap, aside)
		if err != nil {
			return fmt.Errorf("activate %s of %s: %w", snap.Name, d, err)
		}
		return nil
	})
	return done, err
}

func (a *Activator) activate(in *standby.Into, r *standby.Replica, snap dataset.Snapshot, aside string) (fsdrivers.Activated, error) {
	point, err := r.Find(snap.ID)
	if err != nil {
		return fsdrivers.Activated{}, err
	}
	if point == nil {
		return fsdrivers.Activated{}, dataset.ErrNotFound
	}
	defer point.Close()
	place, err := a.livePlace(in, r, aside)
	if err != nil {
		return fsdrivers.Activated{}, err
	}
	defer place.dir.Close()
	if err := r.Facts.Locked(func() error { return place.activate(r, point, snap.ID) }); err != nil {
		return fsdrivers.Activated{}, err
	}
	return place.result()
}

// place is where a dataset is live.
type place struct {
	dir   *os.File
	name  string // in dir
	aside string // in dir
}

func (a *Activator) livePlace(in *standby.Into, r *standby.Replica, aside string) (*place, error) {
	if a.live == "" {
		dir, err := subvol.OpenDirBelow(r.Dir, "")
		return &place{dir: dir, name: naming.Live, aside: aside}, err
	}
	if err := a.ProbeLive(in); err != nil {
		return nil, fmt.Errorf("live data go below %s: %w", a.live, err)
	}
	root, err := subvol.OpenDir(a.live)
	if err != nil {
		return nil, fmt.Errorf("live data go below %s: %w", a.live, err)
	}
	defer root.Close()
	parent, name := filepath.Split(in.Relative(r.Path))
	if name == "" {
		name = naming.Live
	}
	aside = name + "." + aside
	if len(aside) > dataset.MaxComponentBytes {
		return nil, fmt.Errorf("cannot set aside as %q: it has more than %d bytes", aside, dataset.MaxComponentBytes)
	}
	dir, err := subvol.MakeDirBelow(root, parent, 0o755)
	if err != nil {
		return nil, fmt.Errorf("live data go below %s: %w", a.live, err)
	}
	return &place{dir: dir, name: name, aside: aside}, nil
}

// activate brings the record, the copy and the exchange about, each unless it
// was done before.
func (p *place) activate(r *standby.Replica, point *subvol.Handle, id dataset.ID) error {
	want := activation{Snapshot: id, Aside: p.aside}
	have, _, err := sidecar.Read[activation](r.Facts.Dir, activationFile, sidecar.Activation, "remove the file; then look at what is set aside before you activate again")
	if err != nil {
		return err
	}
	if have.Snapshot != want.Snapshot || have.Aside != want.Aside {
		if have, err = p.begin(r, want); err != nil {
			return err
		}
	}
	if have.Copy.IsZero() {
		if have, err = p.copy(r, point, have); err != nil {
			return err
		}
	}
	switch is, err := isSubvolume(p.dir, p.name, have.Copy); {
	case err != nil:
		return err
	case is: // exchanged before, and perhaps not durably
		return subvol.SyncName(p.dir)
	}
	if is, err := isSubvolume(p.dir, p.aside, have.Copy); !is || err != nil {
		return errors.Join(err, fmt.Errorf("neither %s nor %s beside it is the copy that was made; look at both, and activate again with another name to set aside: %w",
			filepath.Join(p.dir.Name(), p.name), p.aside, dataset.ErrExists))
	}
	return p.exchange()
}

// begin records what is wanted, while nothing has the name that it will use.
func (p *place) begin(r *standby.Replica, want activation) (activation, error) {
	var st unix.Stat_t
	err := unix.Fstatat(int(p.dir.Fd()), p.aside, &st, unix.AT_SYMLINK_NOFOLLOW)
	path := filepath.Join(p.dir.Name(), p.aside)
	switch {
	case err == nil:
		return want, fmt.Errorf("%s is there; choose another name to set aside: %w", path, dataset.ErrExists)
	case !errors.Is(err, unix.ENOENT):
		return want, fmt.Errorf("look at %s: %w", path, err)
	}
	return want, sidecar.Write(r.Facts.Dir, activationFile, sidecar.Activation, want)
}

// copy makes the writable snapshot, with the base for the way back in it.
func (p *place) copy(r *standby.Replica, point *subvol.Handle, have activation) (activation, error) {
	if err := subvol.Snapshot(point.File, p.dir, p.aside, false); err != nil && !errors.Is(err, unix.EEXIST) {
		return have, subvol.SpaceError(p.dir, fmt.Errorf("make a writable snapshot: %w", err))
	}
	sub, err := subvol.OpenBelow(p.dir, p.aside)
	if err != nil {
		return have, err
	}
	defer sub.Close()
	if sub.IsReadOnly() || sub.ParentUUID != point.UUID {
		return have, fmt.Errorf("%s is not a writable snapshot of it: %w", sub.Name(), dataset.ErrExists)
	}
	have.Copy = dataset.ID(sub.UUID.String())
	if err := giveBase(sub, have.Copy, r, point); err != nil {
		return have, err
	}
	return have, sidecar.Write(r.Facts.Dir, activationFile, sidecar.Activation, have)
}

// giveBase puts a read-only snapshot of the recovery point, which keeps its
// identity, where a Source looks for the snapshots of to, which is the dataset id.
func giveBase(to *subvol.Handle, id dataset.ID, r *standby.Replica, base *subvol.Handle) error {
	own, err := subvol.MakeOwn(to)
	if err != nil {
		return err
	}
	defer own.Close()
	f, err := facts.Make(own, id)
	if err != nil {
		return err
	}
	defer f.Close()
	points, err := r.Facts.Points()
	if err != nil {
		return err
	}
	name := filepath.Base(base.Name())
	return f.Locked(func() error {
		if p, known := points[string(base.Identity())]; known {
			if err := f.SetPoint(name, facts.Point{Name: name, Created: p.Created, Retain: p.Retain}); err != nil {
				return err
			}
		}
		if err := subvol.Snapshot(base.File, own, name, true); err != nil && !errors.Is(err, unix.EEXIST) {
			return subvol.SpaceError(own, fmt.Errorf("keep %s for the way back: %w", name, err))
		}
		return nil
	})
}

// exchange swaps the copy with what is live, or gives it its name where nothing
// is, durably.
func (p *place) exchange() error {
	fd := int(p.dir.Fd())
	err := unix.Renameat2(fd, p.aside, fd, p.name, unix.RENAME_EXCHANGE)
	if errors.Is(err, unix.ENOENT) {
		err = unix.Renameat2(fd, p.aside, fd, p.name, unix.RENAME_NOREPLACE)
	}
	path := filepath.Join(p.dir.Name(), p.name)
	switch {
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%s is a mount point; unmount it: %w", path, dataset.ErrBusy)
	case err != nil:
		return subvol.SpaceError(p.dir, fmt.Errorf("make %s live: %w", path, err))
	}
	return subvol.SyncName(p.dir)
}

// isSubvolume reports whether name in dir is the subvolume id.
func isSubvolume(dir *os.File, name string, id dataset.ID) (bool, error) {
	sub, err := subvol.OpenBelow(dir, name)
	if errors.Is(err, dataset.ErrNotFound) || errors.Is(err, dataset.ErrNotDataset) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer sub.Close()
	want, err := uuid.Parse(string(id))
	return err == nil && sub.UUID == want, err
}

func (p *place) result() (fsdrivers.Activated, error) {
	done := fsdrivers.Activated{Live: filepath.Join(p.dir.Name(), p.name)}
	var st unix.Stat_t
	switch err := unix.Fstatat(int(p.dir.Fd()), p.aside, &st, unix.AT_SYMLINK_NOFOLLOW); {
	case err == nil:
		done.SetAside = filepath.Join(p.dir.Name(), p.aside)
	case !errors.Is(err, unix.ENOENT):
		return done, fmt.Errorf("look at %s: %w", p.aside, err)
	}
	return done, nil
}

// ProbeLive makes sure that what is activated can go below Live.
func (a *Activator) ProbeLive(in *standby.Into) error {
	live, err := subvol.OpenDir(a.live)
	if err != nil {
		return err
	}
	defer live.Close()
	if err := subvol.MustBtrfs(live); err != nil {
		return err
	}
	ours, err := subvol.FileSystemID(in.File)
	if err != nil {
		return err
	}
	if theirs, err := subvol.FileSystemID(live); err != nil || theirs != ours {
		return errors.Join(err, fmt.Errorf("it is on another file system than %s: %w", a.shelf.Path, dataset.ErrNotDataset))
	}
	return nil
}
