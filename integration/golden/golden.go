// Package golden compares what a test got with a file in the tree. It is for tests:
// whoever imports it has the flag -update, which rewrites the files.
package golden

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// Check fails the test if the file at path does not hold what was got.
func Check(t testing.TB, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; -update writes it", err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", path, got, want)
	}
}

// Story is a case that an operator can read.
type Story struct {
	Name  string
	Tells string // what happens, and why it comes out so
	Text  func(t *testing.T) string
}

// Stories compares each with testdata/NAME.golden, where what it tells stands above
// its text, and fails if there is such a file without a story.
func Stories(t *testing.T, all []Story) {
	t.Helper()
	known := map[string]bool{}
	for _, s := range all {
		file := filepath.Join("testdata", s.Name+".golden")
		known[file] = true
		t.Run(s.Name, func(t *testing.T) {
			Check(t, file, "# "+strings.ReplaceAll(s.Tells, "\n", "\n# ")+"\n\n"+s.Text(t))
		})
	}
	files, err := filepath.Glob(filepath.Join("testdata", "*.golden"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !known[f] {
			t.Errorf("%s belongs to no story", f)
		}
	}
}
