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
	// MintedParent takes the place of ParentUUID, so that btrfs receive sees and
	// looks up only what we made.
	MintedParent UUID
	AllowDevices bool  // let block and character devices through
	MaxBytes     int64 // bound of the whole stream; 0 is none
}

func (p Plan) validate() error {
	switch {
	case p.UUID.IsZero():
		return errors.New("plan of a btrfs stream: no identity")
	case p.ParentUUID.IsZero() != p.MintedParent.IsZero():
		return errors.New("plan of a btrfs stream: a base needs both its identities")
	case p.MaxBytes < 0:
		return fmt.Errorf("plan of a btrfs stream: at most %d bytes", p.MaxBytes)
	}
	return nil
}

// Segment is a part of a stream that btrfs receive takes as a stream of its own.
type Segment struct {
	// Name is what the subvolume is called here, one path component: the sender
	// never chooses a name.
	Name string
	// UUID was minted for it, and takes the place of Plan.UUID while it lasts.
	UUID UUID
	// After is the UUID of the segment that it goes on from; zero for the first.
	After UUID
}

func (s Segment) validate() error {
	if s.UUID.IsZero() {
		return errors.New("segment of a btrfs stream: no identity")
	}
	if !isComponent([]byte(s.Name)) {
		return fmt.Errorf("segment of a btrfs stream: %q is no name for a subvolume", s.Name)
	}
	return nil
}

// Times are what UTIMES can set.
type Times struct {
	Access, Modify time.Time
}

// IsZero reports whether no times are known.
func (t Times) IsZero() bool { return t.Access.IsZero() && t.Modify.IsZero() }

// Head reads the header and the first command, so that the base that it names
// can be made ready before the rest. Called again it answers the same. Errors:
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
	r.head, r.headSize = &f, r.taken
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

// Position is a place between two commands of a stream, and all that must be
// known to go on from there.
type Position struct {
	Version  uint32 `json:"version"` // of the stream's format
	First    First  `json:"first"`   // the command that opened it
	Head     int64  `json:"head"`    // bytes of the header and that command
	Done     int64  `json:"done"`    // bytes before this place, Head among them
	Commands int64  `json:"commands"`
	Prefix   []byte `json:"prefix"` // the running digest of what lies between Head and Done
	// Root are the times of the subvolume's root, as the last UTIMES of it has
	// them; zero where there was none. What stands between that one and the end
	// may have changed them on the receiving side: to remove a directory that
	// was not empty, `btrfs send` moves it into the root first.
	Root Times `json:"root"`
}

// Copier lets a stream through the gate, in segments that end between two
// commands. Its caller takes turns:
//
//	for Ready says that more than END is there { Begin if none is open; Pass; End when it likes }
//	Finish; End
//
// What it has written before an error is a beginning that btrfs receive must not
// be let finish. Errors: dataset.ErrCut, *RefusedError, what a writer answered.
type Copier struct {
	r        *Reader
	out      batch
	gate     gate
	rewriter rewriter
	first    First
	prefix   prefix
	root     Times
	done     int64 // bytes before the place where it is; END never counts
	commands int64
}

// NewCopier reads the head of a stream, unless Head did, and holds it to the plan.
func NewCopier(r *Reader, p Plan) (*Copier, error) {
	if err := p.validate(); err != nil {
		return nil, err
	}
	r.max = p.MaxBytes
	first, err := Head(r)
	if err != nil {
		return nil, err
	}
	c := &Copier{
		r: r, gate: gate{version: r.version, allowDevices: p.AllowDevices}, rewriter: rewriter{plan: p}, first: first, prefix: newPrefix(),
		done: r.taken, commands: r.index,
	}
	return c, c.rewriter.check(first)
}

// NewCopierAt goes on with a stream whose beginning was copied before; r begins
// at the place.
func NewCopierAt(r *Reader, p Plan, at Position) (*Copier, error) {
	r.head, r.version, r.headSize, r.taken, r.index = &at.First, at.Version, at.Head, at.Done, at.Commands
	c, err := NewCopier(r, p)
	if err != nil {
		return nil, err
	}
	c.root = at.Root
	c.prefix, err = restorePrefix(at.Prefix)
	return c, err
}

// Position is where the copier is: behind all that Pass has passed on. At the end of
// a stream it is before END, so that whoever goes on from there has that to send.
func (c *Copier) Position() Position {
	return Position{
		Version: c.r.version, First: c.first, Head: c.r.headSize, Done: c.done, Commands: c.commands,
		Prefix: c.prefix.state(), Root: c.root,
	}
}

// Digest proves what lies between the first command and here.
func (c *Copier) Digest() Digest { return c.prefix.digest() }

// Bytes is how much of the stream lies before here.
func (c *Copier) Bytes() int64 { return c.done }

// Ready waits until the next command is in memory, and reports whether that is
// END.
func (c *Copier) Ready() (last bool, err error) {
	t, err := c.r.peek()
	return t == End, err
}

// Begin opens a segment, which w gets.
func (c *Copier) Begin(w io.Writer, s Segment) error {
	if err := s.validate(); err != nil {
		return err
	}
	opening, err := c.rewriter.opening(c.gate.version, c.first, s)
	if err != nil {
		return err
	}
	c.out = batch{w: w}
	return c.out.write(opening)
}

// Pass passes on the commands that are in memory, without END.
func (c *Copier) Pass() error {
	for c.r.Buffered() {
		if t, err := c.r.peek(); err != nil || t == End {
			return errors.Join(err, c.out.flush())
		}
		if err := c.step(); err != nil {
			return err
		}
	}
	return c.out.flush()
}

func (c *Copier) step() error {
	cmd, err := c.r.Next()
	if err != nil {
		return err
	}
	if err := c.gate.check(cmd); err != nil {
		return err
	}
	if a := &c.gate.attrs; cmd.Type == Utimes && len(a.bytes(AttrPath)) == 0 {
		c.root = Times{Access: a.time(AttrAtime), Modify: a.time(AttrMtime)}
	}
	c.prefix.add(cmd) // as it came: the next step changes it
	if err := c.rewriter.rewrite(cmd, &c.gate.attrs); err != nil {
		return err
	}
	c.out.add(cmd.Raw)
	c.done, c.commands = c.r.taken, c.r.index
	return nil
}

// Finish takes in END and demands the end of the input. It comes before the last
// End, so that btrfs receive does not finish what the gate has yet to refuse.
func (c *Copier) Finish() error {
	cmd, err := c.r.Next()
	if err == nil {
		err = c.gate.check(cmd)
	}
	if err == nil && cmd.Type != End {
		err = refuse(cmd, &c.gate.attrs, "the stream goes on")
	}
	if err != nil {
		return err
	}
	return c.r.AtEOF()
}

// End ends the open segment.
func (c *Copier) End() error {
	e := NewEncoder(c.gate.version)
	e.End()
	end, err := e.Bytes()
	if err != nil {
		return err
	}
	return c.out.write(end)
}

// Copy is the whole of it in one segment. It returns where it ended.
func Copy(w io.Writer, r *Reader, p Plan, s Segment) (Position, error) {
	c, err := NewCopier(r, p)
	if err != nil {
		return Position{Done: r.taken, Commands: r.index}, err
	}
	err = c.copy(w, s)
	return c.Position(), err
}

func (c *Copier) copy(w io.Writer, s Segment) error {
	if err := c.Begin(w, s); err != nil {
		return err
	}
	for {
		last, err := c.Ready()
		switch {
		case err != nil:
			return err
		case last:
			if err := c.Finish(); err != nil {
				return err
			}
			return c.End()
		}
		if err := c.Pass(); err != nil {
			return err
		}
	}
}

// batch gathers commands that lie one behind the other in the Reader's buffer,
// and writes them at once, without copying.
type batch struct {
	w       io.Writer
	pending []byte
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
	if _, err := b.w.Write(p); err != nil {
		return fmt.Errorf("pass on btrfs stream: %w", err)
	}
	return nil
}
