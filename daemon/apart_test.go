package daemon

import (
	"errors"
	"fmt"
	"testing"
)

func TestApart(t *testing.T) {
	a, b, c := errors.New("a"), errors.New("b"), errors.New("c")
	whole := fmt.Errorf("both %w and %w", a, b)
	for name, e := range map[string]struct {
		err  error
		want []error
	}{
		"none":             {nil, nil},
		"one":              {a, []error{a}},
		"joined":           {errors.Join(a, nil, b), []error{a, b}},
		"joined twice":     {errors.Join(errors.Join(a, b), c), []error{a, b, c}},
		"one that is more": {errors.Join(whole, c), []error{whole, c}},
		"joined one":       {errors.Join(a), []error{a}},
	} {
		got := apart(e.err)
		if fmt.Sprint(got) != fmt.Sprint(e.want) || len(got) != len(e.want) {
			t.Errorf("%s: got %v, want %v", name, got, e.want)
		}
	}
}
