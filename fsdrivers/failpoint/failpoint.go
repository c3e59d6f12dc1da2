// Package failpoint names the places at which tests kill a daemon or cut the power
// of its disk. Only a build with the tag `failpoints` or `machine` stops there; in any
// other Hit is empty, and nothing from outside reaches it.
//
// The places are listed in points.txt, which a test makes from the calls in the
// tree, and another fails for a place that no test hits. It must not know what the
// places are in.
package failpoint

import _ "embed"

//go:embed points.txt
var points string

// Points lists every place, one a line: its name, and where it is. Sorted.
func Points() string { return points }
