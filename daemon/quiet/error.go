package quiet

import "fmt"

// HookError is a hook that failed. It has no Next of its own: control would take that
// for a conflict of two sides, which it is not.
type HookError struct {
	Job   string
	After bool // else the before hook
	Skips bool // a run without the before hook makes no snapshot
	Err   error
}

// Error names the hook.
func (e *HookError) Error() string {
	if e.After {
		return fmt.Sprintf("after hook of job %s, so that something may still be quiet: %v", e.Job, e.Err)
	}
	return fmt.Sprintf("before hook of job %s: %v", e.Job, e.Err)
}

// Unwrap returns what the command's run answered.
func (e *HookError) Unwrap() error { return e.Err }

// Mend tells what to do about it.
func (e *HookError) Mend() string {
	switch {
	case e.After:
		return "see that what the hooks make quiet works again, then mend the after hook"
	case e.Skips:
		return `mend the before hook; until then no snapshot is made, unless on_fail = "continue" is set in job ` + e.Job
	default:
		return "mend the before hook; until then snapshots are made of what is not quiet"
	}
}
