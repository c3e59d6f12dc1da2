package btrfs

import (
	"fmt"
	"os"
	"strings"

	"antipode/fsdrivers/dataset"
)

// layout is how the source's paths become places below Into: what Strip names is
// left out in front. It is written down, since with another one the points that are
// there would be looked for elsewhere.
type layout struct {
	Strip dataset.Path `json:"strip"`
}

const (
	layoutFile = "layout"
	layoutCure = `restore the file, or write strip as it was into the [[accept]] and remove the file`
)

// settle notes the layout of an Into without replicas, and holds one with replicas
// to what it is.
func (t *Target) settle(own *os.File) error {
	was, _, err := readSidecar[layout](own, layoutFile, kindLayout, layoutCure)
	if err != nil || was.Strip == t.opts.Strip {
		return err
	}
	held, err := t.replicas(&into{own: own})
	if err != nil {
		return err
	}
	if len(held) > 0 {
		return fmt.Errorf("it holds %d replicas, received with strip = %q, which would be looked for elsewhere with strip = %q; set it back, or name a new into: %w",
			len(held), was.Strip, t.opts.Strip, dataset.ErrRefused)
	}
	return writeSidecar(own, layoutFile, kindLayout, layout{t.opts.Strip})
}

// mustTake refuses what has no place below Into.
func (t *Target) mustTake(d dataset.Path) error {
	if t.opts.Strip == "" || t.opts.Strip.Contains(d) {
		return nil
	}
	return fmt.Errorf("%s is not below %s, which is all that %s takes (strip); name it in no job that replicates here, or take strip out: %w",
		d, t.opts.Strip, t.opts.Into, dataset.ErrRefused)
}

// relative is the place of d below Into, and below Live; "" for Into itself. Paths
// that are bound have passed mustTake.
func (i *into) relative(d dataset.Path) string {
	return strings.TrimPrefix(strings.TrimPrefix(string(d), string(i.strip)), "/")
}
