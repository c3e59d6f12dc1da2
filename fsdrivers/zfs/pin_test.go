package zfs

import (
	"reflect"
	"testing"
	"time"

	"antipode/fsdrivers/dataset"
)

func TestPinsSurviveTheirTag(t *testing.T) {
	at := time.Date(2026, 5, 4, 12, 0, 0, 17, time.UTC)
	for name, p := range map[string]dataset.Pin{
		"with all": {At: at, Until: at.Add(time.Hour), Why: "audit: 2026, größer"}, "without an end": {At: at, Why: "x"}, "without a reason": {At: at},
	} {
		tag := pinTagOf(p)
		if got, isPin := pinOfTag(tag); !isPin || !reflect.DeepEqual(got, p) {
			t.Errorf("%s: %q became %+v, want %+v", name, tag, got, p)
		}
		if _, err := dataset.ParseTag(tag[len(ns):]); err == nil {
			t.Errorf("%s: %q would be listed as a hold of ours, too", name, tag)
		}
		if n := len(tag); n > 255 {
			t.Errorf("%s: the tag has %d bytes", name, n)
		}
	}
	if _, isPin := pinOfTag("mine"); isPin {
		t.Error("somebody's hold became a pin")
	}
	if p, isPin := pinOfTag(pinTag + "garbage"); !isPin || !p.Until.IsZero() {
		t.Errorf("a tag of ours that cannot be read became %+v, want a pin without an end", p)
	}
}

func TestTheLastPinCounts(t *testing.T) {
	at := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	older, newer := dataset.Pin{At: at, Why: "a"}, dataset.Pin{At: at.Add(1), Why: "b"}
	out := "tank@a\t" + pinTagOf(newer) + "\t1\ntank@a\t" + pinTagOf(older) + "\t2\ntank@b\tmine\t3\n"
	pins, err := parsePins(out)
	if want := map[string]*dataset.Pin{"tank@a": &newer}; err != nil || !reflect.DeepEqual(pins, want) {
		t.Errorf("got %v, %v, want %v", pins, err, want)
	}
	holds, err := parseAllHolds(out)
	if err != nil || len(holds) != 3 || holds[2].tag != "mine" || holds[2].since.Unix() != 3 {
		t.Errorf("got %v, %v", holds, err)
	}
	if _, err := parseAllHolds("x\n"); err == nil {
		t.Error("a line without a tag was read")
	}
}
