package failpoint

import (
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite points.txt")

// The list in the tree is that of the calls in the tree, and no name stands at two
// places.
func TestPointsAreThoseOfTheTree(t *testing.T) {
	call := regexp.MustCompile(`failpoint\.Hit\("([^"]*)"\)`)
	var lines []string
	seen := map[string]string{}
	root := "../.."
	err := filepath.WalkDir(filepath.Join(root, "fsdrivers"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		for _, m := range call.FindAllStringSubmatch(string(text), -1) {
			if other, twice := seen[m[1]]; twice {
				t.Errorf("failpoint %s is in %s and in %s", m[1], other, rel)
			}
			seen[m[1]] = rel
			lines = append(lines, m[1]+"\t"+rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(lines)
	want := strings.Join(lines, "\n") + "\n"
	if *update {
		if err := os.WriteFile("points.txt", []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got := Points(); !*update && got != want {
		t.Errorf("points.txt holds\n%swant\n%srun this test with -update", got, want)
	}
}
