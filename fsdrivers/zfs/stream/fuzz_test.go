package stream

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/fletcher"
)

// reseal makes the checksums of a stream right again, as a hostile sender does.
func reseal(in []byte) []byte {
	out := bytes.Clone(in)
	var sum fletcher.Sum
	for at := 0; at+recordBytes <= len(out); {
		rec := Record{Type: Type(binary.LittleEndian.Uint32(out[at:])), Raw: out[at:]}
		if at > 0 {
			if rec.Type == End {
				s := sum.Bytes()
				copy(out[at+endSum:], s[:])
			}
			sum.Add(out[at : at+sumOffset])
			s := sum.Bytes()
			copy(out[at+sumOffset:], s[:])
			sum.Add(s[:])
		} else {
			sum.Add(out[:recordBytes])
		}
		size := rec.payloadSize()
		at += recordBytes
		if size > uint64(len(out)-at) {
			break
		}
		sum.Add(out[at : at+int(size)])
		at += int(size)
	}
	return out
}

// FuzzCopy feeds the gate anything. What it lets through is a beginning of what
// came, whole if there was no error; what it does not is refused or cut.
func FuzzCopy(f *testing.F) {
	f.Add(honest(), false, false)
	f.Add(honest()[:700], true, false)
	f.Add(honestRaw(keydata(nil)), false, true)
	for _, name := range []string{"deduplicated", "to be received as a clone", "a bonus of 4 GiB", "a write past the end"} {
		f.Add(attacks[name].in, true, false)
	}
	f.Fuzz(func(t *testing.T, in []byte, mend, raw bool) {
		if mend {
			in = reseal(in)
		}
		out, st, err := pass(in, Plan{ToGUID: to, Raw: raw})
		if !bytes.HasPrefix(in, out) || st.Written != int64(len(out)) {
			t.Fatalf("passed on %d bytes, %+v, that are no beginning", len(out), st)
		}
		switch {
		case err == nil:
			if len(out) != len(in) || !st.End {
				t.Errorf("passed on %d of %d bytes, %+v", len(out), len(in), st)
			}
		case !errors.Is(err, dataset.ErrRefused) && !errors.Is(err, dataset.ErrCut):
			t.Errorf("error %v is neither refused nor cut", err)
		}
	})
}
