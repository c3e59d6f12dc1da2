package source

import (
	"context"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/cli"
	"antipode/fsdrivers/zfs/pool"
)

var (
	_ fsdrivers.ManyDestroyer = (*Source)(nil)
	_ fsdrivers.Freer         = (*Source)(nil)
)

// Destroy implements fsdrivers.Destroyer.
func (s *Source) Destroy(ctx context.Context, d dataset.Path, snap dataset.Snapshot) error {
	return s.DestroyAll(ctx, d, []dataset.Snapshot{snap})[0]
}

// DestroyAll implements fsdrivers.ManyDestroyer: one look at who holds what goes, and
// right after that one look at what it is, and one `zfs destroy` for as many as its command line takes. Of a
// snapshot its bookmark stays, and is listed from then on; a bookmark, of which zfs
// takes one at a time, goes where it is what was listed.
func (s *Source) DestroyAll(ctx context.Context, d dataset.Path, list []dataset.Snapshot) []error {
	name, err := s.name(d)
	if err != nil {
		return pool.AnswerAll(list, cli.Unless(err, dataset.ErrNotFound))
	}
	defer s.changed(name, false)
	return s.zfs.Raze(ctx, name, list)
}

// Frees implements fsdrivers.Freer.
func (s *Source) Frees(ctx context.Context, d dataset.Path, list []dataset.Snapshot) (int64, error) {
	name, err := s.name(d)
	if err != nil {
		return 0, cli.Unless(err, dataset.ErrNotFound)
	}
	return s.zfs.Frees(ctx, name, list)
}
