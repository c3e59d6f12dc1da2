package wish_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"antipode/daemon/wish"
)

func loadPauses(t *testing.T, dir string) *wish.Pauses {
	t.Helper()
	p, err := wish.LoadPauses(dir)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestAPauseOutlivesARestartUntilItIsTakenBack(t *testing.T) {
	dir := t.TempDir()
	p := loadPauses(t, dir)
	for _, step := range []struct {
		job            string
		paused, before bool
		want           string
	}{
		{"db", true, false, "db"},
		{"db", true, true, "db"},
		{"mail", true, false, "db mail"},
		{"db", false, true, "mail"},
		{"db", false, false, "mail"},
	} {
		before, err := p.Set(step.job, step.paused)
		if err != nil || before != step.before {
			t.Errorf("set %s to %t: it was %t, %v; want %t", step.job, step.paused, before, err, step.before)
		}
		for name, p := range map[string]*wish.Pauses{"this run": p, "the next": loadPauses(t, dir)} {
			var got []string
			for _, job := range []string{"db", "mail"} {
				if p.Has(job) {
					got = append(got, job)
				}
			}
			if got := strings.Join(got, " "); got != step.want {
				t.Errorf("set %s to %t: paused in %s %q, want %q", step.job, step.paused, name, got, step.want)
			}
		}
	}
}

func TestAPauseThatCannotBeWrittenIsNone(t *testing.T) {
	p := loadPauses(t, filepath.Join(t.TempDir(), "gone"))
	if _, err := p.Set("db", true); err == nil || p.Has("db") {
		t.Errorf("error %v, paused %t; want an error, and not paused", err, p.Has("db"))
	}
}

func TestDamagedPausesNameTheFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "paused.json")
	if err := os.WriteFile(path, []byte(`{"db"`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := wish.LoadPauses(dir); err == nil || !strings.Contains(err.Error(), "remove "+path) {
		t.Errorf("got %v, want the file and what to do", err)
	}
}
