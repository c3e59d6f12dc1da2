package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/BurntSushi/toml"

	"antipode/daemon/durable"
	"antipode/daemon/policy"
)

// PinnedError is the refusal to give a known peer another key.
type PinnedError struct {
	Path, Name string
	Known, New string // fingerprints
}

// Error says what to do where the change is meant.
func (e *PinnedError) Error() string {
	return fmt.Sprintf("peer %q is pinned to key %s in %s, and this is key %s; if that machine was given a new key, remove the file and pair again",
		e.Name, e.Known, e.Path, e.New)
}

type peersFile struct {
	Peer []peerSection `toml:"peer"`
}

type peerSection struct {
	Name    string `toml:"name"`
	Address string `toml:"address,omitempty"`
	Key     string `toml:"key"`
	Reverse bool   `toml:"reverse,omitempty"`
}

// WritePeer writes dir/NAME.toml durably, making dir if it is not there. One
// that is there with the same key is replaced; with another key the answer is
// a *PinnedError and nothing changes.
func WritePeer(dir string, p policy.Peer) error {
	if key, err := parseKey(p.Key); err == nil {
		p.Key = key // one spelling, so that keys compare
	}
	text, err := formatPeer(p)
	if err != nil {
		return fmt.Errorf("write peer: %w", err)
	}
	path := filepath.Join(dir, p.Name+".toml")
	if err := checkPinned(path, p); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write peer %s: %w", p.Name, err)
	}
	if err := durable.WriteFile(path, text, 0o644); err != nil {
		return fmt.Errorf("write peer %s: %w", p.Name, err)
	}
	return nil
}

func formatPeer(p policy.Peer) ([]byte, error) {
	if _, err := policy.ParseID(p.Name); err != nil {
		return nil, fmt.Errorf("name: %w", err)
	}
	if _, err := parseKey(p.Key); err != nil {
		return nil, fmt.Errorf("key of %s: %w", p.Name, err)
	}
	if p.Address != "" {
		if _, err := parseAddress(p.Address); err != nil {
			return nil, fmt.Errorf("address of %s: %w", p.Name, err)
		}
	}
	text := bytes.NewBufferString("# Written by `antipode pair`. Remove this file and reload to forget the peer.\n")
	encoder := toml.NewEncoder(text)
	encoder.Indent = ""
	err := encoder.Encode(peersFile{Peer: []peerSection{{Name: p.Name, Address: p.Address, Key: p.Key, Reverse: p.Reverse}}})
	return text.Bytes(), err
}

// checkPinned refuses to replace what says anything but the same key.
func checkPinned(path string, p policy.Peer) error {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	known, err := readPeers(path)
	if err != nil {
		return fmt.Errorf("write peer %s: what is there cannot be understood, so it is not replaced: %w", p.Name, err)
	}
	for _, k := range known {
		if k.Name != p.Name || k.Key != p.Key {
			return &PinnedError{Path: path, Name: k.Name, Known: k.Key, New: p.Key}
		}
	}
	return nil
}
