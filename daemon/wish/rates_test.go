package wish_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"antipode/daemon/policy"
	"antipode/daemon/wish"
)

func loadRates(t *testing.T, dir string) *wish.Rates {
	t.Helper()
	r, err := wish.LoadRates(dir)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// rates lists what is set of the host and of two jobs, in an order that does not change.
func rates(s wish.Standing) string {
	var all []string
	for _, job := range []string{"", "db", "mail"} {
		if w := s.Of(job); w != nil {
			all = append(all, fmt.Sprintf("%s=%d", job, int64(w.Rate)))
		}
	}
	return strings.Join(all, " ")
}

func TestARateIsRememberedUntilItEndsOrIsTakenBack(t *testing.T) {
	dir := t.TempDir()
	r := loadRates(t, dir)
	noon := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	for _, step := range []struct {
		name string
		job  string
		w    *policy.Wish
		now  time.Time
		want string
	}{
		{"the host's", "", &policy.Wish{Rate: 1000}, noon, "=1000"},
		{"a job's, for an hour", "db", &policy.Wish{Rate: 200, Until: noon.Add(time.Hour)}, noon, "=1000 db=200"},
		{"another's", "mail", &policy.Wish{Rate: 300}, noon, "=1000 db=200 mail=300"},
		{"the host's taken back", "", nil, noon, "db=200 mail=300"},
		{"one that is over is forgotten with the next", "mail", &policy.Wish{Rate: 400}, noon.Add(2 * time.Hour), "mail=400"},
		{"one that there is none of", "db", nil, noon.Add(2 * time.Hour), "mail=400"},
	} {
		before := r.Standing()
		was := rates(before)
		if err := r.Set(step.job, step.w, step.now); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if got := rates(r.Standing()); got != step.want {
			t.Errorf("%s: got %q, want %q", step.name, got, step.want)
		}
		if got := rates(loadRates(t, dir).Standing()); got != step.want {
			t.Errorf("%s, after a restart: got %q, want %q", step.name, got, step.want)
		}
		if got := rates(before); got != was {
			t.Errorf("%s: what was handed out before became %q, want %q still", step.name, got, was)
		}
	}
}

func TestARateThatCannotBeWrittenIsNotSet(t *testing.T) {
	r := loadRates(t, filepath.Join(t.TempDir(), "gone"))
	if err := r.Set("db", &policy.Wish{Rate: 1}, time.Now()); err == nil || rates(r.Standing()) != "" {
		t.Errorf("error %v, set %q; want an error and nothing", err, rates(r.Standing()))
	}
}

func TestDamagedRatesNameTheFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "rates.json")
	if err := os.WriteFile(path, []byte(`[]`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := wish.LoadRates(dir); err == nil || !strings.Contains(err.Error(), "remove "+path) {
		t.Errorf("got %v, want the file and what to do", err)
	}
}
