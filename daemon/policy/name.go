package policy

import (
	"fmt"
	"strings"
	"time"
)

// MaxIDBytes bounds the ids of jobs and the names of nodes and peers.
const MaxIDBytes = 32

// ParseID checks a job's id or the name of a node or a peer: 1 to 32
// characters of a-z, 0-9 and "-", the first no "-". These become parts of
// snapshot names, hold tags and file names.
func ParseID(s string) (string, error) {
	if s == "" || len(s) > MaxIDBytes || s[0] == '-' ||
		strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return "", fmt.Errorf(`%q is no name here; want 1 to %d characters of a-z, 0-9 and "-", the first no "-"`, s, MaxIDBytes)
	}
	return s, nil
}

const (
	namePrefix = "antipode_"
	nameTime   = "20060102T150405Z"
)

// SnapshotName is the name of the snapshot that a job makes at t:
// "antipode_<job>_<UTC time>", with a resolution of one second.
func SnapshotName(job string, t time.Time) string {
	return namePrefix + job + "_" + t.UTC().Format(nameTime)
}

// ParseSnapshotName takes a name apart that SnapshotName made; ok is false for
// every other name, which therefore is not ours to prune.
func ParseSnapshotName(name string) (job string, t time.Time, ok bool) {
	rest, found := strings.CutPrefix(name, namePrefix)
	job, stamp, cut := strings.Cut(rest, "_")
	if !found || !cut {
		return "", time.Time{}, false
	}
	if _, err := ParseID(job); err != nil {
		return "", time.Time{}, false
	}
	t, err := time.Parse(nameTime, stamp)
	if err != nil || SnapshotName(job, t) != name {
		return "", time.Time{}, false
	}
	return job, t, true
}

// SnapshotTime is the time that a new snapshot is named for: now in whole
// seconds, or one second after the newest (zero if there is none) where the
// clock has not passed it, so that names rise even when a clock goes back.
func SnapshotTime(now, newest time.Time) time.Time {
	now = now.UTC().Truncate(time.Second)
	if newest.IsZero() {
		return now
	}
	if after := newest.UTC().Truncate(time.Second).Add(time.Second); after.After(now) {
		return after
	}
	return now
}
