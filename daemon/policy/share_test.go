package policy

import "testing"

func TestParseShare(t *testing.T) {
	for s, want := range map[string]float64{"50%": 50, "0.1%": 0.1, "100%": 100, "off": 0} {
		if got, err := ParseShare(s); err != nil || got != want {
			t.Errorf("%q: got %v, %v, want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"", "%", "50", "0%", "-1%", "101%", "NaN%", "half", "50 %%"} {
		if got, err := ParseShare(s); err == nil {
			t.Errorf("%q was read as %v", s, got)
		}
	}
}
