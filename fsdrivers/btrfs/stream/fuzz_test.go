package stream

import (
	"bytes"
	"errors"
	"testing"

	"antipode/fsdrivers/dataset"
)

// FuzzCopy feeds the gate anything. What it lets through must again be a stream
// of exactly our name and identities; what it does not must be refused or cut.
func FuzzCopy(f *testing.F) {
	for _, version := range []uint32{1, 2} {
		in := honestStream(f, version)
		f.Add(in, false)
		f.Add(in[:len(in)-3], true)
		f.Add(streamOf(f, version, fullFirst(), nil), true)
	}
	f.Add(streamOf(f, 1, incrementalFirst(), attacks["clean path before a bad one"].build), true)
	f.Add(streamOf(f, 1, incrementalFirst(), attacks["clone of another's file"].build), true)
	f.Fuzz(func(t *testing.T, in []byte, mend bool) {
		if mend { // beyond the checksums, which a hostile sender gets right
			in = reseal(in)
		}
		out, st, err := pass(in, incrementalPlan())
		if err != nil {
			if !errors.Is(err, dataset.ErrRefused) && !errors.Is(err, dataset.ErrCut) {
				t.Fatalf("error %v is neither refused nor cut", err)
			}
			return
		}
		if st.Done != int64(len(in)-commandBytes) {
			t.Errorf("stats %+v for %d bytes in and %d out", st, len(in), len(out))
		}
		again := Plan{UUID: idMinted, ParentUUID: idMintedBase, MintedParent: idMintedBase}
		if out2, _, err := pass(out, again); err != nil || !bytes.Equal(out, out2) {
			t.Errorf("what was let through does not pass as ours: %v", err)
		}
	})
}

// FuzzSize must answer or refuse whatever it is fed.
func FuzzSize(f *testing.F) {
	f.Add(streamOf(f, 1, fullFirst(), attacks["stream without data"].build))
	f.Add(honestStream(f, 2))
	f.Fuzz(func(t *testing.T, in []byte) {
		if n, err := Size(bytes.NewReader(reseal(in))); err == nil && n < 0 {
			t.Errorf("Size = %d", n)
		}
	})
}
