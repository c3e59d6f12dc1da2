package stream

// rewriter puts our identities in place of the sender's.
type rewriter struct {
	plan Plan
}

// opening checks the first command against the plan and makes the beginning of
// the stream that goes on. The transaction ids stay the sender's.
func (w *rewriter) opening(version uint32, f First) ([]byte, error) {
	c := Command{Type: Subvol}
	if !f.IsFull() {
		c.Type = Snapshot
	}
	p := w.plan
	switch {
	case f.UUID != p.UUID:
		return nil, refuse(c, nil, "it carries "+f.UUID.String()+", announced was "+p.UUID.String())
	case f.CloneUUID == p.ParentUUID:
	case p.ParentUUID.IsZero():
		return nil, refuse(c, nil, "it is incremental to "+f.CloneUUID.String()+", announced was a full stream")
	case f.IsFull():
		return nil, refuse(c, nil, "it is a full stream, announced was one incremental to "+p.ParentUUID.String())
	default:
		return nil, refuse(c, nil, "it is incremental to "+f.CloneUUID.String()+", announced was "+p.ParentUUID.String())
	}
	e := NewEncoder(version)
	e.Header()
	e.First(First{
		Name: p.Name, UUID: p.Minted, Ctransid: f.Ctransid,
		CloneUUID: p.MintedParent, CloneCtransid: f.CloneCtransid,
	})
	return e.Bytes()
}

// rewrite changes a checked command in place. Only a CLONE names identities, and
// it may name no others than the stream's own subvolume and its base.
func (w *rewriter) rewrite(c Command, a *attrs) error {
	if c.Type != Clone {
		return nil
	}
	field := a.bytes(AttrCloneUUID)
	switch source := a.uuid(AttrCloneUUID); {
	case source == w.plan.UUID:
		copy(field, w.plan.Minted[:])
	case source == w.plan.ParentUUID && !source.IsZero():
		copy(field, w.plan.MintedParent[:])
	default:
		return refuse(c, a, "it clones from "+source.String()+", which is neither this subvolume nor its base")
	}
	c.seal()
	return nil
}
