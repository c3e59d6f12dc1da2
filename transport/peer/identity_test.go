package peer_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"antipode/transport/peer"
)

func TestKeyIsMadeOnceAndStays(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "lib", "antipode")
	if _, err := peer.Load(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("Load before there is one: got %v, want fs.ErrNotExist", err)
	}
	first, err := peer.LoadOrCreate(dir)
	if err != nil {
		t.Fatal(err)
	}
	again, err := peer.LoadOrCreate(dir)
	if err != nil || again.Fingerprint() != first.Fingerprint() {
		t.Errorf("second start: got %s, %v, want %s", again.Fingerprint(), err, first.Fingerprint())
	}
	if _, err := peer.ParseFingerprint(first.Fingerprint().String()); err != nil {
		t.Errorf("fingerprint of a new key: %v", err)
	}
	info, err := os.Stat(filepath.Join(dir, peer.IdentityFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: got mode %v, %v, want 0600", info.Mode().Perm(), err)
	}
	if names, err := os.ReadDir(dir); len(names) != 1 || err != nil {
		t.Errorf("state directory: got %v, %v, want the key alone", names, err)
	}
}

func TestTwoStartsAtOnceAgreeOnOneKey(t *testing.T) {
	dir := t.TempDir()
	got := make([]peer.Fingerprint, 8)
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() {
			id, err := peer.LoadOrCreate(dir)
			if err != nil {
				t.Errorf("start %d: %v", i, err)
			}
			got[i] = id.Fingerprint()
		})
	}
	wg.Wait()
	for i, f := range got {
		if f != got[0] {
			t.Errorf("start %d: got %s, want %s", i, f, got[0])
		}
	}
}

func TestUnusableKeyFilesAreRefused(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(t *testing.T, path string)
		want  string // part of the error: the cure
	}{
		{"readable by the group", chmod(0o640), "chmod 600"},
		{"readable by all", chmod(0o604), "chmod 600"},
		{"somebody else's", chown, "chown"},
		{"empty", content(""), "restore it from a backup"},
		{"no PEM", content("hello"), "pair this node again"},
		{"damaged PEM", content("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), "restore it"},
		{"another kind of key", ecdsaKey, "not Ed25519"},
		{"a symbolic link", symlink, "put the key file itself"},
		{"a directory", directory, "not a regular file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if _, err := peer.LoadOrCreate(dir); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, peer.IdentityFile)
			tt.spoil(t, path)
			before, _ := os.Lstat(path)
			_, err := peer.LoadOrCreate(dir)
			if !errors.Is(err, peer.ErrIdentity) || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("got %v, want ErrIdentity that names %s and says %q", err, path, tt.want)
			}
			if after, _ := os.Lstat(path); !os.SameFile(before, after) {
				t.Error("the file was replaced, want it left alone")
			}
		})
	}
}

func chmod(mode fs.FileMode) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		must(t, os.Chmod(path, mode))
	}
}

func chown(t *testing.T, path string) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("giving a file away needs root, and CI must have it")
		}
		t.Skip("giving a file away needs root")
	}
	must(t, os.Chown(path, 12345, 12345))
}

func content(text string) func(*testing.T, string) {
	return func(t *testing.T, path string) { must(t, os.WriteFile(path, []byte(text), 0o600)) }
}

func ecdsaKey(t *testing.T, path string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	content(string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))(t, path)
}

func symlink(t *testing.T, path string) {
	must(t, os.Rename(path, path+".real"))
	must(t, os.Symlink(path+".real", path))
}

func directory(t *testing.T, path string) {
	must(t, os.Remove(path))
	must(t, os.Mkdir(path, 0o700))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
