package listing

import (
	"testing"
	"time"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/pool"
)

func TestAListIsVouchedFor(t *testing.T) {
	at := func(seconds int64) time.Time { return time.Unix(1_700_000_000+seconds, 0) }
	changed := func(seconds int64) uint64 { return uint64(at(seconds).Unix()) }
	for name, c := range map[string]struct {
		guards []Guard // one after the other
		want   bool    // by the last
	}{
		"read after the guard":            {[]Guard{{guid: 1, changed: changed(0), seen: at(99)}}, true},
		"changed long before":             {[]Guard{{guid: 1, changed: changed(90), seen: at(200)}}, true},
		"changed in the second before":    {[]Guard{{guid: 1, changed: changed(99), seen: at(200)}}, false},
		"changed after":                   {[]Guard{{guid: 1, changed: changed(150), seen: at(200)}}, false},
		"made anew":                       {[]Guard{{guid: 2, changed: changed(0), seen: at(200)}}, false},
		"nothing known":                   {[]Guard{{}}, false},
		"no snapshot was ever made":       {[]Guard{{guid: 1, seen: at(200)}}, true},
		"changed by a clock that is late": {[]Guard{{guid: 1, changed: changed(20), seen: at(200)}, {guid: 1, changed: changed(30), seen: at(300)}}, false},
	} {
		l := NewLists()
		l.put("tank/a", "tank/a", []dataset.Snapshot{{Name: "x"}}, pool.Entry{}, Guard{guid: 1}, at(100), l.begin("tank/a"))
		var got bool
		for _, g := range c.guards {
			_, got = l.Get("tank/a", g)
		}
		if got != c.want {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
	l := NewLists()
	before := l.begin("tank/a")
	l.Drop("tank/a")
	l.put("tank/a", "tank/a", nil, pool.Entry{}, Guard{guid: 1}, at(100), before)
	if _, ok := l.Get("tank/a", Guard{guid: 1, seen: at(99)}); ok {
		t.Error("a list that was dropped while it was read was kept")
	}
	l.put("tank/a", "tank/a", nil, pool.Entry{}, Guard{guid: 1}, at(100), l.begin("tank/a"))
	l.Drop("")
	if _, ok := l.Get("tank/a", Guard{guid: 1, seen: at(99)}); ok {
		t.Error("a list was believed after all were dropped")
	}
}
