package btrfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"antipode/fsdrivers/btrfs/segment"
	"antipode/fsdrivers/btrfs/stream"
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/failpoint"
)

// Pending implements fsdrivers.Receiver: the newest segment that is sealed, and
// with it the digests of those that are kept beside it.
func (t *Target) Pending(_ context.Context, d dataset.Path) (c dataset.Checkpoint, err error) {
	err = t.withReplica(d, func(in *into, r *replica) error {
		if r != nil {
			c, err = t.pending(in, r)
		}
		return err
	})
	if err != nil {
		return dataset.Checkpoint{}, fmt.Errorf("pending receive of %s: %w", d, err)
	}
	return c, nil
}

func (t *Target) pending(in *into, r *replica) (dataset.Checkpoint, error) {
	steps, err := t.stepsOf(in, r.ID)
	if err != nil {
		return dataset.Checkpoint{}, err
	}
	for _, s := range steps {
		w, err := lookAtWork(in, s)
		if errors.Is(err, dataset.ErrNotFound) {
			continue // it has just ended
		}
		if err != nil {
			return dataset.Checkpoint{}, err
		}
		j, err := t.readJournal(w, s.From.IsZero())
		w.close()
		if err != nil || len(j.Kept) > 0 {
			c, encodeErr := j.Checkpoint(s.Step)
			return c, errors.Join(err, encodeErr)
		}
	}
	return dataset.Checkpoint{}, nil
}

// Receive implements fsdrivers.Receiver as ARCHITECTURE decision 5 describes:
// the stream passes the gate, `btrfs receive` makes of it subvolumes, a segment
// each, with identities of our own in a directory of our own, and only when the
// data of the last are durable it is published. What fails leaves a bound replica
// and the segments that are sealed. r must end when ctx does.
func (t *Target) Receive(ctx context.Context, in dataset.Incoming, r io.Reader) (dataset.Snapshot, error) {
	s, err := t.receive(ctx, in, r)
	if err != nil {
		return dataset.Snapshot{}, fmt.Errorf("receive %s of %s: %w", in.Step.To.Name, in.Step.Dataset.Path, err)
	}
	return s, nil
}

func (t *Target) receive(ctx context.Context, in dataset.Incoming, r io.Reader) (dataset.Snapshot, error) {
	if err := checkStep(in.Step); err != nil {
		return dataset.Snapshot{}, err
	}
	release, err := t.claim(in.Step.Dataset)
	if err != nil {
		return dataset.Snapshot{}, err
	}
	defer release()
	into, err := t.open()
	if err != nil {
		return dataset.Snapshot{}, err
	}
	defer into.close()
	rep, err := t.bind(into, in.Step.Dataset)
	if err != nil {
		return dataset.Snapshot{}, err
	}
	defer rep.close()
	if s, done, err := rep.arrived(in.Step.To); done || err != nil {
		return s, err
	}
	return t.receiveInto(ctx, into, rep, in, r)
}

// checkStep checks what a peer announced before any of it becomes a path.
func checkStep(s dataset.Step) error {
	if _, err := dataset.ParsePath(string(s.Dataset.Path)); err != nil {
		return fmt.Errorf("%w: %w", dataset.ErrRefused, err)
	}
	if err := ownName(s.To.Name); err != nil {
		return err
	}
	switch s.Flags {
	case "":
	case FlagCompressed:
		if err := mustKnowEncoded(sysfs); err != nil {
			return fmt.Errorf("target: %w", err)
		}
	default:
		return fmt.Errorf("send flags %q are unknown here; upgrade this side: %w", s.Flags, dataset.ErrRefused)
	}
	ids := []dataset.ID{s.Dataset.ID, s.To.ID}
	if !s.IsFull() {
		ids = append(ids, s.From.ID)
	}
	for _, id := range ids {
		if parsed, err := uuid.Parse(string(id)); err != nil || parsed.String() != string(id) || parsed == uuid.Nil {
			return fmt.Errorf("%q is not the UUID of a subvolume: %w", id, dataset.ErrRefused)
		}
	}
	return nil
}

// arrived answers for a step that was done before. ErrExists: its name has
// another identity.
func (r *replica) arrived(to dataset.Snapshot) (s dataset.Snapshot, done bool, err error) {
	list, err := r.snapshots()
	if err != nil {
		return dataset.Snapshot{}, false, err
	}
	for _, s := range list {
		if s.ID == to.ID {
			return s, true, syncName(r.dir) // whoever gave it its name may not have got that far
		}
	}
	there, err := openSubvolumeBelow(r.dir, to.Name)
	if errors.Is(err, dataset.ErrNotFound) {
		return dataset.Snapshot{}, false, nil
	}
	if err == nil {
		there.Close()
	}
	if err == nil || errors.Is(err, dataset.ErrNotDataset) {
		err = fmt.Errorf("%s/%s is something else; look at it and move it away: %w", r.dir.Name(), to.Name, dataset.ErrExists)
	}
	return dataset.Snapshot{}, false, err
}

func (t *Target) receiveInto(ctx context.Context, into *into, rep *replica, in dataset.Incoming, r io.Reader) (_ dataset.Snapshot, err error) {
	base, err := rep.base(in.Step)
	if err != nil {
		return dataset.Snapshot{}, err
	}
	if base != nil {
		defer base.Close()
	}
	i, err := t.newIntake(ctx, into, in)
	if err != nil {
		return dataset.Snapshot{}, err
	}
	defer i.group.leave()
	defer func() { t.leaveWork(i, in, err) }()
	if err := i.receive(in, base, r); err != nil {
		return dataset.Snapshot{}, err
	}
	seg, err := i.received(base)
	if err != nil {
		return dataset.Snapshot{}, err
	}
	defer seg.sub.Close()
	return rep.publish(i.w.step, seg, in, t.opts.Now().UTC())
}

// newIntake takes the step's directory for a receive.
func (t *Target) newIntake(ctx context.Context, into *into, in dataset.Incoming) (*intake, error) {
	group, err := t.syncs.join(into.File)
	if err != nil {
		return nil, err
	}
	w, j, err := t.takeWork(ctx, into, in)
	if err != nil {
		group.leave()
		return nil, err
	}
	return &intake{
		ctx: ctx, w: w, binary: t.opts.Binary, limits: t.opts.Segments, now: t.opts.Now, log: t.opts.Log, group: group,
		journal: j, last: j.Newest(),
	}, nil
}

// leaveWork removes what nothing can go on from. The outcome of the receive stands:
// what cannot be removed is the sweep's.
func (t *Target) leaveWork(i *intake, in dataset.Incoming, outcome error) {
	w := i.w
	if errors.Is(outcome, dataset.ErrStuck) {
		w.close() // the child still uses it; the sweep comes again
		return
	}
	var err error
	if outcome != nil && i.refused && !in.Checkpoint.IsZero() && i.journal.Newest().At.Done == in.Checkpoint.Done {
		// What `btrfs receive` does not take on top of this segment it may take on
		// top of the one before, and in the end on top of none.
		i.journal.Kept = i.journal.Kept[:len(i.journal.Kept)-1]
		err = w.writeJournal(i.journal)
	}
	if outcome == nil || err == nil && len(i.journal.Kept) == 0 {
		err = w.remove()
	} else {
		if err == nil {
			err = w.removeUnsealed(i.journal)
		}
		w.close()
	}
	if err != nil {
		t.opts.Log.Warn().Err(err).Str("step", string(w.step)).Msg("work in progress is left for the sweep")
	}
}

// base opens the published snapshot that an incremental builds on; nil for a
// full step.
func (r *replica) base(s dataset.Step) (*subvolume, error) {
	if s.IsFull() {
		return nil, nil
	}
	base, err := r.find(s.From.ID)
	if err == nil && base == nil {
		err = fmt.Errorf("base %s (%s) is not published here: %w", s.From.Name, s.From.ID, dataset.ErrBaseMissing)
	}
	return base, err
}

// received opens the last segment, which is durable, for publishing.
func (i *intake) received(base *subvolume) (seg seedling, err error) {
	at := i.last.At
	seg = seedling{ctransid: at.First.Ctransid, root: at.Root}
	if seg.root.IsZero() && base != nil { // the stream leaves them as they are
		if seg.root, err = rootTimes(base); err != nil {
			return seg, err
		}
	}
	seg.sub, err = openSubvolumeBelow(i.w.root, segment.Name(i.last.Number))
	return seg, err
}

// receive has the stream taken in, from its beginning or from where it goes on.
func (i *intake) receive(in dataset.Incoming, base *subvolume, r io.Reader) error {
	mount, err := mountOf(i.w.in.File)
	if err != nil {
		return err
	}
	i.device = mount.device
	plan := stream.Plan{
		UUID:         stream.UUID(uuid.MustParse(string(in.Step.To.ID))), // checkStep parsed it
		MintedParent: i.journal.Base,
		AllowDevices: in.AllowDevices,
		MaxBytes:     in.MaxBytes,
	}
	if base != nil {
		plan.ParentUUID = stream.UUID(uuid.MustParse(string(in.Step.From.ID)))
	}
	return i.take(r, func(r io.Reader) (*stream.Copier, error) {
		input := stream.NewReader(r)
		if i.last.Number > 0 {
			return stream.NewCopierAt(input, plan, i.last.At)
		}
		if base != nil {
			first, err := stream.Head(input)
			if err != nil {
				return nil, err
			}
			plan.MintedParent = stream.NewUUID()
			i.journal.Base = plan.MintedParent
			if err := i.w.mintBase(base, uuid.UUID(plan.MintedParent), first.CloneCtransid); err != nil {
				return nil, err
			}
		}
		return stream.NewCopier(input, plan)
	})
}

func rootTimes(s *subvolume) (stream.Times, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(s.Fd()), &st); err != nil {
		return stream.Times{}, fmt.Errorf("stat %s: %w", s.Name(), err)
	}
	return stream.Times{Access: time.Unix(st.Atim.Unix()), Modify: time.Unix(st.Mtim.Unix())}, nil
}

// mintBase makes a read-only snapshot of base that has an identity nobody else
// has: btrfs receive looks its base up by UUID over the whole file system and
// takes the first hit (FIELD-NOTES B.2).
func (w *work) mintBase(base *subvolume, id uuid.UUID, ctransid uint64) error {
	sub, err := stamp(seedling{sub: base, ctransid: ctransid}, w.root, baseName, id)
	if err != nil {
		return fmt.Errorf("mint base: %w", err)
	}
	failpoint.Hit("base-minted")
	return sub.Close()
}
