package daemon

import (
	"testing"

	"antipode/fsdrivers/dataset"
)

func TestAPeerIsNotToldOfPins(t *testing.T) {
	kept := []dataset.Snapshot{{Name: "antipode_db_1", Pin: &dataset.Pin{Why: "the auditors"}}}
	if told := unpinned(kept); len(told) != 1 || told[0].Name != "antipode_db_1" || told[0].Pin != nil {
		t.Errorf("told %+v, want the point without its pin", told)
	}
	if kept[0].Pin == nil {
		t.Error("the driver's own list has lost the pin")
	}
}
