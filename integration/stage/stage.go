// Package stage puts up what the demo and the benchmarks play on: file systems in
// sparse files and daemons on loopback addresses. It takes everything down again,
// also after an error. Tests have package node, which fails the test by itself.
package stage

import (
	"context"
	"errors"
	"os"
	"strings"
	"time"
)

const strikeWithin = 2 * time.Minute

// Stage is what was put on this machine, below one temporary directory.
type Stage struct {
	Dir  string
	undo []func(context.Context) error // newest last
}

// New makes the directory below another, or where temporary files go if below is
// "". Its name begins with name.
func New(below, name string) (*Stage, error) {
	dir, err := os.MkdirTemp(below, name+"-")
	if err != nil {
		return nil, err
	}
	s := &Stage{Dir: dir}
	s.Later(func(context.Context) error { return os.RemoveAll(dir) })
	return s, nil
}

// Later adds something to take down.
func (s *Stage) Later(undo func(context.Context) error) { s.undo = append(s.undo, undo) }

// Mark is how many things there are to take down.
func (s *Stage) Mark() int { return len(s.undo) }

// Strike takes everything down, the newest first. It goes on after errors, and
// ends by itself.
func (s *Stage) Strike() error { return s.StrikeTo(0) }

// StrikeTo takes down what was added since a Mark.
func (s *Stage) StrikeTo(mark int) error {
	ctx, cancel := context.WithTimeout(context.Background(), strikeWithin)
	defer cancel()
	var errs []error
	for len(s.undo) > mark {
		last := len(s.undo) - 1
		undo := s.undo[last]
		s.undo = s.undo[:last]
		errs = append(errs, undo(ctx))
	}
	return errors.Join(errs...)
}

// Short takes the stage's own directory out of a text.
func (s *Stage) Short(text string) string { return strings.ReplaceAll(text, s.Dir, "…") }
