package activate

import (
	"testing"
)

// activatorOn is one on a scripted zfs whose into is there.
func activatorOn(t *testing.T, rules ...rule) (*scripted, *Activator) {
	t.Helper()
	s, in, zfs := intoOn(t, rules...)
	a := New(in, zfs, theTime)
	return s, &a
}
