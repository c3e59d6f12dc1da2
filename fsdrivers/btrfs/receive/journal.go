package receive

import (
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"antipode/fsdrivers/btrfs/segment"
	"antipode/fsdrivers/btrfs/sidecar"
	"antipode/fsdrivers/btrfs/subvol"
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/failpoint"
)

// readJournal reads what is sealed of a step, without what is not on the disk any
// more: a segment that somebody removed or changed, and, without the minted base,
// everything. A journal that is damaged is dropped with a word in the log: it names
// work in progress, which is sent again.
func (rv *Receiver) readJournal(w *work, full bool) (segment.Journal, error) {
	j, _, err := sidecar.Read[segment.Journal](w.dir, journalFile, sidecar.Journal, "the step is received from its beginning")
	if err == nil {
		err = j.Validate()
	}
	if errors.Is(err, sidecar.ErrDamaged) || err != nil && j.Validate() != nil {
		rv.log.Warn().Err(err).Str("step", string(w.step)).Msg("what was received of a step cannot be gone on from")
		return segment.Journal{}, nil
	}
	if err != nil || w.root == nil || len(j.Kept) == 0 {
		return segment.Journal{}, err
	}
	if !full {
		if err := w.isThere(baseName, uuid.UUID(j.Base)); err != nil {
			return segment.Journal{}, nil
		}
	}
	j.Kept = slices.DeleteFunc(j.Kept, func(s segment.Sealed) bool {
		return w.isThere(segment.Name(s.Number), uuid.UUID(s.UUID)) != nil
	})
	return j, nil
}

// isThere checks that an intermediate subvolume is what was sealed under its name.
func (w *work) isThere(name string, id uuid.UUID) error {
	sub, err := subvol.OpenBelow(w.root, name)
	if err != nil {
		return err
	}
	defer sub.Close()
	if !sub.IsReadOnly() || sub.ReceivedUUID != id {
		return fmt.Errorf("%s is not what was sealed: %w", sub.Name(), dataset.ErrChanged)
	}
	return nil
}

// writeJournal makes it durable. What is no longer in it may be removed after that,
// and not before: a crash could bring the old one back.
func (w *work) writeJournal(j segment.Journal) error {
	return sidecar.Write(w.dir, journalFile, sidecar.Journal, j)
}

// removeUnsealed removes every segment that is neither in the journal nor in keep.
func (w *work) removeUnsealed(j segment.Journal, keep ...string) error {
	if w.root == nil {
		return nil
	}
	list, err := subvol.Names(w.root)
	if err != nil {
		return err
	}
	for _, s := range j.Kept {
		keep = append(keep, segment.Name(s.Number))
	}
	for _, name := range list {
		if !segment.IsName(name) || slices.Contains(keep, name) {
			continue
		}
		if err := subvol.RemoveIn(w.root, name); err != nil {
			return err
		}
		failpoint.Hit("unsealed-removed")
	}
	return nil
}
