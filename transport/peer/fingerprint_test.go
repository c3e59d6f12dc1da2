package peer_test

import (
	"crypto/sha256"
	"errors"
	"strings"
	"testing"

	"antipode/transport/peer"
)

// known is the fingerprint of sha256("a key"): the spelling is part of every
// configuration file, so it may not change.
const known = peer.Fingerprint("ap1:r6r2vmx2vg3z4cqdtdnfwwv5a6abijccuw7ibongiyenoggld7gre6c2")

func TestFingerprintSpelling(t *testing.T) {
	digest := sha256.Sum256([]byte("a key"))
	f := peer.FingerprintOfDigest(digest)
	if f != known {
		t.Errorf("FingerprintOfDigest: got %s, want %s", f, known)
	}
	if got, err := f.Digest(); got != digest || err != nil {
		t.Errorf("Digest: got %x, %v, want %x", got, err, digest)
	}
	if f.IsZero() || !peer.Fingerprint("").IsZero() {
		t.Error("IsZero: got it wrong for a fingerprint or for none")
	}
	if _, err := peer.Fingerprint("").Digest(); !errors.Is(err, peer.ErrFingerprint) {
		t.Errorf("Digest of none: got %v, want ErrFingerprint", err)
	}
}

func TestParseFingerprint(t *testing.T) {
	s := known.String()
	tests := []struct {
		name, text string
		want       string // part of the error; "" if it is accepted
	}{
		{"as printed", s, ""},
		{"with space around", " \t" + s + "\n", ""},
		{"upper case", strings.ToUpper(s), ""},
		{"nothing", "", "antipode identity"},
		{"something else", "SHA256:abc", "begin with"},
		{"cut", s[:len(s)-1], "55 characters"},
		{"one too many", s + "a", "57 characters"},
		{"space inside", s[:20] + " " + s[21:], "letter or 2 to 7"},
		{"line break inside", s[:20] + "\n" + s[21:], "letter or 2 to 7"},
		{"a digit that base32 does not have", s[:20] + "1" + s[21:], "letter or 2 to 7"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := peer.ParseFingerprint(tt.text)
			if tt.want == "" {
				if got != known || err != nil {
					t.Errorf("got %q, %v, want %s", got, err, known)
				}
				return
			}
			if !errors.Is(err, peer.ErrFingerprint) || !strings.Contains(err.Error(), tt.want) || !got.IsZero() {
				t.Errorf("got %q, %v, want ErrFingerprint with %q", got, err, tt.want)
			}
		})
	}
}

func TestEveryTypoIsFound(t *testing.T) {
	s := known.String()
	for i := len("ap1:"); i < len(s); i++ {
		for _, c := range "abcdefghijklmnopqrstuvwxyz234567" {
			if typo := s[:i] + string(c) + s[i+1:]; typo != s {
				refused(t, typo)
			}
		}
		if i+1 < len(s) && s[i] != s[i+1] {
			refused(t, s[:i]+s[i+1:i+2]+s[i:i+1]+s[i+2:])
		}
	}
}

func refused(t *testing.T, typo string) {
	t.Helper()
	if got, err := peer.ParseFingerprint(typo); !errors.Is(err, peer.ErrFingerprint) || !strings.Contains(err.Error(), "mistyped") {
		t.Errorf("ParseFingerprint(%s): got %q, %v, want a refusal that says mistyped", typo, got, err)
	}
}

func FuzzParseFingerprint(f *testing.F) {
	f.Add(known.String())
	f.Add("ap1:")
	f.Add(strings.ToUpper(known.String()) + "\n")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := peer.ParseFingerprint(text)
		if err != nil {
			return
		}
		digest, err := got.Digest()
		if err != nil || peer.FingerprintOfDigest(digest) != got {
			t.Errorf("%q was accepted as %q, which does not survive: %v", text, got, err)
		}
		if !strings.EqualFold(strings.TrimSpace(text), got.String()) {
			t.Errorf("%q was accepted as %q: one key has two spellings", text, got)
		}
	})
}
