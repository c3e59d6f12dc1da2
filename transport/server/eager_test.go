package server

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
)

// source is a connection that gives at most so much at once, and counts.
type source struct {
	net.Conn
	from  io.Reader
	most  int
	reads int
}

func (s *source) Read(p []byte) (int, error) {
	s.reads++
	return s.from.Read(p[:min(len(p), s.most)])
}

func TestEagerReadsAheadOnceBusy(t *testing.T) {
	for _, tt := range []struct {
		name  string
		bytes int
		most  int // that are there at once
		ask   int
		busy  bool
		reads int // at most
	}{
		{"questions", 4 << 10, 512, 4 << 10, false, 9},
		{"small reads of a lot", 1 << 20, 1 << 20, 8 << 10, false, 1<<7 + 1},
		{"records of a lane", 2 << 20, 1 << 20, 17 << 10, true, 20},
		{"whole buffers", 2 << 20, 1 << 20, eagerBytes, true, 18},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := bytes.Repeat([]byte{1, 2, 3, 5, 7, 11, 13, 17}, tt.bytes/8)
			from := &source{from: bytes.NewReader(want), most: tt.most}
			e := &eager{Conn: from}
			var got bytes.Buffer
			buf := make([]byte, tt.ask)
			for {
				n, err := e.Read(buf)
				got.Write(buf[:n])
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("got %d bytes, which are not the %d that were sent", got.Len(), len(want))
			}
			if busy := e.buf != nil; busy != tt.busy {
				t.Errorf("reads ahead: got %t, want %t", busy, tt.busy)
			}
			if from.reads > tt.reads {
				t.Errorf("reads of the connection: got %d, want at most %d", from.reads, tt.reads)
			}
		})
	}
}
