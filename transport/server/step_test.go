package server_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"net/http"
	"testing"
	"testing/synctest"

	"antipode/transport/server"
	"antipode/transport/wire"
)

// wholeStep is a step in one request.
func wholeStep(t *testing.T, o wire.Open, stream []byte) *bytes.Reader {
	t.Helper()
	head, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	b := binary.BigEndian.AppendUint32(nil, uint32(len(head)))
	b = append(append(b, head...), frame(wire.ChunkHeader(0, stream), stream)...)
	return bytes.NewReader(append(b, wire.EndHeader(1, uint64(len(stream))).Append(nil)...))
}

// First copies take weeks: small steps neither wait for their places nor take them.
func TestSmallStepsHaveABoundOfTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, func(_ *fixture, o *server.Options) { o.MaxTransfers = 1 })
		f.must(f.fra, "POST", wire.PathTransfers, body(opening('a')), http.StatusAccepted, "")
		full := opening('b')
		full.Step.Dataset.Path = "/data/other"
		f.must(f.fra, "POST", wire.PathTransfers, body(full), http.StatusTooManyRequests, "too-many")
		small := opening('c')
		small.Step.Dataset.Path = "/data/small"
		f.must(f.fra, "POST", wire.PathSteps, wholeStep(t, small, []byte("a change")), http.StatusOK, "published")
		f.must(f.fra, "PUT", transferPath(small, "/lanes/0"), bytes.NewReader(nil), http.StatusBadRequest, "no lanes")
		f.must(f.fra, "DELETE", transferPath(opening('a'), ""), nil, http.StatusAccepted, "")
		synctest.Wait()
		f.must(f.fra, "POST", wire.PathTransfers, body(full), http.StatusAccepted, "")
		f.must(f.fra, "DELETE", transferPath(full, ""), nil, http.StatusAccepted, "")
	})
}
