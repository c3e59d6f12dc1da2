//go:build failpoints

package crash

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"antipode/integration/loopfs"
)

// kill -9 at every failpoint, and at those that come often at the third time too.
func TestKilledAtEveryFailpoint(t *testing.T) {
	s := newScene(t, loopfs.New(t, 512<<20), loopfs.New(t, 1<<30))
	all := blows()
	for _, b := range all {
		if strings.HasPrefix(b.point, "seal") || strings.HasPrefix(b.point, "segment") || b.point == "unsealed-removed" {
			all = append(all, blow{b.before, b.point + ":3"})
		}
	}
	for i, b := range all {
		t.Run(b.point, func(t *testing.T) {
			s := &scene{T: t, db: s.db, to: s.to}
			into := filepath.Join(s.to, fmt.Sprint("into", i))
			if b.before != "" {
				s.killedAt(into, b.before)
			}
			s.killedAt(into, b.point)
			s.right(into, b.point)
			s.complete(into, b.point)
		})
	}
}
