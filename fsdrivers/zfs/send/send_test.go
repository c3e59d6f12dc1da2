package send

import (
	"testing"
)

func TestParseSize(t *testing.T) {
	if n, err := parseSize("full\ttank@a\t1000\nsize\t1000\n"); n != 1000 || err != nil {
		t.Errorf("size: got %d, %v", n, err)
	}
	for _, bad := range []string{"size\t-1\n", "size\t18446744073709551615\n", "", "size\tx\n"} {
		if n, err := parseSize(bad); err == nil {
			t.Errorf("size %q: got %d, want an error", bad, n)
		}
	}
}

func FuzzParseSize(f *testing.F) {
	f.Add("size\t1000\n")
	f.Fuzz(func(t *testing.T, out string) {
		if n, err := parseSize(out); err == nil && n < 0 {
			t.Errorf("size %d", n)
		}
	})
}
