package stream

import (
	"errors"
	"fmt"
	"io"
	"time"
)

// First is the command that opens a stream and says what it makes.
type First struct {
	Name     string
	UUID     UUID
	Ctransid uint64
	// CloneUUID is the base of an incremental stream; zero for a full one.
	CloneUUID UUID
	// CloneCtransid is the base's transaction id as the sender knows it.
	CloneCtransid uint64
}

// IsFull reports whether the stream needs no base.
func (f First) IsFull() bool { return f.CloneUUID.IsZero() }

// Plan is what a stream must be, and what it becomes.
type Plan struct {
	UUID       UUID // the identity that the sender announced
	ParentUUID UUID // the base's, zero for a full stream
	// Name is what the subvolume is called here, one path component: the sender
	// never chooses a name.
	Name string
	// Minted takes the place of UUID, and MintedParent that of ParentUUID, so
	// that btrfs receive sees and looks up only what we made.
	Minted       UUID
	MintedParent UUID
	AllowDevices bool  // let block and character devices through
	MaxBytes     int64 // bound of the whole stream; 0 is none
}

func (p Plan) validate() error {
	switch {
	case p.UUID.IsZero() || p.Minted.IsZero():
		return errors.New("plan of a btrfs stream: no identity")
	case p.ParentUUID.IsZero() != p.MintedParent.IsZero():
		return errors.New("plan of a btrfs stream: a base needs both its identities")
	case !isComponent([]byte(p.Name)):
		return fmt.Errorf("plan of a btrfs stream: %q is no name for a subvolume", p.Name)
	case p.MaxBytes < 0:
		return fmt.Errorf("plan of a btrfs stream: at most %d bytes", p.MaxBytes)
	}
	return nil
}

// Stats tells what went through.
type Stats struct {
	Bytes    int64 // read, header and end included
	Written  int64 // bytes
	Commands int64 // first and last included
	Ctransid uint64
	// Root are the times of the subvolume's root, as the last UTIMES of it has
	// them; zero where there was none. What stands between that one and the end
	// may have changed them on the receiving side: to remove a directory that
	// was not empty, `btrfs send` moves it into the root first.
	Root Times
	End  bool // the end was there, and nothing after it
}

// Times are what UTIMES can set.
type Times struct {
	Access, Modify time.Time
}

// IsZero reports whether no times are known.
func (t Times) IsZero() bool { return t.Access.IsZero() && t.Modify.IsZero() }

// Head reads the header and the first command, so that the base that it names
// can be made ready before Copy. Called again it answers the same. Errors:
// dataset.ErrCut, *RefusedError.
func Head(r *Reader) (First, error) {
	if r.head != nil {
		return *r.head, nil
	}
	if err := r.header(); err != nil {
		return First{}, err
	}
	c, err := r.Next()
	if err != nil {
		return First{}, err
	}
	f, err := parseFirst(r.version, c)
	if err != nil {
		return First{}, err
	}
	r.head = &f
	return f, nil
}

func parseFirst(version uint32, c Command) (First, error) {
	g := gate{version: version}
	if c.Type != Subvol && c.Type != Snapshot {
		return First{}, refuse(c, nil, "the stream must open with SUBVOL or SNAPSHOT")
	}
	if err := g.parse(c); err != nil {
		return First{}, err
	}
	a := &g.attrs
	f := First{
		Name: string(a.bytes(AttrPath)), UUID: a.uuid(AttrUUID), Ctransid: a.u64(AttrCtransid),
		CloneUUID: a.uuid(AttrCloneUUID), CloneCtransid: a.u64(AttrCloneCtransid),
	}
	if c.Type == Snapshot && f.IsFull() {
		return First{}, refuse(c, a, "a snapshot of nothing")
	}
	return f, nil
}

// Copy lets a stream through the gate: everything after the header and the first
// command (which it reads too, unless Head did) up to END, and then demands the
// end of the input. What it has written before an error is a beginning that
// btrfs receive must not be let finish. Errors: dataset.ErrCut, *RefusedError,
// what w answered.
func Copy(w io.Writer, r *Reader, p Plan) (Stats, error) {
	if err := p.validate(); err != nil {
		return Stats{}, err
	}
	r.max = p.MaxBytes
	first, err := Head(r)
	if err != nil {
		return Stats{}, err
	}
	c := copier{out: batch{w: w}, gate: gate{version: r.version, allowDevices: p.AllowDevices}, rewriter: rewriter{plan: p}}
	err = c.run(r, first)
	return Stats{
		Bytes: r.taken, Written: c.out.written, Commands: r.index,
		Ctransid: first.Ctransid, Root: c.root, End: err == nil,
	}, err
}

// copier is one run of Copy.
type copier struct {
	out      batch
	gate     gate
	rewriter rewriter
	root     Times
}

func (c *copier) run(r *Reader, first First) error {
	opening, err := c.rewriter.opening(r.version, first)
	if err != nil {
		return err
	}
	if err := c.out.write(opening); err != nil {
		return err
	}
	for done := false; !done; {
		if done, err = c.step(r); err != nil {
			return err
		}
	}
	if err := r.AtEOF(); err != nil {
		return err
	}
	return c.out.flush()
}

// step passes on one command, and reports whether it was the last. END waits
// in the batch until the end of the input was seen, so that btrfs receive does
// not finish what the gate has yet to refuse.
func (c *copier) step(r *Reader) (done bool, err error) {
	cmd, err := r.Next()
	if err != nil {
		return false, err
	}
	if err := c.gate.check(cmd); err != nil {
		return false, err
	}
	if a := &c.gate.attrs; cmd.Type == Utimes && len(a.bytes(AttrPath)) == 0 {
		c.root = Times{Access: a.time(AttrAtime), Modify: a.time(AttrMtime)}
	}
	if err := c.rewriter.rewrite(cmd, &c.gate.attrs); err != nil {
		return false, err
	}
	c.out.add(cmd.Raw)
	if cmd.Type == End {
		return true, nil
	}
	if r.Buffered() {
		return false, nil
	}
	return false, c.out.flush()
}

// batch gathers commands that lie one behind the other in the Reader's buffer,
// and writes them at once, without copying.
type batch struct {
	w       io.Writer
	pending []byte
	written int64
}

// add appends a command that follows the pending ones in memory, which is what
// Reader.Next promises.
func (b *batch) add(raw []byte) {
	if b.pending == nil {
		b.pending = raw
		return
	}
	b.pending = b.pending[:len(b.pending)+len(raw)]
}

func (b *batch) flush() error {
	p := b.pending
	b.pending = nil
	return b.write(p)
}

func (b *batch) write(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	n, err := b.w.Write(p)
	b.written += int64(n)
	if err != nil {
		return fmt.Errorf("pass on btrfs stream: %w", err)
	}
	return nil
}
