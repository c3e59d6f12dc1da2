// Package standby is the replicas below one `into`: which there are and what they hold, the
// places that they have, and who may change which. It receives nothing and makes nothing live.
package standby

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"antipode/fsdrivers/btrfs/subvol"
	"antipode/fsdrivers/dataset"
)

const incomingDir = "incoming"

// Shelf is the replicas below one Into: which there are, where they are, and who may
// change them. Its methods may be called concurrently.
type Shelf struct {
	Path  string       // Into, clean and absolute
	strip dataset.Path // what is left out in front of the source's paths

	preparing sync.Mutex // guards prepared
	prepared  bool       // Into was a subvolume with our places in it

	mu    sync.Mutex                  // guards paths and busy
	paths map[dataset.Path]dataset.ID // where a replica was last found; a guess, checked when used
	busy  map[string]bool             // identities and paths of replicas that a receive or a sweep owns
}

// New makes one for the absolute path of a subvolume. It touches nothing.
func New(path string, strip dataset.Path) *Shelf {
	return &Shelf{Path: path, strip: strip, paths: make(map[dataset.Path]dataset.ID), busy: make(map[string]bool)}
}

// Forget lets go of where replicas were last found: one has got another path or
// identity.
func (s *Shelf) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.paths)
}

// EnsurePrepared prepares once.
func (s *Shelf) EnsurePrepared() error {
	s.preparing.Lock()
	defer s.preparing.Unlock()
	if s.prepared {
		return nil
	}
	if err := s.prepare(); err != nil {
		return fmt.Errorf("target %s: %w", s.Path, err)
	}
	s.prepared = true
	return nil
}

// prepare makes Into and the places in it. It is the only one that makes them:
// later, an Into that is missing is a file system that is not mounted.
func (s *Shelf) prepare() error {
	sub, err := subvol.Open(s.Path)
	if errors.Is(err, dataset.ErrNotFound) || errors.Is(err, dataset.ErrNotDataset) {
		if err = s.makeInto(err); err != nil {
			return err
		}
		sub, err = subvol.Open(s.Path)
	}
	if err != nil {
		return err
	}
	defer sub.Close()
	incoming, err := subvol.MakeDirBelow(sub.File, filepath.Join(dataset.Dir, incomingDir), 0o700)
	if err != nil {
		return err
	}
	if err := incoming.Close(); err != nil {
		return err
	}
	own, err := subvol.OpenDirBelow(sub.File, dataset.Dir)
	if err != nil {
		return err
	}
	defer own.Close()
	if err := subvol.MustBeOurs(own); err != nil {
		return err
	}
	return s.settle(own)
}

// makeInto makes the subvolume where nothing is, or an empty directory.
func (s *Shelf) makeInto(why error) error {
	parent, err := subvol.OpenDir(filepath.Dir(s.Path))
	if err != nil {
		return fmt.Errorf("it cannot be made a subvolume: %w; make the directory it is in, or mount the file system", err)
	}
	defer parent.Close()
	if err := subvol.MustBtrfs(parent); err != nil {
		return fmt.Errorf("it cannot be made a subvolume: %w; mount the Btrfs file system, or name another place", err)
	}
	switch err := unix.Unlinkat(int(parent.Fd()), filepath.Base(s.Path), unix.AT_REMOVEDIR); {
	case err == nil, errors.Is(err, unix.ENOENT):
	case errors.Is(err, unix.ENOTEMPTY), errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%w; it is not empty (or mounted on): move what is in it away, or name a new path, which is then made", why)
	default:
		return fmt.Errorf("%w; it cannot be replaced: %w", why, err)
	}
	return subvol.MakePrivate(parent, filepath.Base(s.Path))
}

// Into is the opened target.
type Into struct {
	*subvol.Handle
	Own      *os.File // Into/.antipode
	Incoming *os.File
	strip    dataset.Path // TargetOptions.Strip
}

// Close closes all that was opened.
func (i *Into) Close() {
	i.Incoming.Close()
	i.Own.Close()
	i.Handle.Close()
}

// Open opens Into anew for each call: it may have been unmounted since.
func (s *Shelf) Open() (_ *Into, err error) {
	if err := s.EnsurePrepared(); err != nil {
		return nil, err
	}
	sub, err := subvol.Open(s.Path)
	if err != nil {
		return nil, fmt.Errorf("target %s: %w; is its file system mounted?", s.Path, err)
	}
	defer func() {
		if err != nil {
			sub.Close()
			err = fmt.Errorf("target %s: %w", s.Path, err)
		}
	}()
	own, err := subvol.OpenDirBelow(sub.File, dataset.Dir)
	if err != nil {
		return nil, err
	}
	if err = subvol.MustBeOurs(own); err == nil {
		var incoming *os.File
		if incoming, err = subvol.OpenDirBelow(own, incomingDir); err == nil {
			return &Into{Handle: sub, Own: own, Incoming: incoming, strip: s.strip}, nil
		}
	}
	own.Close()
	return nil, err
}

// Claim makes the caller the only one that works on a replica: on its identity
// and, since a binding may be about to change, on its path.
func (s *Shelf) Claim(d dataset.Dataset) (release func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy[string(d.ID)] || s.busy[string(d.Path)] {
		return nil, fmt.Errorf("a receive into the replica of %s runs: %w", d.Path, dataset.ErrBusy)
	}
	s.busy[string(d.ID)], s.busy[string(d.Path)] = true, true
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.busy, string(d.ID))
		delete(s.busy, string(d.Path))
	}, nil
}

// WithReplica runs do on an opened replica; none is nil where d was never
// received.
func (s *Shelf) WithReplica(d dataset.Path, do func(in *Into, r *Replica) error) error {
	in, err := s.Open()
	if err != nil {
		return err
	}
	defer in.Close()
	r, err := s.OpenReplica(in, d)
	if err != nil {
		return fmt.Errorf("replica of %s: %w", d, err)
	}
	if r != nil {
		defer r.Close()
	}
	return do(in, r)
}
