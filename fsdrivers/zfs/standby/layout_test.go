package standby

import (
	"errors"
	"testing"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/naming"
	"antipode/fsdrivers/zfs/pool"
)

func TestWhatAnAcceptStripsIsInNoName(t *testing.T) {
	for strip, c := range map[dataset.Path]struct {
		paths map[dataset.Path]string // places below Into
		out   []dataset.Path
	}{
		"":     {map[dataset.Path]string{"tank": "tank", "tank/db": "tank/db", "other/x": "other/x"}, []dataset.Path{"/tank", "tank//db", ".antipode/x"}},
		"tank": {map[dataset.Path]string{"tank/db": "db", "tank/db/1": "db/1", "tank/tank": "tank"}, []dataset.Path{"tank", "tank2/db", "other/tank/db", "tank/../x", "tank/.antipode/x", "tank/" + naming.Live, "tank/" + naming.Live + "/x", "/tank/db"}},
		"tank/data": {
			map[dataset.Path]string{"tank/data/db": "db", "tank/data/1 2": "1 2", "tank/data/tank/data/db": "tank/data/db"},
			[]dataset.Path{"tank/data", "tank", "tank/database", "tank/other/db"},
		},
	} {
		in := &Into{Name: "dst/into", strip: strip, Live: "dst/into/" + naming.Live}
		for path, place := range c.paths {
			if got, err := in.Home(path); err != nil || got != "dst/into/"+place {
				t.Errorf("strip %q: %s goes to %q, %v; want %s", strip, path, got, err, place)
			}
		}
		for _, path := range c.out {
			if got, err := in.Home(path); !errors.Is(err, dataset.ErrRefused) {
				t.Errorf("strip %q: %s goes to %q, %v; want %v", strip, path, got, err, dataset.ErrRefused)
			}
		}
	}
}

func TestTheSameNameAsOnItsSourceIsPossible(t *testing.T) {
	in := &Into{Name: "tank", strip: "tank", Live: "tank/" + naming.Live}
	if got, err := in.Home("tank/db"); err != nil || got != "tank/db" {
		t.Errorf("got %q, %v; want tank/db", got, err)
	}
}

func TestAnIntoDoesNotLieAmongTheLiveData(t *testing.T) {
	for live, ok := range map[string]bool{"": true, "tank/live": true, "tank/in/live": true, "tank": false, "tank/in": false, "other/live": false} {
		if _, err := New(pool.NewHost("", 0), Options{Name: "tank/in", Live: live, Locks: t.TempDir()}); (err == nil) != ok {
			t.Errorf("live %q: got %v, want it taken: %t", live, err, ok)
		}
	}
}
