package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing that is wrong, or noteworthy, at one place.
type Problem struct {
	File string `json:"file"`
	Line int    `json:"line"` // from 1; 0 is the whole file
	Text string `json:"text"` // what is wrong; what would be right
}

// String returns "file:line: text".
func (p Problem) String() string { return p.place() + ": " + p.Text }

// place returns "file:line".
func (p Problem) place() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d", p.File, p.Line)
}

// Error is all that is wrong with a configuration.
type Error struct {
	Problems []Problem // at least one, in order of file and line
}

// Error returns one problem a line.
func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// findings collects problems and warnings.
type findings struct {
	problems, warnings []Problem
}

// result sorts what was found; err is nil if nothing is wrong.
func (f *findings) result() (warnings []Problem, err error) {
	byPlace := func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	}
	slices.SortStableFunc(f.problems, byPlace)
	slices.SortStableFunc(f.warnings, byPlace)
	if len(f.problems) > 0 {
		err = &Error{Problems: f.problems}
	}
	return f.warnings, err
}

// nearest returns the one of known that s was probably meant to be, "" if none
// is near.
func nearest(s string, known []string) string {
	best, bestAt := "", max(2, len(s)/3)+1
	for _, k := range known {
		if d := distance(s, k); d < bestAt {
			best, bestAt = k, d
		}
	}
	return best
}

// distance counts the letters to insert, remove or replace (Levenshtein).
// Long words are not worth the quadratic time.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// didYouMean ends a text with the nearest name, or with all that there are.
func didYouMean(s string, known []string) string {
	switch near := nearest(s, known); {
	case near != "":
		return fmt.Sprintf("did you mean %q?", near)
	case len(known) == 0:
		return "there are none"
	}
	return "known are " + strings.Join(slices.Sorted(slices.Values(known)), ", ")
}
