// Package zfstest is a scripted zfs for the tests of the driver: the test's own binary under
// that name, which answers by rules and notes how it was called. It knows nothing of ZFS.
package zfstest

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Rule is what the scripted zfs answers to command lines that begin with Args.
type Rule struct {
	Args  string
	Out   string
	Err   string
	Code  int
	Hang  bool
	Sink  bool // reads its input to the end
	Times int  // after so many answers the next rule counts; 0 is for ever
}

// Main runs the tests, or is the scripted zfs where the binary is called by that name:
// children get none of our environment, so the script lies beside it.
func Main(m *testing.M) {
	switch base := filepath.Base(os.Args[0]); base {
	case "zfs":
		os.Exit(play(Dir(), strings.Join(os.Args[1:], " ")))
	case "zpool":
		os.Exit(play(Dir(), strings.Join(append([]string{base}, os.Args[1:]...), " ")))
	}
	os.Exit(m.Run())
}

// Dir is where the files of a scripted zfs are, for the one that runs. One that was looked up
// does not know its path.
func Dir() string {
	if filepath.Base(os.Args[0]) != os.Args[0] {
		return filepath.Dir(os.Args[0])
	}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		if _, err := os.Lstat(filepath.Join(dir, "script")); err == nil {
			return dir
		}
	}
	return ""
}

func play(dir, line string) int {
	text, err := os.ReadFile(filepath.Join(dir, "script"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 99
	}
	var rules []Rule
	if err := json.Unmarshal(text, &rules); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 99
	}
	for i, r := range rules {
		if !strings.HasPrefix(line, r.Args) || r.Times > 0 && used(dir, i) >= r.Times {
			continue
		}
		Note(dir, fmt.Sprintf("%d\t%s\n", i, line))
		return r.answer()
	}
	Note(dir, fmt.Sprintf("-1\t%s\n", line))
	fmt.Fprintf(os.Stderr, "no rule for %q\n", line)
	return 98
}

func (r Rule) answer() int {
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
	_, _ = fmt.Fprint(os.Stdout, r.Out)
	_, _ = fmt.Fprint(os.Stderr, r.Err)
	return r.Code
}

func used(dir string, i int) (n int) {
	for line := range strings.Lines(logged(dir)) {
		if strings.HasPrefix(line, fmt.Sprintf("%d\t", i)) {
			n++
		}
	}
	return n
}

func logged(dir string) string {
	text, _ := os.ReadFile(filepath.Join(dir, "log"))
	return string(text)
}

// Note writes a call down.
func Note(dir, line string) {
	f, err := os.OpenFile(filepath.Join(dir, "log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, _ = fmt.Fprint(f, line)
		_ = f.Close()
	}
}

// Script is a zfs that answers by rules.
type Script struct {
	Dir   string // where it is
	Rules []Rule // that Answer set

	t *testing.T
}

// New makes one, and a zpool beside it.
func New(t *testing.T, rules ...Rule) *Script {
	t.Helper()
	s := &Script{t: t, Dir: t.TempDir()}
	self, err := os.Executable()
	if err == nil {
		err = os.Symlink(self, s.Binary())
	}
	if err == nil {
		err = os.Symlink(self, filepath.Join(s.Dir, "zpool"))
	}
	if err != nil {
		t.Fatal(err)
	}
	s.Answer(rules...)
	return s
}

// Answer is what it goes by from now on.
func (s *Script) Answer(rules ...Rule) {
	s.t.Helper()
	s.Rules = rules
	text, err := json.Marshal(rules)
	if err == nil {
		err = os.WriteFile(filepath.Join(s.Dir, "script"), text, 0o600)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// Binary is its path.
func (s *Script) Binary() string { return filepath.Join(s.Dir, "zfs") }

// Calls are the command lines so far.
func (s *Script) Calls() (lines []string) {
	for line := range strings.Lines(logged(s.Dir)) {
		_, args, _ := strings.Cut(strings.TrimSpace(line), "\t")
		lines = append(lines, args)
	}
	return lines
}

// Ran are those that begin with a verb.
func (s *Script) Ran(verb string) (lines []string) {
	for _, line := range s.Calls() {
		if strings.HasPrefix(line, verb) {
			lines = append(lines, line)
		}
	}
	return lines
}

// Props is what zfs get prints: object, property and value in turn; ours are local.
func Props(fields ...string) string {
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
