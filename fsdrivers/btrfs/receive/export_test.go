package receive

import (
	"context"
	"errors"
	"io"

	"github.com/google/uuid"

	"antipode/fsdrivers/btrfs/facts"
	"antipode/fsdrivers/dataset"
)

// BreakOff receives an incremental step up to a point and leaves everything as a crash
// would: received, its point written, stamped under its dot name, published.
func (rv *Receiver) BreakOff(at int, in dataset.Incoming, r io.Reader) error {
	into, err := rv.shelf.Open()
	if err != nil {
		return err
	}
	defer into.Close()
	rep, err := rv.shelf.Bind(into, in.Step.Dataset)
	if err != nil {
		return err
	}
	defer rep.Close()
	base, err := baseOf(rep, in.Step)
	if err != nil {
		return err
	}
	defer base.Close()
	i, err := rv.newIntake(context.Background(), into, in)
	if err != nil {
		return err
	}
	defer i.w.close()
	defer i.group.Leave()
	if err := i.receive(in, base, r); err != nil {
		return err
	}
	seg, err := i.received(base)
	if err != nil {
		return err
	}
	defer seg.sub.Close()
	to := in.Step.To
	if at >= 1 {
		err = rep.Facts.SetPoint(string(to.ID), facts.Point{ID: to.ID, Name: to.Name})
	}
	if at == 2 {
		sub, stampErr := stamp(seg, rep.Dir, tempSnapshot+string(i.w.step), uuid.MustParse(string(to.ID)))
		if err = errors.Join(err, stampErr); err == nil {
			err = sub.Close()
		}
	}
	if at == 3 {
		_, err = publish(rep, i.w.step, seg, in, rv.now())
	}
	return err
}
