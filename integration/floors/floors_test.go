// Package floors holds the table of floors of the house and fails when an
// import breaks it. A package may import only packages of lower floors, and
// the walls below say what it must not know at all.
package floors

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "antipode/"

// floor of each package. A package missing here fails the test: say where it
// belongs before you write it.
var floor = map[string]int{
	"fsdrivers/dataset":                 0,
	"fsdrivers/internal/command":        0,
	"fsdrivers/internal/takeover":       1,
	"fsdrivers/failpoint":               0,
	"fsdrivers":                         1,
	"fsdrivers/btrfs/stream":            1,
	"fsdrivers/zfs/fletcher":            0,
	"fsdrivers/zfs/nvlist":              0,
	"fsdrivers/zfs/stream":              1,
	"fsdrivers/zfs/token":               2,
	"fsdrivers/zfs/prop":                1,
	"fsdrivers/btrfs/segment":           2,
	"fsdrivers/btrfs/naming":            1,
	"fsdrivers/btrfs/subvol":            2,
	"fsdrivers/btrfs/sidecar":           3,
	"fsdrivers/btrfs/syncfs":            3,
	"fsdrivers/btrfs/progs":             3,
	"fsdrivers/btrfs/facts":             4,
	"fsdrivers/btrfs/send":              5,
	"fsdrivers/btrfs/standby":           5,
	"fsdrivers/btrfs/source":            6,
	"fsdrivers/btrfs/receive":           6,
	"fsdrivers/btrfs/activate":          6,
	"fsdrivers/btrfs/target":            7,
	"fsdrivers/btrfs":                   8,
	"fsdrivers/btrfs/btrfstest":         2,
	"fsdrivers/btrfs/btrfstest/pair":    8,
	"fsdrivers/zfs/naming":              1,
	"fsdrivers/zfs/zfstest":             0,
	"fsdrivers/zfs/cli":                 2,
	"fsdrivers/zfs/pool":                3,
	"fsdrivers/zfs/listing":             4,
	"fsdrivers/zfs/send":                4,
	"fsdrivers/zfs/source":              5,
	"fsdrivers/zfs/standby":             5,
	"fsdrivers/zfs/standby/standbytest": 6,
	"fsdrivers/zfs/activate":            6,
	"fsdrivers/zfs/receive":             6,
	"fsdrivers/zfs/target":              7,
	"fsdrivers/zfs":                     8,
	"fsdrivers/fake":                    2,
	"fsdrivers/drivertest":              2,
	"fsdrivers/forward":                 2,

	"transport/peer":          0,
	"transport/shape":         0,
	"transport/squeeze":       0,
	"transport/transporttest": 0,
	"transport/fleet":         0,
	"transport/cork":          0,
	"transport/reverse":       1,
	"transport/wire":          1,
	"transport/stripe":        2,
	"transport/server":        3,
	"transport/client":        3,

	"daemon/durable":         0,
	"daemon/wish":            2,
	"daemon/policy":          1,
	"daemon/ledger":          1,
	"daemon/status":          1,
	"daemon/hook":            1,
	"daemon/config":          2,
	"daemon/snapshot":        2,
	"daemon/quiet":           2,
	"daemon/pair":            4,
	"daemon/plan":            2,
	"daemon/send":            2,
	"daemon/watch":           3,
	"daemon/receive":         3,
	"daemon/prune":           2,
	"daemon/activate":        2,
	"daemon/forecast":        3,
	"daemon/schedule":        2,
	"daemon/control":         3,
	"daemon/cure":            3,
	"daemon/board":           2,
	"daemon/replicate":       4,
	"daemon/retain":          4,
	"transport/peer/pairing": 1,
	"daemon":                 9,
	"daemon/process":         10,
	"daemon/cli":             11,
	"daemon/cmd/antipode":    12,
}

// walls: a package on the left must import nothing below a prefix on the right,
// not even through others.
var walls = map[string][]string{
	"fsdrivers":       {"transport", "daemon"},
	"transport":       {"daemon", "fsdrivers/btrfs", "fsdrivers/zfs", "fsdrivers/fake"},
	"daemon/policy":   {"os", "net", "fsdrivers/btrfs"},
	"daemon/plan":     {"os", "net", "transport"},
	"daemon/prune":    {"net", "transport"},
	"daemon/forecast": {"os", "net", "transport"},
	"daemon/control":  {"html", "golang.org/x/term"},
}

func TestImportsStayBelowTheirFloor(t *testing.T) {
	for pkg, imports := range readImports(t) {
		own, known := floor[pkg]
		if !known {
			t.Errorf("%s has no floor: add it to the table in this file", pkg)
			continue
		}
		for imp := range imports {
			below, ours := strings.CutPrefix(imp, module)
			if !ours {
				continue
			}
			if f, ok := floor[below]; ok && f >= own {
				t.Errorf("%s (floor %d) imports %s (floor %d)", pkg, own, below, f)
			}
		}
	}
}

func TestWalls(t *testing.T) {
	imports := readImports(t)
	for pkg := range imports {
		for room, forbidden := range walls {
			if pkg != room && !strings.HasPrefix(pkg, room+"/") {
				continue
			}
			for imp := range imports[pkg] {
				imp = strings.TrimPrefix(imp, module)
				for _, wall := range forbidden {
					if imp == wall || strings.HasPrefix(imp, wall+"/") {
						t.Errorf("%s must not know %s", pkg, imp)
					}
				}
			}
		}
	}
}

func TestFakesStayInTests(t *testing.T) {
	fakes := []string{"fsdrivers/fake", "fsdrivers/drivertest", "fsdrivers/zfs/zfstest", "fsdrivers/zfs/standby/standbytest", "transport/transporttest"}
	for pkg, imports := range readImports(t) {
		for _, fake := range fakes {
			if imports[module+fake] && !slices.Contains(fakes, pkg) {
				t.Errorf("%s imports %s outside of a test", pkg, fake)
			}
		}
	}
}

// readImports maps each package outside integration to what its non-test files
// import.
func readImports(t *testing.T) map[string]map[string]bool {
	t.Helper()
	found := map[string]map[string]bool{}
	root := "../.."
	for _, top := range []string{"fsdrivers", "transport", "daemon"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(root, filepath.Dir(path))
			if err != nil {
				return err
			}
			if found[rel] == nil {
				found[rel] = map[string]bool{}
			}
			for _, imp := range file.Imports {
				found[rel][strings.Trim(imp.Path.Value, `"`)] = true
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(found) < 5 {
		t.Fatalf("found only %d packages: the test looks in the wrong place", len(found))
	}
	return found
}
