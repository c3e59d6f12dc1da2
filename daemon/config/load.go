package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/BurntSushi/toml"

	"antipode/daemon/policy"
)

// Load reads the file and the peers in peers.d beside it. What is wrong comes
// back as one *Error with every problem; there is no half a configuration.
func Load(path string) (*Config, error) {
	f := &findings{}
	var texts []namedText
	read := func(file string) {
		text, err := readFile(file)
		if err != nil {
			f.problems = append(f.problems, Problem{File: file, Text: err.Error()})
			return
		}
		texts = append(texts, namedText{file: file, text: text})
	}
	read(path)
	if len(texts) == 0 {
		_, err := f.result()
		return nil, err
	}
	paired, err := peerFiles(PeersPath(path))
	if err != nil {
		f.problems = append(f.problems, Problem{File: PeersPath(path), Text: err.Error()})
	}
	for _, file := range paired {
		read(file)
	}
	return parse(f, texts[0], texts[1:])
}

// Parse reads a configuration from memory; file is what problems are told of.
func Parse(file, text string) (*Config, error) {
	return parse(&findings{}, namedText{file: file, text: text}, nil)
}

// namedText is a file in memory.
type namedText struct{ file, text string }

func parse(f *findings, main namedText, paired []namedText) (*Config, error) {
	root, ok := decodeText(f, main)
	var d draft
	if ok {
		d = decodeMain(root)
	}
	for _, text := range paired {
		if t, ok := decodeText(f, text); ok {
			d.peers = append(d.peers, sections(t, "peer", decodePeer)...)
			t.done()
		}
	}
	if ok {
		d.check()
	}
	warnings, err := f.result()
	if err != nil {
		return nil, err
	}
	c := d.config
	c.Warnings = warnings
	c.Peers = values(d.peers)
	c.Jobs = values(d.jobs)
	c.Accepts = values(d.accepts)
	return &c, nil
}

func values[T any](all []placed[T]) []T {
	var out []T
	for _, p := range all {
		out = append(out, p.value)
	}
	return out
}

// decodeText reads the TOML; false if it is none, which has been noted then.
func decodeText(f *findings, in namedText) (*table, bool) {
	var values map[string]any
	if _, err := toml.Decode(in.text, &values); err != nil {
		p := Problem{File: in.file, Text: "not TOML: " + err.Error()}
		if bad, ok := errors.AsType[toml.ParseError](err); ok {
			p.Line, p.Text = badLine(in.text, bad.Position), "not TOML: "+bad.Message
		}
		f.problems = append(f.problems, p)
		return nil, false
	}
	doc := &document{file: in.file, lines: positions(in.text), found: f, known: map[string]bool{}}
	return &table{doc: doc, values: values}, true
}

// badLine is where the library stopped understanding. Where that is the end of a
// line it has counted the next one already, and its offset tells the truth.
func badLine(text string, at toml.Position) int {
	if at.Start <= 0 || at.Start > len(text) {
		return at.Line
	}
	return min(at.Line, 1+strings.Count(text[:at.Start], "\n"))
}

// readFile reads a regular file that nobody but its owner can write: whoever
// writes the configuration decides what a daemon that is root runs.
func readFile(path string) (string, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("%w; start from config.example.toml", fs.ErrNotExist)
	case err != nil:
		return "", fmt.Errorf("cannot be looked at: %w", err)
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("is no regular file; want a file of TOML")
	case info.Mode().Perm()&0o022 != 0:
		return "", fmt.Errorf("can be written by others (mode %04o); want `chmod go-w %s`", info.Mode().Perm(), path)
	case info.Size() > MaxFileBytes:
		return "", fmt.Errorf("has %d bytes; want at most %d", info.Size(), MaxFileBytes)
	}
	file, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("cannot be opened: %w", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, MaxFileBytes+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("cannot be read: %w", err)
	case len(text) > MaxFileBytes:
		return "", fmt.Errorf("grew past %d bytes while it was read", MaxFileBytes)
	}
	return string(text), nil
}

// peerFiles lists the paired peers, sorted; none if there is no directory.
// Hidden files are skipped, since a new one is written under a hidden name.
func peerFiles(dir string) ([]string, error) {
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot be looked at: %w", err)
	}
	if info.Mode().Perm()&0o022 != 0 {
		return nil, fmt.Errorf("can be written by others (mode %04o); want `chmod go-w %s`", info.Mode().Perm(), dir)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", err)
	}
	var files []string
	for _, e := range entries {
		if name := e.Name(); strings.HasSuffix(name, ".toml") && !strings.HasPrefix(name, ".") {
			files = append(files, filepath.Join(dir, name))
		}
	}
	return files, nil
}

func siblingDir(path, name string) string { return filepath.Join(filepath.Dir(path), name) }

// readPeers reads one file of peers.d.
func readPeers(path string) ([]policy.Peer, error) {
	text, err := readFile(path)
	if err != nil {
		return nil, fmt.Errorf("%s %w", path, err)
	}
	f := &findings{}
	var peers []placed[policy.Peer]
	if t, ok := decodeText(f, namedText{file: path, text: text}); ok {
		peers = sections(t, "peer", decodePeer)
		t.done()
	}
	_, err = f.result()
	return values(peers), err
}
