package dataset_test

import (
	"strings"
	"testing"
	"time"

	"antipode/fsdrivers/dataset"
)

func TestPinHoldsUntilItsTime(t *testing.T) {
	at := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		pin  *dataset.Pin
		want bool
	}{
		"none": {nil, false}, "without an end": {&dataset.Pin{}, true},
		"before its end": {&dataset.Pin{Until: at.Add(1)}, true}, "at its end": {&dataset.Pin{Until: at}, false},
	} {
		if got := c.pin.Holds(at); got != c.want {
			t.Errorf("%s: holds %t, want %t", name, got, c.want)
		}
	}
}

func TestPinIsTheSameOnlyAsItWasSet(t *testing.T) {
	at := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	p := &dataset.Pin{Until: at, Why: "audit", At: at}
	zone := *p
	zone.Until = at.In(time.FixedZone("x", 3600))
	other := *p
	other.At = at.Add(1)
	var none *dataset.Pin
	if !p.Same(&zone) || p.Same(&other) || p.Same(nil) || none.Same(p) || !none.Same(nil) {
		t.Error("a pin is the same in another zone, and nothing else is the same")
	}
}

func TestPinsReasonIsOneLine(t *testing.T) {
	for why, ok := range map[string]bool{
		"": true, "before the migration, ticket 12": true, "a\nb": false, "\xff": false, strings.Repeat("x", dataset.MaxWhyBytes+1): false,
	} {
		if err := (dataset.Pin{Why: why}).Validate(); (err == nil) != ok {
			t.Errorf("%.20q: %v, want accepted %t", why, err, ok)
		}
	}
}
