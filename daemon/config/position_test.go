package config

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
)

// lines writes positions as "path:line", in order of the lines.
func lines(text string) string {
	var all []string
	for path, line := range positions(text) {
		all = append(all, fmt.Sprintf("%s:%d", path, line))
	}
	sort.Strings(all)
	return strings.Join(all, " ")
}

func TestPositions(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"keys", "a = 1\n\n# b = 2\nc = \"x\" # d = 3\n", "a:1 c:4"},
		{"tables", "[a]\nb = 1\n[a.c]\nd = 1\n", "a.b:2 a.c.d:4 a.c:3 a:1"},
		{"arrays of tables", "[[j]]\nid = 1\n[j.k]\nx = 1\n[[j]]\nid = 2\n", "j[0].id:2 j[0].k.x:4 j[0].k:3 j[0]:1 j[1].id:6 j[1]:5"},
		{"nested arrays of tables", "[[a]]\n[[a.b]]\n[[a.b]]\n[[a]]\n[[a.b]]\n", "a[0].b[0]:2 a[0].b[1]:3 a[0]:1 a[1].b[0]:5 a[1]:4"},
		{"inline table", "k = { a = 1, b = { c = 2 } }\nz = 1\n", "k.a:1 k.b.c:1 k.b:1 k:1 z:2"},
		{"array over lines", "l = [\n\"a]\", # ]\n'b',\n]\nz = 1\n", "l:1 l[0]:2 l[1]:3 z:5"},
		{"array of inline tables", "j = [\n{ a = 1 },\n{ a = 2 }]\n", "j:1 j[0].a:2 j[0]:2 j[1].a:3 j[1]:3"},
		{"text over lines", "a = \"\"\"\nb = 1\n\\\"\"\"\n\"\"\"\"\nc = '''\nd = 1'''\ne = 1\n", "a:1 c:5 e:7"},
		{"quotes and dots", "\"a b\".c = 1\n'd' . e = 2\n\"x\\\"y\" = 3\n", `a b.c:1 a b:1 d.e:2 d:2 x"y:3`},
		{"text that looks like structure", "a = \"[[b]] = { # \"\nb = '[c]'\n", "a:1 b:2"},
		{"windows line ends", "a = 1\r\n[b]\r\nc = 2\r\n", "a:1 b.c:3 b:2"},
		{"nothing", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := lines(c.text); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// TestEveryKeyIsInTheExample: what the decoder knows, the operator can read of.
func TestEveryKeyIsInTheExample(t *testing.T) {
	text, err := os.ReadFile("../../config.example.toml")
	if err != nil {
		t.Fatal(err)
	}
	f := &findings{}
	all, ok := decodeText(f, namedText{text: "[[peer]]\n[[job]]\n[[accept]]\n"})
	if !ok {
		t.Fatal(f.problems)
	}
	decodeMain(all)
	shown, ok := decodeText(f, namedText{text: string(text)})
	if !ok {
		t.Fatal(f.problems)
	}
	known := map[string]bool{}
	for path := range shown.doc.lines {
		known[indices.ReplaceAllString(path, "")] = true
	}
	for key := range all.doc.known {
		if !known[key] {
			t.Errorf("config.example.toml does not show %s", key)
		}
	}
	if len(all.doc.known) < 50 {
		t.Errorf("only %d keys are known; the test is blind", len(all.doc.known))
	}
}

// TestEveryKeyOfTheExampleIsExplained: one comment for each, on its line, but for
// those that stand twice.
func TestEveryKeyOfTheExampleIsExplained(t *testing.T) {
	text, err := os.ReadFile("../../config.example.toml")
	if err != nil {
		t.Fatal(err)
	}
	assigns := regexp.MustCompile(`^([a-z_]+) = `)
	explained := map[string]bool{}
	section := ""
	for line := range strings.SplitSeq(string(text), "\n") {
		if strings.HasPrefix(line, "[") {
			section = strings.Trim(line, "[]") + "."
		}
		m := assigns.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		if key := section + m[1]; !explained[key] && !strings.Contains(line, " # ") {
			t.Errorf("%s has no comment", key)
		}
		explained[section+m[1]] = true
	}
}

func TestNearest(t *testing.T) {
	known := []string{"address", "advertise", "every", "cron", "id"}
	for in, want := range map[string]string{
		"addrss": "address", "evry": "every", "crom": "cron", "ids": "id", "advertize": "advertise", "zzzzzzz": "", strings.Repeat("a", 100): "",
	} {
		if got := nearest(in, known); got != want {
			t.Errorf("%s: got %q, want %q", in, got, want)
		}
	}
}

// FuzzParse: any text is a configuration or an *Error, and every key that the
// library found has a line.
func FuzzParse(f *testing.F) {
	example, err := os.ReadFile("../../config.example.toml")
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{
		string(example), "", "node = \"a\"\n[[job]]\nid = 1\n", "job = [{id = \"x\"}, 3]\n", "[[a]]\n[a.b]\nc = [[1], {d = 2}]\n",
		"a = \"\"\"\n\"\"\"\"\nb.c.'d' = 1979-05-27\n", "[", "x = [", "keep = { last = ", "[[job.keep]]\n", "\"\\u0000\" = 1\n", "a = '''''x'''''\n",
		"[job]\n[[accept]]\n[accept.keep]\nlast = 9223372036854775807\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Parse("FILE", text)
		if bad, isError := errors.AsType[*Error](err); err != nil && (!isError || len(bad.Problems) == 0 || c != nil) {
			t.Fatalf("got %v with a configuration %v, want an *Error alone", err, c)
		}
		at := positions(text)
		var values map[string]any
		meta, err := toml.Decode(text, &values)
		if err != nil || strings.Contains(text, `"`) {
			return // escapes in keys are spelled otherwise
		}
		var found []string
		for path, line := range at {
			if line < 1 || line > strings.Count(text, "\n")+1 {
				t.Errorf("%s is on line %d", path, line)
			}
			found = append(found, indices.ReplaceAllString(path, ""))
		}
		for _, key := range meta.Keys() {
			if name := strings.Join(key, "."); !slices.Contains(found, indices.ReplaceAllString(name, "")) {
				t.Errorf("no line for %q in %q", name, text)
			}
		}
	})
}
