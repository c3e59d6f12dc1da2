package policy_test

import (
	"testing"

	"antipode/daemon/policy"
	"antipode/fsdrivers/dataset"
)

func TestNamesSelectWhatOthersMade(t *testing.T) {
	names := policy.Names{"zfs-auto-snap_*", "manual-?"}
	for name, want := range map[string]bool{
		"zfs-auto-snap_hourly-2026-01-01-0000": true, "manual-1": true, "manual-12": false, "manual": false, "x-zfs-auto-snap_": false,
	} {
		if names.Match(name) != want || names.Has(dataset.Snapshot{Name: name, Foreign: true}) != want {
			t.Errorf("%s: got %t, want %t", name, !want, want)
		}
	}
	if !(policy.Names{}).Has(dataset.Snapshot{Name: "antipode_db_x"}) || (policy.Names{}).Match("") {
		t.Error("what is ours needs no pattern, and no pattern selects nothing")
	}
}

func TestParseNamesOfOthers(t *testing.T) {
	for s, ok := range map[string]bool{
		"*": true, "daily-[0-9]*": true, "": false, "[": false, "antipode_*": false, "tank/db@x": false, "x#y": false,
	} {
		if _, err := (policy.Names{}).ParseName(s); (err == nil) != ok {
			t.Errorf("%q: %v, want accepted %t", s, err, ok)
		}
	}
}
