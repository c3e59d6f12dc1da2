package btrfs

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
	"antipode/fsdrivers/dataset"
)

const activationFile = "activation"

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
// With TargetOptions.Live several datasets may live side by side, so aside is
// put behind the dataset's own name there. Activate an outer dataset before the
// ones below it: what is live in it is set aside with it.
func (t *Target) Activate(_ context.Context, d dataset.Path, snap dataset.Snapshot, aside string) (done fsdrivers.Activated, err error) {
	if _, err := dataset.ParseName(aside); err != nil || strings.HasPrefix(aside, NamePrefix) {
		return done, fmt.Errorf("activate %s: cannot set aside as %q: want one path component that does not begin with %q", d, aside, NamePrefix)
	}
	err = t.withReplica(d, func(in *into, r *replica) error {
		if r == nil || r.dir == nil {
			return fmt.Errorf("activate %s: nothing was received of it: %w", d, dataset.ErrNotFound)
		}
		done, err = t.activate(in, r, snap, aside)
		if err != nil {
			return fmt.Errorf("activate %s of %s: %w", snap.Name, d, err)
		}
		return nil
	})
	return done, err
}

func (t *Target) activate(in *into, r *replica, snap dataset.Snapshot, aside string) (fsdrivers.Activated, error) {
	point, err := r.find(snap.ID)
	if err != nil {
		return fsdrivers.Activated{}, err
	}
	if point == nil {
		return fsdrivers.Activated{}, dataset.ErrNotFound
	}
	defer point.Close()
	place, err := t.livePlace(in, r, aside)
	if err != nil {
		return fsdrivers.Activated{}, err
	}
	defer place.dir.Close()
	if err := r.facts.locked(func() error { return place.activate(r, point, snap.ID) }); err != nil {
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

func (t *Target) livePlace(in *into, r *replica, aside string) (*place, error) {
	if t.opts.Live == "" {
		dir, err := openBelow(r.dir, "")
		return &place{dir: dir, name: LiveName, aside: aside}, err
	}
	if err := t.probeLive(in); err != nil {
		return nil, fmt.Errorf("live data go below %s: %w", t.opts.Live, err)
	}
	root, err := openDir(t.opts.Live)
	if err != nil {
		return nil, fmt.Errorf("live data go below %s: %w", t.opts.Live, err)
	}
	defer root.Close()
	parent, name := filepath.Split(in.relative(r.Path))
	if name == "" {
		name = LiveName
	}
	aside = name + "." + aside
	if len(aside) > dataset.MaxComponentBytes {
		return nil, fmt.Errorf("cannot set aside as %q: it has more than %d bytes", aside, dataset.MaxComponentBytes)
	}
	dir, err := makeBelow(root, parent, 0o755)
	if err != nil {
		return nil, fmt.Errorf("live data go below %s: %w", t.opts.Live, err)
	}
	return &place{dir: dir, name: name, aside: aside}, nil
}

// activate brings the record, the copy and the exchange about, each unless it
// was done before.
func (p *place) activate(r *replica, point *subvolume, id dataset.ID) error {
	want := activation{Snapshot: id, Aside: p.aside}
	have, _, err := readSidecar[activation](r.facts.dir, activationFile, kindActivation, "remove the file; then look at what is set aside before you activate again")
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
		return syncName(p.dir)
	}
	if is, err := isSubvolume(p.dir, p.aside, have.Copy); !is || err != nil {
		return errors.Join(err, fmt.Errorf("neither %s nor %s beside it is the copy that was made; look at both, and activate again with another name to set aside: %w",
			filepath.Join(p.dir.Name(), p.name), p.aside, dataset.ErrExists))
	}
	return p.exchange()
}

// begin records what is wanted, while nothing has the name that it will use.
func (p *place) begin(r *replica, want activation) (activation, error) {
	var st unix.Stat_t
	err := unix.Fstatat(int(p.dir.Fd()), p.aside, &st, unix.AT_SYMLINK_NOFOLLOW)
	path := filepath.Join(p.dir.Name(), p.aside)
	switch {
	case err == nil:
		return want, fmt.Errorf("%s is there; choose another name to set aside: %w", path, dataset.ErrExists)
	case !errors.Is(err, unix.ENOENT):
		return want, fmt.Errorf("look at %s: %w", path, err)
	}
	return want, writeSidecar(r.facts.dir, activationFile, kindActivation, want)
}

// copy makes the writable snapshot, with the base for the way back in it.
func (p *place) copy(r *replica, point *subvolume, have activation) (activation, error) {
	if err := createSnapshot(point.File, p.dir, p.aside, false); err != nil && !errors.Is(err, unix.EEXIST) {
		return have, spaceError(p.dir, fmt.Errorf("make a writable snapshot: %w", err))
	}
	sub, err := openSubvolumeBelow(p.dir, p.aside)
	if err != nil {
		return have, err
	}
	defer sub.Close()
	if sub.isReadOnly() || sub.parentUUID != point.uuid {
		return have, fmt.Errorf("%s is not a writable snapshot of it: %w", sub.Name(), dataset.ErrExists)
	}
	have.Copy = dataset.ID(sub.uuid.String())
	if err := giveBase(&live{subvolume: sub, id: have.Copy}, r, point); err != nil {
		return have, err
	}
	return have, writeSidecar(r.facts.dir, activationFile, kindActivation, have)
}

// giveBase puts a read-only snapshot of the recovery point, which keeps its
// identity, where a Source looks for the snapshots of l.
func giveBase(l *live, r *replica, base *subvolume) error {
	own, err := l.makeOwn()
	if err != nil {
		return err
	}
	defer own.Close()
	f, err := makeFacts(own, l.id)
	if err != nil {
		return err
	}
	defer f.close()
	points, err := r.facts.points()
	if err != nil {
		return err
	}
	name := filepath.Base(base.Name())
	return f.locked(func() error {
		if p, known := points[string(base.identity())]; known {
			if err := f.setPoint(name, point{Name: name, Created: p.Created, Retain: p.Retain}); err != nil {
				return err
			}
		}
		if err := createSnapshot(base.File, own, name, true); err != nil && !errors.Is(err, unix.EEXIST) {
			return spaceError(own, fmt.Errorf("keep %s for the way back: %w", name, err))
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
		return spaceError(p.dir, fmt.Errorf("make %s live: %w", path, err))
	}
	return syncName(p.dir)
}

// isSubvolume reports whether name in dir is the subvolume id.
func isSubvolume(dir *os.File, name string, id dataset.ID) (bool, error) {
	sub, err := openSubvolumeBelow(dir, name)
	if errors.Is(err, dataset.ErrNotFound) || errors.Is(err, dataset.ErrNotDataset) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer sub.Close()
	want, err := uuid.Parse(string(id))
	return err == nil && sub.uuid == want, err
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
