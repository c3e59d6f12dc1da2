package segment

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"antipode/fsdrivers/btrfs/stream"
	"antipode/fsdrivers/dataset"
)

// Kind is the kind of checkpoint that a Journal makes.
const Kind = "btrfs-segments"

// opaque is what a checkpoint carries: enough for the source to prove, with one
// reading of its stream, from which segment it can go on.
type opaque struct {
	Version uint32  `json:"version"` // of the stream's format
	Head    int64   `json:"head"`    // bytes of its header and first command
	Kept    []place `json:"kept"`    // rising
}

type place struct {
	Done   int64         `json:"done"` // bytes of the stream, Head among them
	Digest stream.Digest `json:"digest"`
}

// Checkpoint is what the source is told; zero if nothing is sealed.
func (j Journal) Checkpoint(step dataset.StepID) (dataset.Checkpoint, error) {
	if len(j.Kept) == 0 {
		return dataset.Checkpoint{}, nil
	}
	newest := j.Newest()
	o := opaque{Version: newest.At.Version, Head: newest.At.Head}
	for _, s := range j.Kept {
		o.Kept = append(o.Kept, place{Done: s.At.Done, Digest: s.Digest})
	}
	text, err := json.Marshal(o)
	for ; err == nil && len(text) > dataset.MaxCheckpointBytes; text, err = json.Marshal(o) {
		o.Kept = slices.Delete(o.Kept, 0, 1) // the way back becomes longer
	}
	if err != nil {
		return dataset.Checkpoint{}, fmt.Errorf("encode checkpoint: %w", err)
	}
	return dataset.Checkpoint{Kind: Kind, Step: step, Done: newest.At.Done, Opaque: text}, nil
}

// Places is a checkpoint as the source reads it.
type Places struct {
	Version uint32
	head    int64
	kept    []place // rising; the last is the one that the checkpoint names
	from    dataset.Checkpoint
}

// ParsePlaces reads the checkpoint that a target has for a step. The error is a
// dataset.StaleCheckpointError: such a checkpoint is dropped, once, and the step
// planned again.
func ParsePlaces(c dataset.Checkpoint, step dataset.StepID) (Places, error) {
	stale := func(why string, args ...any) (Places, error) {
		return Places{}, &dataset.StaleCheckpointError{Why: fmt.Sprintf(why, args...)}
	}
	if c.Kind != Kind || c.Step != step {
		return stale("it is a %q of step %s, wanted is a %q of step %s", c.Kind, c.Step, Kind, step)
	}
	var o opaque
	d := json.NewDecoder(bytes.NewReader(c.Opaque))
	if err := d.Decode(&o); err != nil || len(c.Opaque) > dataset.MaxCheckpointBytes {
		return stale("its %d bytes cannot be read: %v", len(c.Opaque), err)
	}
	last := o.Head - 1
	for i, p := range o.Kept {
		if p.Done <= last {
			return stale("its places do not rise: %d after %d", p.Done, last)
		}
		if last = p.Done; p.Done == c.Done {
			return Places{Version: o.Version, head: o.Head, kept: o.Kept[:i+1], from: c}, nil
		}
	}
	return stale("it names byte %d, where no segment ends", c.Done)
}

// Marks are the places as stream.Skip looks for them.
func (p Places) Marks() []stream.Mark {
	marks := make([]stream.Mark, 0, len(p.kept))
	for _, k := range p.kept {
		marks = append(marks, stream.Mark{Done: k.Done - p.head, Digest: k.Digest})
	}
	return marks
}

// Total is how many bytes must be read again, without the first command.
func (p Places) Total() int64 { return p.from.Done - p.head }

// Stale is the error of a stream that agrees with only the first so many of the
// places: it carries the checkpoint of the last of them.
func (p Places) Stale(agreed int) error {
	err := &dataset.StaleCheckpointError{Why: "the stream is no longer the same up to there"}
	if agreed > 0 {
		err.Fits = p.from
		err.Fits.Done = p.kept[agreed-1].Done
	}
	return err
}
