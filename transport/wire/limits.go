package wire

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"antipode/fsdrivers/dataset"
)

// Limits of what is accepted from a peer; each is tested before the value is
// used. What is sent is tested by the same functions.
const (
	MaxMessageBytes      = 16 << 20  // a JSON message, either way
	MaxRequestBytes      = 1 << 20   // a JSON request but an inventory
	MaxProgressBytes     = 64 << 10  // one line of progress
	MaxInventoryDatasets = 128       // of one inventory exchange
	MaxSnapshotsPerReply = 32 << 10  // of one inventory, over all its replicas
	MaxListed            = 256 << 10 // values in lists, over a whole message
	MaxDepth             = 32        // of values in values
	MaxHolds             = 64        // of one snapshot
	MaxOffers            = 64
	MaxPulled            = 256 // jobs that a peer may ask for
	MaxRanges            = 64  // of acknowledged chunks above the watermark
	MaxNameBytes         = 64  // node, peer, driver, software, job
	MaxFlagsBytes        = 256
	MaxKindBytes         = 32
	MaxTextBytes         = 1 << 10
	IncarnationDigits    = 32
)

// Validate checks the form of a greeting.
func (h Hello) Validate() error {
	if len(h.Offers) > MaxOffers {
		return malformed("hello", "%d offers, more than %d", len(h.Offers), MaxOffers)
	}
	for _, o := range h.Offers {
		if err := first(name("offer's driver", o.Driver), text("offer's problem", o.Problem), o.Usage.validate(),
			natural("min_free", o.MinFree), natural("max_bytes", o.MaxBytes), text("offer's pull", o.Pull), optional("offer's strip", o.Strip, dataset.MaxPathBytes)); err != nil {
			return err
		}
	}
	if len(h.Pulled) > MaxPulled {
		return malformed("hello", "%d jobs to pull, more than %d", len(h.Pulled), MaxPulled)
	}
	for _, p := range h.Pulled {
		if err := first(name("pulled job", p.Job), name("its driver", p.Driver)); err != nil {
			return err
		}
	}
	return first(name("node", h.Node), optional("software", h.Software, MaxNameBytes))
}

// Validate checks form and limits.
func (r PullRequest) Validate() error {
	return first(name("driver", r.Driver), text("when", r.When))
}

// Validate checks form and limits.
func (a PullAnswer) Validate() error {
	if len(a.Jobs) > MaxPulled {
		return malformed("pull answer", "%d jobs, more than %d", len(a.Jobs), MaxPulled)
	}
	for _, j := range a.Jobs {
		if err := name("job", j); err != nil {
			return err
		}
	}
	return nil
}

func (u Usage) validate() error { return first(natural("free", u.Free), natural("size", u.Size)) }

// Validate checks the form of an inventory's question.
func (r InventoryRequest) Validate() error {
	if n := len(r.Datasets); n == 0 || n > MaxInventoryDatasets {
		return malformed("inventory request", "%d datasets, want 1 to %d", n, MaxInventoryDatasets)
	}
	for _, a := range r.Datasets {
		if err := a.validate(); err != nil {
			return err
		}
	}
	return first(name("job", r.Job), name("driver", r.Driver))
}

func (a InventoryAsk) validate() error {
	return first(source(a.Dataset), bad(a.Mark.Validate()))
}

// Validate checks the form of an inventory.
func (v Inventory) Validate() error {
	if len(v.Replicas) > MaxInventoryDatasets {
		return malformed("inventory", "%d replicas, more than %d", len(v.Replicas), MaxInventoryDatasets)
	}
	total := 0
	for i := range v.Replicas {
		if total += len(v.Replicas[i].Snapshots); total > MaxSnapshotsPerReply {
			return fmt.Errorf("%w: inventory: more than %d snapshots; ask for fewer datasets at once", ErrTooLarge, MaxSnapshotsPerReply)
		}
		if err := v.Replicas[i].validate(); err != nil {
			return err
		}
	}
	return v.Usage.validate()
}

func (r *Replica) validate() error {
	if r.Problem != nil {
		r.Problem.clean()
	}
	if !r.ID.IsZero() {
		if _, err := dataset.ParseID(string(r.ID)); err != nil {
			return bad(err)
		}
	}
	for _, s := range r.Snapshots {
		if err := snapshot(s); err != nil {
			return err
		}
	}
	return first(path(r.Path), checkpoint(r.Checkpoint), bad(r.Mark.Validate()))
}

// Validate checks the form of an announcement.
func (o Open) Validate() error {
	if err := ParseIncarnation(o.Incarnation); err != nil {
		return err
	}
	if o.ChunkBytes < MinChunk || o.ChunkBytes > MaxChunk {
		return malformed("open", "chunks of %d bytes, want %d to %d", o.ChunkBytes, MinChunk, MaxChunk)
	}
	if !o.Checkpoint.IsZero() && o.Checkpoint.Step != o.Step.ID() {
		return malformed("open", "checkpoint of step %s, want %s", o.Checkpoint.Step, o.Step.ID())
	}
	return first(step(o.Step), name("driver", o.Driver), checkpoint(o.Checkpoint), natural("estimate", o.Estimate), bad(o.Mark.Validate()))
}

// Validate checks the form of a question.
func (q CommitQuery) Validate() error { return first(step(q.Step), name("driver", q.Driver)) }

// Validate checks the form of an answer from the disk.
func (c Committed) Validate() error {
	if !c.Published {
		return nil
	}
	return snapshot(c.Snapshot)
}

// ParseIncarnation checks an incarnation: 32 hexadecimal digits.
func ParseIncarnation(s string) error {
	if len(s) != IncarnationDigits || strings.Trim(s, "0123456789abcdef") != "" {
		return malformed("incarnation", "want %d hexadecimal digits", IncarnationDigits)
	}
	return nil
}

func step(s dataset.Step) error {
	if err := first(name("job", s.Job), source(s.Dataset), snapshot(s.To), optional("flags", s.Flags, MaxFlagsBytes)); err != nil {
		return err
	}
	if s.IsFull() {
		if s.From.Name != "" {
			return malformed("step", "base %s without identity", s.From.Name)
		}
		return nil
	}
	return snapshot(s.From)
}

func source(d dataset.Dataset) error {
	_, err := dataset.ParseID(string(d.ID))
	return first(path(d.Path), bad(err))
}

func snapshot(s dataset.Snapshot) error {
	_, nameErr := dataset.ParseName(s.Name)
	_, idErr := dataset.ParseID(string(s.ID))
	if err := first(bad(nameErr), bad(idErr), instant(s.Created), instant(s.Received), instant(s.Retain)); err != nil {
		return err
	}
	if len(s.Holds) > MaxHolds {
		return malformed("snapshot", "%d holds, more than %d", len(s.Holds), MaxHolds)
	}
	for _, t := range s.Holds {
		if _, err := dataset.ParseTag(string(t)); err != nil {
			return bad(err)
		}
	}
	return nil
}

func checkpoint(c dataset.Checkpoint) error {
	if c.IsZero() {
		return nil
	}
	if len(c.Opaque) > dataset.MaxCheckpointBytes {
		return malformed("checkpoint", "%d bytes, more than %d", len(c.Opaque), dataset.MaxCheckpointBytes)
	}
	_, err := dataset.ParseStepID(string(c.Step))
	return first(bad(err), optional("checkpoint's kind", c.Kind, MaxKindBytes), natural("checkpoint's bytes", c.Done))
}

func path(p dataset.Path) error {
	_, err := dataset.ParsePath(string(p))
	return bad(err)
}

// instant refuses a year that later arithmetic with durations could overflow.
func instant(t time.Time) error {
	if y := t.Year(); !t.IsZero() && (y < 1970 || y > 9000) {
		return malformed("time", "the year is %d", y)
	}
	return nil
}

func name(what, s string) error {
	if s == "" {
		return malformed(what, "is empty")
	}
	return optional(what, s, MaxNameBytes)
}

func text(what, s string) error { return optional(what, s, MaxTextBytes) }

func optional(what, s string, limit int) error {
	switch {
	case len(s) > limit:
		return malformed(what, "%d bytes, more than %d", len(s), limit)
	case !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl):
		return malformed(what, "holds a control character")
	}
	return nil
}

func natural(what string, n int64) error {
	if n < 0 {
		return malformed(what, "is negative")
	}
	return nil
}

func malformed(what, format string, args ...any) error {
	return fmt.Errorf("%w: %s: %s", ErrMalformed, what, fmt.Sprintf(format, args...))
}

func bad(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrMalformed, err)
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
