package btrfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"antipode/fsdrivers/btrfs/stream"
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/internal/command"
)

// Pending implements fsdrivers.Receiver. A receive is one segment, so nothing is
// left of one that did not end that another could go on from.
func (t *Target) Pending(_ context.Context, d dataset.Path) (dataset.Checkpoint, error) {
	return dataset.Checkpoint{}, t.withReplica(d, func(*into, *replica) error { return nil })
}

// Receive implements fsdrivers.Receiver as ARCHITECTURE decision 5 describes:
// the stream passes the gate, `btrfs receive` makes of it a subvolume with an
// identity of our own in a directory of our own, and only when its data are
// durable it is published. What fails leaves nothing but a bound replica. r must
// end when ctx does.
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
	w, err := t.beginWork(ctx, into, in.Step)
	if err != nil {
		return dataset.Snapshot{}, err
	}
	defer func() {
		if errors.Is(err, dataset.ErrStuck) {
			w.close() // the child still uses it; the sweep comes again
			return
		}
		// The outcome stands: what could not be removed is the sweep's.
		if rerr := w.remove(); rerr != nil {
			t.opts.Log.Warn().Err(rerr).Str("step", string(w.step)).Msg("work in progress is left for the sweep")
		}
	}()
	seg, err := w.fill(ctx, t.opts.Binary, base, in, r)
	if err != nil {
		return dataset.Snapshot{}, err
	}
	defer seg.sub.Close()
	return rep.publish(w.step, seg, in, t.opts.Now().UTC())
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

// segment is a received subvolume whose data are durable.
type segment struct {
	sub      *subvolume
	ctransid uint64 // of the snapshot on its source, as the stream announced it
	// root are the times that the root directory has there; see stream.Stats.
	root stream.Times
}

// fill receives the stream, makes it durable, and reads back what came of it.
func (w *work) fill(ctx context.Context, binary string, base *subvolume, in dataset.Incoming, r io.Reader) (segment, error) {
	input := stream.NewReader(r)
	first, err := stream.Head(input)
	if err != nil {
		return segment{}, err
	}
	plan := stream.Plan{
		UUID:         stream.UUID(uuid.MustParse(string(in.Step.To.ID))), // checkStep parsed it
		Name:         receivedName,
		Minted:       stream.UUID(uuid.New()),
		AllowDevices: in.AllowDevices,
		MaxBytes:     in.MaxBytes,
	}
	if base != nil {
		plan.ParentUUID = stream.UUID(uuid.MustParse(string(in.Step.From.ID)))
		plan.MintedParent = stream.UUID(uuid.New())
		if err := w.mintBase(base, uuid.UUID(plan.MintedParent), first.CloneCtransid); err != nil {
			return segment{}, err
		}
	}
	root, err := w.run(ctx, binary, input, plan)
	if err == nil && root.IsZero() && base != nil { // the stream leaves them as they are
		root, err = rootTimes(base)
	}
	if err != nil {
		return segment{}, err
	}
	// The descriptor was opened before the first byte was written, so that an
	// error of writing back is reported to it.
	if err := w.sync(); err != nil {
		return segment{}, err
	}
	seg, err := w.readBack(plan, first)
	seg.root = root
	return seg, err
}

// sync makes durable what was written to the file system so far.
func (w *work) sync() error {
	if err := unix.Syncfs(int(w.in.Fd())); err != nil {
		return spaceError(w.in.File, fmt.Errorf("make durable: %w", err))
	}
	return nil
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
	sub, err := stamp(segment{sub: base, ctransid: ctransid}, w.root, baseName, id)
	if err != nil {
		return fmt.Errorf("mint base: %w", err)
	}
	return sub.Close()
}

func (w *work) readBack(plan stream.Plan, first stream.First) (segment, error) {
	sub, err := openSubvolumeBelow(w.root, receivedName)
	if err != nil {
		return segment{}, fmt.Errorf("read back: %w", err)
	}
	if !sub.isReadOnly() || sub.receivedUUID != uuid.UUID(plan.Minted) || sub.stransid != first.Ctransid {
		sub.Close()
		return segment{}, fmt.Errorf("read back %s: btrfs receive did not finish it: %w", sub.Name(), dataset.ErrCut)
	}
	return segment{sub: sub, ctransid: first.Ctransid}, nil
}

// run passes the stream to `btrfs receive`. It returns the times of the root that
// the stream has.
func (w *work) run(ctx context.Context, binary string, input *stream.Reader, plan stream.Plan) (stream.Times, error) {
	mount, err := mountOf(w.in.File)
	if err != nil {
		return stream.Times{}, err
	}
	child, err := command.Start(ctx, command.Spec{
		Args: []string{binary, "receive", "-q", "--chroot", w.root.Name()},
		Feed: true,
		Lock: w.lock, Alarm: errorLine,
		Before: func() error {
			return mountPrivately(mount.device, w.in.Name(), w.in.treeID)
		},
	})
	if err != nil {
		return stream.Times{}, explain(w.in.File, err, "")
	}
	stats, err := stream.Copy(child.Stdin(), input, plan)
	if err == nil {
		err = finish(child)
	} else if errors.Is(err, unix.EPIPE) {
		err = errors.Join(child.Wait(), err) // why it ended says more than that it did
	}
	if closeErr := child.Close(); closeErr != nil {
		return stream.Times{}, explain(w.in.File, closeErr, "")
	}
	if err == nil || errors.Is(err, dataset.ErrRefused) || errors.Is(err, dataset.ErrCut) {
		return stats.Root, err // ours; what the child says of its broken pipe adds nothing
	}
	return stats.Root, explain(w.in.File, err, child.Stderr())
}

// finish waits for the child: it must exit with 0 and report no error.
func finish(child *command.Child) error {
	if err := child.Stdin().Close(); err != nil {
		return fmt.Errorf("end the stream: %w", err)
	}
	if err := child.Wait(); err != nil {
		return err
	}
	if line := child.Alarm(); line != "" {
		return fmt.Errorf("btrfs receive succeeded and reported an error: %s", line)
	}
	return nil
}

// mountPrivately gives the calling thread a mount namespace in which path is
// exactly the subvolume and nothing that is received can be run, or open a
// device. It must be the subvolume, not a bind mount of a directory: receive
// works out paths of subvolumes from what is mounted. The namespace is a slave of
// the host's: what the host unmounts goes here too, so that a receive that waits
// for its link for a day keeps no other file system busy.
func mountPrivately(device, path string, treeID uint64) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("make a mount namespace (it needs CAP_SYS_ADMIN): %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("keep mounts of the receive to itself: %w", err)
	}
	err := unix.Mount(device, path, "btrfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, fmt.Sprintf("subvolid=%d", treeID))
	if err != nil {
		return fmt.Errorf("mount subvolume %d of %s on %s: %w", treeID, device, path, err)
	}
	return nil
}
