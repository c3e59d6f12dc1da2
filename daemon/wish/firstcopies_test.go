package wish_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"antipode/daemon/wish"
	"antipode/fsdrivers/dataset"
)

var (
	db   = dataset.Dataset{Path: "/data/db", ID: "1"}
	mail = dataset.Dataset{Path: "/data/mail", ID: "2"}
)

// load is what a daemon finds that begins now.
func load(t *testing.T, dir string) *wish.FirstCopies {
	t.Helper()
	f, err := wish.LoadFirstCopies(dir, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// asked is a directory in which first copies of both datasets to two peers were asked for.
func asked(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	f := load(t, dir)
	for _, peer := range []string{"sin1", "syd1"} {
		for _, d := range []dataset.Dataset{db, mail} {
			if err := f.Ask(wish.FirstCopy{Job: "all", Peer: peer, Dataset: d}); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

// standing lists the wishes of the job, in an order that does not change.
func standing(f *wish.FirstCopies) string {
	var all []string
	for _, peer := range []string{"sin1", "syd1"} {
		for _, d := range []dataset.Dataset{db, mail} {
			if f.To("all", peer).Asked(d) {
				all = append(all, peer+":"+filepath.Base(string(d.Path)))
			}
		}
	}
	return strings.Join(all, " ")
}

// What ends a wish ends it for the next run too, and no other.
func TestAFirstCopyIsAskedForUntilItEnds(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(f *wish.FirstCopies)
		want string
	}{
		"nothing":                  {func(*wish.FirstCopies) {}, "sin1:db sin1:mail syd1:db syd1:mail"},
		"the target has a point":   {func(f *wish.FirstCopies) { f.To("all", "sin1").Seeded(db.Path) }, "sin1:mail syd1:db syd1:mail"},
		"given up of a job":        {func(f *wish.FirstCopies) { f.GiveUp("all", "", "") }, ""},
		"given up of another job":  {func(f *wish.FirstCopies) { f.GiveUp("other", "", "") }, "sin1:db sin1:mail syd1:db syd1:mail"},
		"given up to a peer":       {func(f *wish.FirstCopies) { f.GiveUp("all", "syd1", "") }, "sin1:db sin1:mail"},
		"given up of a dataset":    {func(f *wish.FirstCopies) { f.GiveUp("all", "", mail.Path) }, "sin1:db syd1:db"},
		"the peer is not named":    {func(f *wish.FirstCopies) { f.Retain(func(_, peer string) bool { return peer != "sin1" }) }, "syd1:db syd1:mail"},
		"all that are still named": {func(f *wish.FirstCopies) { f.Retain(func(job, _ string) bool { return job == "all" }) }, "sin1:db sin1:mail syd1:db syd1:mail"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := asked(t)
			f := load(t, dir)
			c.end(f)
			if got := standing(f); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if got := standing(load(t, dir)); got != c.want {
				t.Errorf("after a restart: got %q, want %q", got, c.want)
			}
		})
	}
}

// A dataset that was made anew under its path is another, of which nobody asked for a copy.
func TestAFirstCopyOfAnotherDatasetIsNotAskedFor(t *testing.T) {
	f := load(t, asked(t))
	if anew := (dataset.Dataset{Path: db.Path, ID: "3"}); f.To("all", "sin1").Asked(anew) {
		t.Error("it is asked for, want that the id counts")
	}
}

// What cannot be remembered is refused, so that nothing is sent that a restart forgets.
func TestAFirstCopyThatCannotBeWrittenIsNotAskedFor(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "gone")
	f := load(t, dir)
	if err := f.Ask(wish.FirstCopy{Job: "all", Peer: "sin1", Dataset: db}); err == nil {
		t.Error("no error, want one")
	}
	if got := standing(f); got != "" {
		t.Errorf("got %q, want none", got)
	}
}

func TestDamagedFirstCopiesNameTheFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "first-copies.json")
	if err := os.WriteFile(path, []byte("[{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := wish.LoadFirstCopies(dir, zerolog.Nop()); err == nil || !strings.Contains(err.Error(), "remove "+path) {
		t.Errorf("got %v, want the file and what to do", err)
	}
}
