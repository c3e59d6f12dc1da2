package btrfs

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/synctest"
)

func TestFlusher(t *testing.T) {
	broken := errors.New("I/O error")
	full := make([]byte, flushEvery)
	for _, tt := range []struct {
		name   string
		writes [][]byte
		fail   error
		syncs  int   // that began
		write  error // of the last Write
		wait   error
	}{
		{"too little", [][]byte{full[1:]}, nil, 0, nil, nil},
		{"enough in one", [][]byte{full}, nil, 1, nil, nil},
		{"enough in two", [][]byte{full[1:], {0}}, nil, 1, nil, nil},
		{"twice", [][]byte{full, full}, nil, 2, nil, nil},
		{"failed, and nothing follows", [][]byte{full}, broken, 1, nil, broken},
		{"failed, and little follows", [][]byte{full, {0}}, broken, 1, nil, broken},
		{"failed, and much follows", [][]byte{full, full}, broken, 1, broken, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				syncs := 0
				f := &flusher{to: io.Discard, sync: func() error { syncs++; return tt.fail }}
				var err error
				for _, p := range tt.writes {
					_, err = f.Write(p)
					synctest.Wait() // the flush has ended
				}
				if !errors.Is(err, tt.write) {
					t.Errorf("last Write: got %v, want %v", err, tt.write)
				}
				if err := f.wait(); !errors.Is(err, tt.wait) {
					t.Errorf("wait: got %v, want %v", err, tt.wait)
				}
				if syncs != tt.syncs {
					t.Errorf("flushes: got %d, want %d", syncs, tt.syncs)
				}
			})
		})
	}
}

func TestFlushesDoNotOverlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, release := 0, make(chan struct{})
		var out bytes.Buffer
		f := &flusher{to: &out, sync: func() error { began++; <-release; return nil }}
		full := make([]byte, flushEvery)
		for range 3 {
			if _, err := f.Write(full); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if began != 1 || out.Len() != 3*flushEvery {
			t.Errorf("while one runs: got %d flushes and %d bytes, want 1 and %d", began, out.Len(), 3*flushEvery)
		}
		close(release)
		if err := f.wait(); err != nil {
			t.Errorf("wait: %v", err)
		}
	})
}
