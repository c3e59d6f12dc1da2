package source

import (
	"errors"
	"strings"
	"testing"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/naming"
)

func TestWhatWasWrittenIsToldByOneProcess(t *testing.T) {
	const look = "get -Hp -o value written@antipode_a tank/db"
	snap := dataset.Snapshot{Name: "antipode_a", ID: naming.IDOf(7)}
	listed := rule{Args: "list -Hp -t snapshot", Out: "tank/db@antipode_a\t7\t100\n"}
	for _, c := range []struct {
		name  string
		rules []rule
		want  bool
		calls string
		err   error
	}{
		{"written", []rule{{Args: look, Out: "4096\n"}}, false, "get", nil},
		{"the snapshot is gone", []rule{{Args: look, Out: "-\n"}}, false, "get", nil},
		{"nothing was written", []rule{{Args: look, Out: "0\n"}, listed, {Args: "zpool sync tank"}}, true, "get list zpool get", nil},
		{"something was in the open group", []rule{{Args: look, Out: "0\n", Times: 1}, {Args: look, Out: "512\n"}, listed, {Args: "zpool sync tank"}}, false, "get list zpool get", nil},
		{"another snapshot has the name", []rule{{Args: look, Out: "0\n"}, {Args: "list -Hp -t snapshot", Out: "tank/db@antipode_a\t8\t100\n"}}, false, "get list", nil},
		{"who may not flush cannot tell", []rule{{Args: look, Out: "0\n"}, listed, {Args: "zpool", Err: "cannot sync pool 'tank': permission denied\n", Code: 1}}, false, "get list zpool", nil},
		{"no dataset", []rule{{Args: look, Err: "cannot open 'tank/db': dataset does not exist\n", Code: 1}}, false, "get", dataset.ErrNotFound},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := script(t, c.rules...)
			got, err := s.source(nil).IsUnchanged(t.Context(), "tank/db", snap)
			if got != c.want || !errors.Is(err, c.err) {
				t.Errorf("got %t, %v, want %t, %v", got, err, c.want, c.err)
			}
			var verbs []string
			for _, line := range s.Calls() {
				verb, _, _ := strings.Cut(line, " ")
				verbs = append(verbs, verb)
			}
			if calls := strings.Join(verbs, " "); calls != c.calls {
				t.Errorf("ran %q, want %q", calls, c.calls)
			}
		})
	}
}
