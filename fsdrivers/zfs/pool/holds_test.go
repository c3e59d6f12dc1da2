package pool

import (
	"reflect"
	"testing"
	"time"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/prop"
)

func TestTheLastPinCounts(t *testing.T) {
	at := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	older, newer := dataset.Pin{At: at, Why: "a"}, dataset.Pin{At: at.Add(1), Why: "b"}
	out := "tank@a\t" + prop.PinTag(newer) + "\t1\ntank@a\t" + prop.PinTag(older) + "\t2\ntank@b\tmine\t3\n"
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
