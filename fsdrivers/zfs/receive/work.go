package receive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/internal/command"
	"antipode/fsdrivers/zfs/cli"
	"antipode/fsdrivers/zfs/naming"
	"antipode/fsdrivers/zfs/pool"
	"antipode/fsdrivers/zfs/prop"
	"antipode/fsdrivers/zfs/standby"
	"antipode/fsdrivers/zfs/stream"
	"antipode/fsdrivers/zfs/token"
)

// counter counts what goes through it.
type counter struct {
	w io.Writer
	n atomic.Int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n.Add(int64(n))
	return n, err
}

// work is one receive.
type work struct {
	by   *Receiver
	ctx  context.Context // of the call: it lives no longer
	in   dataset.Incoming
	rep  *standby.Replica
	lock *command.Lock

	on     *standby.Lineage // what is received onto; nil for one that is to be made
	name   string           // of the dataset that is received into
	stale  []*standby.Lineage
	plan   stream.Plan
	kind   stream.Kind // as the stream announces
	key    stream.Key
	resume bool
}

// choose finds the lineage that the step belongs to, and which partial states are
// in its way. Errors: ErrBaseMissing, ErrDiverged, ErrRefused.
func (w *work) choose() error {
	s := w.in.Step
	if l := w.rep.Live(); l != nil {
		return fmt.Errorf("%s was activated in place, and is live: nothing is received into it: %w", l.Name, dataset.ErrDiverged)
	}
	if s.IsFull() {
		// Its place must have room for the point too: it is moved there by name.
		if _, err := naming.Snapshot(w.rep.Home, s.To.Name); err != nil {
			return err
		}
		w.name = w.by.into.Own() + "/" + string(s.ID())
		for _, l := range w.rep.Lineages {
			switch {
			case l.IsPartial() && l.Checkpoint().Step == s.ID():
				w.on, w.name = l, l.Name
			case l.IsPartial():
				w.stale = append(w.stale, l)
			}
		}
		return nil
	}
	for _, l := range w.rep.Lineages {
		all := l.Snapshots()
		at := slices.IndexFunc(all, func(e pool.Entry) bool { return e.ID() == s.From.ID })
		if at < 0 {
			continue
		}
		if at < len(all)-1 {
			return fmt.Errorf("%s is newer than the base %s, and nothing is rolled back; if it is an auto-snapshotter's, keep that away from %s: %w",
				all[len(all)-1].Name, s.From.Name, l.Name, dataset.ErrDiverged)
		}
		w.on, w.name = l, l.Name
		return nil
	}
	return fmt.Errorf("base %s (%s) is not published here: %w", s.From.Name, s.From.ID, dataset.ErrBaseMissing)
}

// run takes the stream in.
func (w *work) run(r io.Reader) error {
	input := stream.NewReader(r)
	head, err := await(w.ctx, func() (stream.Opening, error) { return stream.Head(input) })
	if err != nil {
		return err
	}
	w.kind, w.key = head.Kind, head.Key
	if err := w.judge(head); err != nil {
		return err
	}
	if err := w.prepare(); err != nil {
		return err
	}
	return w.pass(input)
}

// await does what may hang at a reader that does not know of ctx.
func await[T any](ctx context.Context, do func() (T, error)) (T, error) {
	type answer struct {
		v   T
		err error
	}
	got := make(chan answer, 1)
	go func() {
		v, err := do()
		got <- answer{v, err}
	}()
	select {
	case a := <-got:
		return a.v, a.err
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}

// judge compares what the stream announces with the step and the lineage, before
// anything is done for it.
func (w *work) judge(head stream.Opening) error {
	to, _ := naming.GUIDOf(w.in.Step.To.ID) // checkStep parsed them
	from, _ := naming.GUIDOf(w.in.Step.From.ID)
	w.plan = stream.Plan{ToGUID: to, FromGUID: from, Raw: w.in.Step.Flags == stream.FlagsRaw, MaxBytes: w.in.MaxBytes}
	if w.in.Step.Flags == stream.FlagsAuto {
		w.plan.Raw = head.IsRaw()
	}
	if w.on != nil {
		w.plan.Kind = w.on.Kind()
		if err := w.pin(); err != nil {
			return err
		}
	}
	if c := w.pending(); head.Resume != nil && !c.IsZero() {
		t, err := token.Parse(string(c.Opaque))
		if err != nil {
			return err
		}
		if *head.Resume != t.Position { // as after a receive that outlived its daemon
			return fmt.Errorf("what is unfinished of it in %s has gone on since it was asked for; it is planned again: %w", w.on.Name, dataset.ErrBusy)
		}
		w.plan.Resume, w.resume = &t.Position, true
		w.plan.MaxBytes = max(w.in.MaxBytes-c.Done, min(w.in.MaxBytes, 1))
	}
	if err := stream.Judge(head, w.plan); err != nil {
		if w.on != nil && head.IsRaw() != w.plan.Raw {
			err = fmt.Errorf("%w; set `encryption` in the source's job back to what it was, or `zfs rename` %s to outside of %s for a new full copy", err, w.on.Name, w.by.into.Name)
		}
		if w.on != nil && head.Key != w.plan.Key && !w.plan.Key.IsZero() {
			err = fmt.Errorf("%w; if the key was changed on purpose: `zfs set %s=%s '%s'`, once", err, prop.Key, prop.AnyKey, w.on.Name)
		}
		return err
	}
	if !head.IsRaw() && !w.encrypts() {
		return nil
	}
	if err := w.by.zfs.MustCrypt(w.ctx); err != nil {
		return fmt.Errorf("the replica is encrypted: %w", err)
	}
	return nil
}

// encrypts reports whether this host encrypts what comes plain.
func (w *work) encrypts() bool {
	if w.on == nil {
		return w.rep.Encrypts
	}
	return w.on.Facts.IsEncrypted(w.on.Name)
}

// pin holds an existing lineage to what it was begun with.
func (w *work) pin() error {
	key := w.on.Prop(prop.Key)
	w.plan.Raw = key != ""
	if key == "" || key == prop.AnyKey {
		return nil
	}
	pinned, err := stream.ParseKey(key)
	if err != nil {
		return fmt.Errorf("%s of %s: %w", prop.Key, w.on.Name, err)
	}
	w.plan.Key = pinned
	return nil
}

// pending is what an unfinished receive of this very step left.
func (w *work) pending() dataset.Checkpoint {
	if w.on == nil {
		return dataset.Checkpoint{}
	}
	if c := w.on.Checkpoint(); c.Step == w.in.Step.ID() {
		return c
	}
	return dataset.Checkpoint{}
}

// prepare removes partial state that the stream does not go on from, and writes
// down what comes, so that a crash leaves nothing that nobody can name.
func (w *work) prepare() error {
	for _, l := range w.stale {
		if err := w.by.zfs.Abort(w.ctx, l.Name); err != nil {
			return err
		}
	}
	if w.on == nil {
		return nil // it is written down as it is made
	}
	if w.resume {
		return w.note(nil)
	}
	if w.on.Token() != "" || w.on.IsPartial() {
		if err := w.by.zfs.Abort(w.ctx, w.on.Name); err != nil {
			return err
		}
	}
	if w.in.Step.IsFull() { // the partial one is gone, dataset and all
		w.on = nil
		return nil
	}
	if to := w.on.Prop(prop.Rewind); to != "" {
		if err := w.by.zfs.Rewind(w.ctx, w.on.Name, to); err != nil {
			return err
		}
	}
	return w.note([]string{prop.Incoming, w.record().Text()})
}

// note writes properties on what is received onto, and pins the key that an operator let in:
// that it may be any counts for one stream, be it a whole one or the rest of one.
func (w *work) note(set []string) error {
	if !w.key.IsZero() && w.on.Prop(prop.Key) == prop.AnyKey {
		set = append(set, prop.Key, w.key.String())
	}
	if len(set) == 0 {
		return nil
	}
	return w.by.zfs.Set(w.ctx, w.on.Name, set...)
}

func (w *work) record() standby.Incoming {
	s := w.in.Step
	return standby.Incoming{
		Step: s.ID(), To: s.To.ID, From: s.From.ID, Name: s.To.Name,
		Created: s.To.Created.UTC(), Begun: w.by.now().UTC(), Retain: w.in.Retain.UTC(),
	}
}

// args are those of zfs receive. Later receives set no properties: the operator's
// changes stay (FIELD-NOTES A.2).
func (w *work) args() ([]string, error) {
	full, err := naming.Snapshot(w.name, w.in.Step.To.Name)
	if err != nil {
		return nil, err
	}
	args := []string{"receive", "-s", "-u"}
	if w.on == nil {
		for _, p := range w.firstProps() {
			args = append(args, "-o", p)
		}
	}
	return append(args, full), nil
}

// firstProps make a new lineage inert and say whose it is.
func (w *work) firstProps() []string {
	props := standby.Inert(w.kind)
	props = append(props,
		prop.Path+"="+string(w.in.Step.Dataset.Path), prop.Source+"="+string(w.in.Step.Dataset.ID), prop.Incoming+"="+w.record().Text())
	if !w.key.IsZero() {
		props = append(props, prop.Key+"="+w.key.String())
	}
	return props
}

// pass passes the stream to `zfs receive`.
func (w *work) pass(input *stream.Reader) error {
	args, err := w.args()
	if err != nil {
		return err
	}
	var out counter
	ctx, stop := w.by.zfs.Watch(w.ctx, w.name, out.n.Load)
	defer stop()
	c, err := w.by.zfs.Start(ctx, w.name, command.Spec{Args: args, Feed: true, Lock: w.lock})
	if err != nil {
		return err
	}
	out.w = c.Stdin()
	_, err = await(ctx, func() (stream.Stats, error) { return stream.Copy(&out, input, w.plan) })
	broken := errors.Is(err, syscall.EPIPE)
	ours := err != nil && !broken // the gate, the source or ctx
	// The end of its input lets zfs receive finish, or save what it has.
	closeErr := c.Stdin().Close()
	if ours {
		letSave(ctx, c)
		if stuck := w.by.zfs.End(c, w.name, nil); stuck != nil {
			return stuck
		}
		return err
	}
	waited := c.Wait()
	said := c.Stderr()
	if stuck := w.by.zfs.End(c, w.name, nil); stuck != nil {
		return stuck
	}
	if waited == nil && broken {
		return fmt.Errorf("zfs receive ended with success before the stream did: %w", dataset.ErrCut)
	}
	if waited == nil {
		return closeErr
	}
	return w.outcome(cli.Explain(w.name, waited, said))
}

// letSave waits a while for a child whose input has ended.
func letSave(ctx context.Context, c *cli.Child) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = c.Wait()
	}()
	timer := time.NewTimer(saveGrace)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
	case <-ctx.Done(): // the child is ended with it
	}
}

// outcome says more about the error of a zfs receive.
func (w *work) outcome(err error) error {
	var space *dataset.SpaceError
	switch {
	case errors.As(err, &space):
		if u, uerr := w.by.zfs.Space(w.ctx, w.by.into.Name); uerr == nil {
			space.Where, space.Free = u.Where, u.Free
		}
	case errors.Is(err, dataset.ErrExists):
		return fmt.Errorf("%s was made by somebody else meanwhile: %w", w.name, err)
	case w.resume && errors.Is(err, cli.ErrInvalid):
		// Sent from its beginning, the step may fit.
		return fmt.Errorf("%w: %v", dataset.ErrStaleCheckpoint, err) //nolint:errorlint // not ErrRefused, which is final
	}
	return err
}

// publish writes the times of what was received, gives a new lineage its place,
// and reads the point back from the disk.
func (w *work) publish() (dataset.Snapshot, error) {
	to := w.in.Step.To
	full, received := w.name+"@"+to.Name, w.by.now()
	err := w.by.zfs.Set(w.ctx, full, prop.Created, prop.TextOf(to.Created), prop.Received, prop.TextOf(received), prop.Retain, prop.TextOf(w.in.Retain))
	if err != nil {
		return dataset.Snapshot{}, fmt.Errorf("publish: %w", err)
	}
	if w.name != w.rep.Home {
		moved, err := w.by.into.Settle(w.ctx, w.rep.Path, w.name)
		if err != nil { // it is found where it is; the next sweep tries again
			w.by.log.Warn().Err(err).Str("dataset", w.name).Msg("a replica is not at its place yet")
		}
		w.name = moved
	}
	all, err := w.by.zfs.List(w.ctx, w.name)
	if err != nil {
		return dataset.Snapshot{}, fmt.Errorf("read back: %w", err)
	}
	for _, e := range all {
		if e.IsSnapshot() && e.ID() == to.ID && e.Short() == to.Name {
			return dataset.Snapshot{
				Name: to.Name, ID: to.ID, Order: e.TXG,
				Created: to.Created.UTC(), Received: received.UTC(), Retain: w.in.Retain.UTC(),
			}, nil
		}
	}
	return dataset.Snapshot{}, fmt.Errorf("read back %s: no such snapshot has the identity %s: %w", full, to.ID, dataset.ErrCut)
}
