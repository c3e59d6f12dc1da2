package prune

import "fmt"

// BrakeFloor is how many snapshots a run may destroy whatever share of all that
// is: a job of ten snapshots is no place for percentages.
const BrakeFloor = 100

// Brake stops a run that would destroy more than this share, in per cent, of all
// snapshots of a job on one side. 0 is no brake.
type Brake float64

// Stops says why a run that would destroy doomed of total must not; "" where it
// may.
func (b Brake) Stops(doomed, total int) string {
	if b <= 0 || doomed <= BrakeFloor || float64(doomed)*100 <= float64(b)*float64(total) {
		return ""
	}
	return fmt.Sprintf("retention would destroy %d of %d snapshots, more than brake = \"%g%%\" lets a run do by itself, and destroys none",
		doomed, total, float64(b))
}
