package dataset

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// StepID names a step on both sides and across restarts: 32 hexadecimal digits.
type StepID string

// ParseStepID checks an identifier that comes from a peer or a disk.
func ParseStepID(s string) (StepID, error) {
	if len(s) != 32 || strings.Trim(s, "0123456789abcdef") != "" {
		return "", fmt.Errorf("%q is not a step: want 32 hexadecimal digits", s)
	}
	return StepID(s), nil
}

// Step is one send: all of To, or what To has beyond From.
type Step struct {
	Job        string   `json:"job"`        // the job's immutable id
	Dataset    Dataset  `json:"dataset"`    // as the source declares it
	From       Snapshot `json:"from"`       // zero for a full send
	To         Snapshot `json:"to"`         //
	Flags      string   `json:"flags"`      // pinned send options of this replica, "" where there are none
	Generation uint64   `json:"generation"` // of the source's mark
}

// IsFull reports whether the step needs no base.
func (s Step) IsFull() bool { return s.From.ID.IsZero() }

// ID is the hash of all that makes two sends the same send.
func (s Step) ID() StepID {
	h := sha256.New()
	for _, part := range []string{
		"antipode step 1", s.Job, string(s.Dataset.Path), string(s.Dataset.ID),
		string(s.From.ID), string(s.To.ID), s.Flags, fmt.Sprint(s.Generation),
	} {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return StepID(hex.EncodeToString(h.Sum(nil)[:16]))
}

// Incoming is a step as the target's driver receives it.
type Incoming struct {
	Step Step
	// Checkpoint is what the stream goes on from: one that Pending has reported, or
	// with an earlier Done that its Opaque names. Zero: it starts at its first byte.
	Checkpoint Checkpoint
	// Retain is what the snapshot's Retain becomes: the daemon has clamped it.
	Retain time.Time
	// MaxBytes bounds the stream; 0 is no bound.
	MaxBytes int64
	// AllowDevices lets device nodes through the gate.
	AllowDevices bool
}

// MaxCheckpointBytes bounds what a driver may ask the source to remember.
const MaxCheckpointBytes = 4 << 10

// Checkpoint says how far an unfinished receive is, in terms that only the two
// drivers understand. The target reads it from its disk; the source's driver
// decides whether it still fits.
type Checkpoint struct {
	Kind   string `json:"kind"`             // "zfs-token", "btrfs-segments", ...
	Step   StepID `json:"step"`             // what it belongs to
	Done   int64  `json:"done"`             // bytes of the stream that are durable
	Opaque []byte `json:"opaque,omitempty"` // at most MaxCheckpointBytes
}

// IsZero reports whether there is nothing to go on from.
func (c Checkpoint) IsZero() bool { return c.Kind == "" }
