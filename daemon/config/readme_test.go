package config_test

import (
	"os"
	"strings"
	"testing"

	"antipode/daemon/config"
)

// examples are the indented blocks of a Markdown file that hold TOML.
func examples(text string) []string {
	var all []string
	var block []string
	end := func() {
		toml := strings.Join(block, "\n")
		if strings.Contains(toml, " = ") && (strings.Contains(toml, "[") || strings.Contains(toml, "node =")) && !strings.Contains(toml, "$(") {
			all = append(all, toml)
		}
		block = nil
	}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch in, indented := strings.CutPrefix(line, "    "); {
		case indented:
			block = append(block, in)
		case strings.TrimSpace(line) != "":
			end()
		}
	}
	end()
	return all
}

// TestEveryExampleOfTheReadmeIsLoaded: each is put behind the names and peers that
// the README has told of before it.
func TestEveryExampleOfTheReadmeIsLoaded(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	found := examples(string(text))
	if len(found) < 3 {
		t.Fatalf("found %d examples, want the first file, a job and an accept at least: %q", len(found), found)
	}
	for _, example := range found {
		file := example
		if !strings.Contains(example, "node =") {
			file = "node = \"x1\"\n" + example
		}
		for _, name := range []string{"fra1", "sin1", "syd1"} {
			if !strings.Contains(file, "node = \""+name+"\"") {
				file += "\n[[peer]]\nname = \"" + name + "\"\naddress = \"" + name + ".example.net:8771\"\nkey = \"" + key(name) + "\"\n"
			}
		}
		if _, err := config.Load(put(t, "antipode.toml", file)); err != nil {
			t.Errorf("this example is not loaded: %v\n%s", err, example)
		}
	}
}
