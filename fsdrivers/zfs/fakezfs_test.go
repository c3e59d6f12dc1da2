package zfs

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

// rule is what the scripted zfs answers to command lines that begin with Args.
type rule struct {
	Args  string
	Out   string
	Err   string
	Code  int
	Hang  bool
	Sink  bool // reads its input to the end
	Times int  // after so many answers the next rule counts; 0 is for ever
}

// TestMain is the scripted zfs when it is called by that name: children get none
// of our environment, so the script lies beside it.
func TestMain(m *testing.M) {
	switch base := filepath.Base(os.Args[0]); base {
	case "zfs":
		if _, err := os.Stat(poolFile(filepath.Dir(os.Args[0]))); err == nil {
			os.Exit(simulate(filepath.Dir(os.Args[0]), os.Args[1:]))
		}
		os.Exit(play(filepath.Dir(os.Args[0]), strings.Join(os.Args[1:], " ")))
	case "zpool":
		os.Exit(play(filepath.Dir(os.Args[0]), strings.Join(append([]string{base}, os.Args[1:]...), " ")))
	}
	os.Exit(m.Run())
}

func play(dir, line string) int {
	text, err := os.ReadFile(filepath.Join(dir, "script"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 99
	}
	var rules []rule
	if err := json.Unmarshal(text, &rules); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 99
	}
	for i, r := range rules {
		if !strings.HasPrefix(line, r.Args) || r.Times > 0 && used(dir, i) >= r.Times {
			continue
		}
		note(dir, fmt.Sprintf("%d\t%s\n", i, line))
		return r.answer()
	}
	note(dir, fmt.Sprintf("-1\t%s\n", line))
	fmt.Fprintf(os.Stderr, "no rule for %q\n", line)
	return 98
}

func (r rule) answer() int {
	if r.Hang {
		<-time.After(time.Hour) // select {} would be a deadlock to a runtime without cgo
	}
	if r.Sink {
		buf := make([]byte, 1<<16)
		for {
			if _, err := os.Stdin.Read(buf); err != nil {
				break
			}
		}
	}
	fmt.Print(r.Out)
	fmt.Fprint(os.Stderr, r.Err)
	return r.Code
}

func used(dir string, i int) (n int) {
	for line := range strings.Lines(calls(dir)) {
		if strings.HasPrefix(line, fmt.Sprintf("%d\t", i)) {
			n++
		}
	}
	return n
}

func calls(dir string) string {
	text, _ := os.ReadFile(filepath.Join(dir, "log"))
	return string(text)
}

func note(dir, line string) {
	f, err := os.OpenFile(filepath.Join(dir, "log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		fmt.Fprint(f, line)
		f.Close()
	}
}

// scripted is a zfs that answers by rules.
type scripted struct {
	t    *testing.T
	dir  string
	have []rule
}

func script(t *testing.T, rules ...rule) *scripted {
	t.Helper()
	s := &scripted{t: t, dir: t.TempDir()}
	self, err := os.Executable()
	if err == nil {
		err = os.Symlink(self, s.binary())
	}
	if err == nil {
		err = os.Symlink(self, filepath.Join(s.dir, "zpool"))
	}
	if err != nil {
		t.Fatal(err)
	}
	s.rules(rules...)
	return s
}

func (s *scripted) rules(rules ...rule) {
	s.t.Helper()
	s.have = rules
	text, err := json.Marshal(rules)
	if err == nil {
		err = os.WriteFile(filepath.Join(s.dir, "script"), text, 0o600)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *scripted) binary() string { return filepath.Join(s.dir, "zfs") }

// calls are the command lines so far.
func (s *scripted) calls() (lines []string) {
	for line := range strings.Lines(calls(s.dir)) {
		_, args, _ := strings.Cut(strings.TrimSpace(line), "\t")
		lines = append(lines, args)
	}
	return lines
}

func (s *scripted) source(now func() time.Time) *Source {
	return NewSource(Options{Binary: s.binary(), Log: zerolog.Nop(), Now: now, GiveUp: 20 * time.Second})
}

// props is what zfs get prints: object, property and value in turn; ours are local.
func props(fields ...string) string {
	var b strings.Builder
	for i := 0; i < len(fields); i += 3 {
		source := "-"
		if strings.Contains(fields[i+1], ":") {
			source = "local"
		}
		fmt.Fprintf(&b, "%s\t%s\t%s\t%s\n", fields[i], fields[i+1], source, fields[i+2])
	}
	return b.String()
}
