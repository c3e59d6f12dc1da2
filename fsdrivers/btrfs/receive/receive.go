// Package receive takes one stream in: the gate and the segments in front of `btrfs
// receive`, what a broken one leaves, and when a point is published.
package receive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"antipode/fsdrivers/btrfs/naming"
	"antipode/fsdrivers/btrfs/progs"
	"antipode/fsdrivers/btrfs/segment"
	"antipode/fsdrivers/btrfs/send"
	"antipode/fsdrivers/btrfs/standby"
	"antipode/fsdrivers/btrfs/stream"
	"antipode/fsdrivers/btrfs/subvol"
	"antipode/fsdrivers/btrfs/syncfs"
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/failpoint"
)

// Receiver receives into the replicas of one shelf.
type Receiver struct {
	shelf  *standby.Shelf
	binary string // btrfs
	limits segment.Limits
	now    func() time.Time // stamps received points
	log    zerolog.Logger
	syncs  syncfs.Syncs

	// starting is held while a step's directory comes into being, and while the
	// sweep looks whose one is: until its record is written it is nobody's.
	starting sync.Mutex
}

// New makes one that runs binary, ends segments at limits, and stamps points by now.
func New(s *standby.Shelf, binary string, limits segment.Limits, now func() time.Time, log zerolog.Logger) *Receiver {
	return &Receiver{shelf: s, binary: binary, limits: limits, now: now, log: log}
}

// Pending implements fsdrivers.Receiver: the newest segment that is sealed, and
// with it the digests of those that are kept beside it.
func (rv *Receiver) Pending(_ context.Context, d dataset.Path) (c dataset.Checkpoint, err error) {
	err = rv.shelf.WithReplica(d, func(in *standby.Into, r *standby.Replica) error {
		if r != nil {
			c, err = rv.pending(in, r)
		}
		return err
	})
	if err != nil {
		return dataset.Checkpoint{}, fmt.Errorf("pending receive of %s: %w", d, err)
	}
	return c, nil
}

func (rv *Receiver) pending(in *standby.Into, r *standby.Replica) (dataset.Checkpoint, error) {
	steps, err := rv.stepsOf(in, r.ID)
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
		j, err := rv.readJournal(w, s.From.IsZero())
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
func (rv *Receiver) Receive(ctx context.Context, in dataset.Incoming, r io.Reader) (dataset.Snapshot, error) {
	s, err := rv.receive(ctx, in, r)
	if err != nil {
		return dataset.Snapshot{}, fmt.Errorf("receive %s of %s: %w", in.Step.To.Name, in.Step.Dataset.Path, err)
	}
	return s, nil
}

func (rv *Receiver) receive(ctx context.Context, in dataset.Incoming, r io.Reader) (dataset.Snapshot, error) {
	if err := checkStep(in.Step); err != nil {
		return dataset.Snapshot{}, err
	}
	release, err := rv.shelf.Claim(in.Step.Dataset)
	if err != nil {
		return dataset.Snapshot{}, err
	}
	defer release()
	into, err := rv.shelf.Open()
	if err != nil {
		return dataset.Snapshot{}, err
	}
	defer into.Close()
	rep, err := rv.shelf.Bind(into, in.Step.Dataset)
	if err != nil {
		return dataset.Snapshot{}, err
	}
	defer rep.Close()
	if s, done, err := arrived(rep, in.Step.To); done || err != nil {
		return s, err
	}
	return rv.receiveInto(ctx, into, rep, in, r)
}

// checkStep checks what a peer announced before any of it becomes a path.
func checkStep(s dataset.Step) error {
	if _, err := dataset.ParsePath(string(s.Dataset.Path)); err != nil {
		return fmt.Errorf("%w: %w", dataset.ErrRefused, err)
	}
	if err := naming.Own(s.To.Name); err != nil {
		return err
	}
	switch s.Flags {
	case "":
	case send.Compressed:
		if err := progs.KnowsEncoded(progs.Sysfs); err != nil {
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
func arrived(r *standby.Replica, to dataset.Snapshot) (s dataset.Snapshot, done bool, err error) {
	list, err := r.Snapshots()
	if err != nil {
		return dataset.Snapshot{}, false, err
	}
	for _, s := range list {
		if s.ID == to.ID {
			return s, true, subvol.SyncName(r.Dir) // whoever gave it its name may not have got that far
		}
	}
	there, err := subvol.OpenBelow(r.Dir, to.Name)
	if errors.Is(err, dataset.ErrNotFound) {
		return dataset.Snapshot{}, false, nil
	}
	if err == nil {
		there.Close()
	}
	if err == nil || errors.Is(err, dataset.ErrNotDataset) {
		err = fmt.Errorf("%s/%s is something else; look at it and move it away: %w", r.Dir.Name(), to.Name, dataset.ErrExists)
	}
	return dataset.Snapshot{}, false, err
}

func (rv *Receiver) receiveInto(ctx context.Context, into *standby.Into, rep *standby.Replica, in dataset.Incoming, r io.Reader) (_ dataset.Snapshot, err error) {
	base, err := baseOf(rep, in.Step)
	if err != nil {
		return dataset.Snapshot{}, err
	}
	if base != nil {
		defer base.Close()
	}
	i, err := rv.newIntake(ctx, into, in)
	if err != nil {
		return dataset.Snapshot{}, err
	}
	defer i.group.Leave()
	defer func() { rv.leaveWork(i, in, err) }()
	if err := i.receive(in, base, r); err != nil {
		return dataset.Snapshot{}, err
	}
	seg, err := i.received(base)
	if err != nil {
		return dataset.Snapshot{}, err
	}
	defer seg.sub.Close()
	return publish(rep, i.w.step, seg, in, rv.now().UTC())
}

// newIntake takes the step's directory for a receive.
func (rv *Receiver) newIntake(ctx context.Context, into *standby.Into, in dataset.Incoming) (*intake, error) {
	group, err := rv.syncs.Join(into.File)
	if err != nil {
		return nil, err
	}
	w, j, err := rv.takeWork(ctx, into, in)
	if err != nil {
		group.Leave()
		return nil, err
	}
	return &intake{
		ctx: ctx, w: w, binary: rv.binary, limits: rv.limits, now: rv.now, log: rv.log, group: group,
		journal: j, last: j.Newest(),
	}, nil
}

// leaveWork removes what nothing can go on from. The outcome of the receive stands:
// what cannot be removed is the sweep's.
func (rv *Receiver) leaveWork(i *intake, in dataset.Incoming, outcome error) {
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
		rv.log.Warn().Err(err).Str("step", string(w.step)).Msg("work in progress is left for the sweep")
	}
}

// baseOf opens the published snapshot that an incremental builds on; nil for a
// full step.
func baseOf(r *standby.Replica, s dataset.Step) (*subvol.Handle, error) {
	if s.IsFull() {
		return nil, nil
	}
	base, err := r.Find(s.From.ID)
	if err == nil && base == nil {
		err = fmt.Errorf("base %s (%s) is not published here: %w", s.From.Name, s.From.ID, dataset.ErrBaseMissing)
	}
	return base, err
}

// received opens the last segment, which is durable, for publishing.
func (i *intake) received(base *subvol.Handle) (seg seedling, err error) {
	at := i.last.At
	seg = seedling{ctransid: at.First.Ctransid, root: at.Root}
	if seg.root.IsZero() && base != nil { // the stream leaves them as they are
		if seg.root, err = rootTimes(base); err != nil {
			return seg, err
		}
	}
	seg.sub, err = subvol.OpenBelow(i.w.root, segment.Name(i.last.Number))
	return seg, err
}

// receive has the stream taken in, from its beginning or from where it goes on.
func (i *intake) receive(in dataset.Incoming, base *subvol.Handle, r io.Reader) error {
	mount, err := subvol.MountOf(i.w.in.File)
	if err != nil {
		return err
	}
	i.device = mount.Device
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

func rootTimes(s *subvol.Handle) (stream.Times, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(s.Fd()), &st); err != nil {
		return stream.Times{}, fmt.Errorf("stat %s: %w", s.Name(), err)
	}
	return stream.Times{Access: time.Unix(st.Atim.Unix()), Modify: time.Unix(st.Mtim.Unix())}, nil
}

// mintBase makes a read-only snapshot of base that has an identity nobody else
// has: btrfs receive looks its base up by UUID over the whole file system and
// takes the first hit (FIELD-NOTES B.2).
func (w *work) mintBase(base *subvol.Handle, id uuid.UUID, ctransid uint64) error {
	sub, err := stamp(seedling{sub: base, ctransid: ctransid}, w.root, baseName, id)
	if err != nil {
		return fmt.Errorf("mint base: %w", err)
	}
	failpoint.Hit("base-minted")
	return sub.Close()
}
