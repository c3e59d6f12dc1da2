package prop_test

import (
	"reflect"
	"testing"
	"time"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/prop"
)

func TestPinsSurviveTheirTag(t *testing.T) {
	at := time.Date(2026, 5, 4, 12, 0, 0, 17, time.UTC)
	for name, p := range map[string]dataset.Pin{
		"with all": {At: at, Until: at.Add(time.Hour), Why: "audit: 2026, größer"}, "without an end": {At: at, Why: "x"}, "without a reason": {At: at},
	} {
		tag := prop.PinTag(p)
		if got, isPin := prop.ParsePinTag(tag); !isPin || !reflect.DeepEqual(got, p) {
			t.Errorf("%s: %q became %+v, want %+v", name, tag, got, p)
		}
		if _, err := dataset.ParseTag(tag[len(prop.Namespace):]); err == nil {
			t.Errorf("%s: %q would be listed as a hold of ours, too", name, tag)
		}
		if n := len(tag); n > 255 {
			t.Errorf("%s: the tag has %d bytes", name, n)
		}
	}
	if _, isPin := prop.ParsePinTag("mine"); isPin {
		t.Error("somebody's hold became a pin")
	}
	if p, isPin := prop.ParsePinTag(prop.PinPrefix + "garbage"); !isPin || !p.Until.IsZero() {
		t.Errorf("a tag of ours that cannot be read became %+v, want a pin without an end", p)
	}
}
