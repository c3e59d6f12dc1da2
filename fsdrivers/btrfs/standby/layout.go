package standby

import (
	"fmt"
	"os"
	"strings"

	"antipode/fsdrivers/btrfs/sidecar"
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
func (s *Shelf) settle(own *os.File) error {
	was, _, err := sidecar.Read[layout](own, layoutFile, sidecar.Layout, layoutCure)
	if err != nil || was.Strip == s.strip {
		return err
	}
	held, err := s.Replicas(&Into{Own: own})
	if err != nil {
		return err
	}
	if len(held) > 0 {
		return fmt.Errorf("it holds %d replicas, received with strip = %q, which would be looked for elsewhere with strip = %q; set it back, or name a new into: %w",
			len(held), was.Strip, s.strip, dataset.ErrRefused)
	}
	return sidecar.Write(own, layoutFile, sidecar.Layout, layout{s.strip})
}

// MustTake refuses what has no place below Into.
func (s *Shelf) MustTake(d dataset.Path) error {
	if s.strip == "" || s.strip.Contains(d) {
		return nil
	}
	return fmt.Errorf("%s is not below %s, which is all that %s takes (strip); name it in no job that replicates here, or take strip out: %w",
		d, s.strip, s.Path, dataset.ErrRefused)
}

// Relative is the place of d below Into, and below Live; "" for Into itself. Paths
// that are bound have passed MustTake.
func (i *Into) Relative(d dataset.Path) string {
	return strings.TrimPrefix(strings.TrimPrefix(string(d), string(i.strip)), "/")
}
