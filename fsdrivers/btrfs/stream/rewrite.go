package stream

// rewriter puts our identities in place of the sender's.
type rewriter struct {
	plan   Plan
	minted UUID // of the open segment
}

// check holds the first command to the plan.
func (w *rewriter) check(f First) error {
	c := Command{Type: Subvol}
	if !f.IsFull() {
		c.Type = Snapshot
	}
	p := w.plan
	switch {
	case f.UUID != p.UUID:
		return refuse(c, nil, "it carries "+f.UUID.String()+", announced was "+p.UUID.String())
	case f.CloneUUID == p.ParentUUID:
		return nil
	case p.ParentUUID.IsZero():
		return refuse(c, nil, "it is incremental to "+f.CloneUUID.String()+", announced was a full stream")
	case f.IsFull():
		return refuse(c, nil, "it is a full stream, announced was one incremental to "+p.ParentUUID.String())
	default:
		return refuse(c, nil, "it is incremental to "+f.CloneUUID.String()+", announced was "+p.ParentUUID.String())
	}
}

// opening makes the beginning of a segment. The first one opens as the stream
// does, a later one with a snapshot of the one before. The transaction ids stay
// the sender's.
func (w *rewriter) opening(version uint32, f First, s Segment) ([]byte, error) {
	w.minted = s.UUID
	made := First{
		Name: s.Name, UUID: s.UUID, Ctransid: f.Ctransid,
		CloneUUID: w.plan.MintedParent, CloneCtransid: f.CloneCtransid,
	}
	if !s.After.IsZero() {
		made.CloneUUID, made.CloneCtransid = s.After, f.Ctransid
	}
	e := NewEncoder(version)
	e.Header()
	e.First(made)
	return e.Bytes()
}

// rewrite changes a checked command in place. Only a CLONE names identities, and
// it may name no others than the stream's own subvolume, which is the open segment
// here, and its base.
func (w *rewriter) rewrite(c Command, a *attrs) error {
	if c.Type != Clone {
		return nil
	}
	field := a.bytes(AttrCloneUUID)
	switch source := a.uuid(AttrCloneUUID); {
	case source == w.plan.UUID:
		copy(field, w.minted[:])
	case source == w.plan.ParentUUID && !source.IsZero():
		copy(field, w.plan.MintedParent[:])
	default:
		return refuse(c, a, "it clones from "+source.String()+", which is neither this subvolume nor its base")
	}
	c.seal()
	return nil
}
