package token

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"antipode/fsdrivers/zfs/nvlist"
	"antipode/fsdrivers/zfs/stream"

	"pgregory.net/rapid"
)

// Tokens that people quoted in issues of openzfs/zfs.
const (
	token4829  = "1-102955c0c3-100-789c636064000310a501c49c50360710a715e5e7a69766a6304041ad6180c2feb4c20a05209b1d495d7e52566a720903c362db48b03a0cf9b4b4e2d412908c06234c9e0d493ea9b224b5184817dc0d5ae58f457f493ec415f737e85badb1cfdc688024cf0996cf4bcc4d6560c8d12fc8c82fc92f76f04dac8c37328b3732303405d927013507e6cfd4dca4d494fc6c301f00a7272577"
	token10439 = "1-eb46e146b-d0-789c636064000310a500c4ec50360710e72765a5269730307441d560c8a7a515a7968064d6b1c0e4d990e4932a4b528b817403d31a566cfa4bf2d34b335318187a2da5b789c459fb3920c97382e5f3127353191852124b12758b4bf28b12d353f50d8ce2931293b34b0b1c924ae38d0c0c2d0d8c0c2c19e0000029161d79"
	token14153 = "1-fd3f3ea61-130-789c636064000310a501c49c50360710a715e5e7a69766a6304081e4c3753e7696b1cd0a40363b92bafca4acd4e412081f0430e4d3d28a534b18e00024cf86249f5459925acc802a8facbf241fe28aaa90ef315b8e16ea3920c97382e5f312735319188a528b4b7353816695e8a7e62517e9266764e6a43894679664e826eaa665e6a42299cfcd80f077727e6e01506f717e36444c02ea3e987c5162394c8a010013de2bc9"
)

func TestRealTokens(t *testing.T) {
	for name, c := range map[string]struct {
		token string
		want  Token
	}{
		"issue 4829": {token4829, Token{
			Position: stream.Position{Object: 5848483, Offset: 19398656}, Bytes: 342159973744, ToGUID: 12783819026210992351,
			FromGUID: 8678830927986569597, ToName: "l/photos@May_26_2015", EmbedOK: true,
		}},
		"issue 10439": {token10439, Token{
			Position: stream.Position{Object: 394, Offset: 78512128}, Bytes: 95158912, ToGUID: 5637202801631902093, ToName: "data-storage/02_backup@bu_20190209",
		}},
		"issue 14153": {token14153, Token{
			Position: stream.Position{Object: 1, Offset: 0}, ToGUID: 3346673376557487226, FromGUID: 9465784931539935513,
			ToName: "resumetest/encr-child@with-a-file", PackedOK: true, RawOK: true,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Parse(c.token)
			if err != nil {
				t.Fatal(err)
			}
			again, err := Parse(got.String())
			if err != nil || again != got {
				t.Errorf("minted anew: got %+v, %v, want %+v", again, err, got)
			}
			theirs, err := unpackToken(c.token)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.list().Pack(), theirs) {
				t.Errorf("packed anew: got %x, want %x", got.list().Pack(), theirs)
			}
			if got != c.want {
				t.Errorf("got %+v, want %+v", fields(got), fields(c.want))
			}
		})
	}
}

// fields prints as its fields, and not as a token.
type fields Token

func TestBadTokens(t *testing.T) {
	good := Token{Position: stream.Position{Object: 1, Offset: 2}, ToGUID: 3, ToName: "tank/db@x"}
	list := func(l ...nvlist.Entry) string { return mint(append(good.list(), l...)) }
	for name, s := range map[string]string{
		"empty": "", "words": "resume here please", "another version": "2" + good.String()[1:], "three parts": "1-2-3",
		"a wrong checksum":   strings.Replace(good.String(), "-", "-f", 1),
		"a wrong length":     strings.Replace(token10439, "-d0-", "-d1-", 1),
		"a length of a bomb": strings.Replace(token10439, "-d0-", "-ffffffff-", 1),
		"no hexadecimals":    "1-1-1-xyz",
		"cut":                token10439[:len(token10439)-4],
		"redacted":           list(nvlist.Entry{Name: "redact_snaps", Type: nvlist.Uint64Entry}),
		"a number as a flag": list(nvlist.Entry{Name: "rawok", Type: nvlist.Uint64Entry, Num: 1}),
		"no snapshot":        mint(nvlist.List{{Name: "object", Type: nvlist.Uint64Entry, Num: 1}}),
		"too long":           strings.Repeat("1", MaxBytes+1),
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := Parse(s); !errors.Is(err, ErrNotToken) {
				t.Errorf("got %+v, %v, want ErrToken", got, err)
			}
		})
	}
}

// mint makes a token of any list.
func mint(l nvlist.List) string { return tokenOf(l.Pack()) }

func TestATokenMustFitThePlan(t *testing.T) {
	plan := Token{ToGUID: 3, FromGUID: 4, ToName: "tank/db@x", LargeOK: true, PackedOK: true}
	for name, c := range map[string]struct {
		change func(*Token)
		fits   bool
	}{
		"the same":               {func(*Token) {}, true},
		"further on":             {func(t *Token) { t.Position, t.Bytes = stream.Position{Object: 9, Offset: 1 << 20}, 1<<30 }, true},
		"a renamed dataset":      {func(t *Token) { t.ToName = "tank/other@x" }, true},
		"no large blocks in it":  {func(t *Token) { t.LargeOK = false }, true},
		"another snapshot":       {func(t *Token) { t.ToGUID = 5 }, false},
		"another base":           {func(t *Token) { t.FromGUID = 0 }, false},
		"raw":                    {func(t *Token) { t.RawOK = true }, false},
		"embedded":               {func(t *Token) { t.EmbedOK = true }, false},
		"an object beyond all":   {func(t *Token) { t.Object = 1 << 48 }, false},
		"an offset beyond all":   {func(t *Token) { t.Offset = 1 << 63 }, false},
		"more bytes than can be": {func(t *Token) { t.Bytes = 1 << 63 }, false},
	} {
		t.Run(name, func(t *testing.T) {
			got := plan
			c.change(&got)
			if what := got.Fits(plan); (what == "") != c.fits {
				t.Errorf("got %q, want fits %v", what, c.fits)
			}
		})
	}
}

func TestTokensSurviveTheirText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := Token{
			Position: stream.Position{Object: rapid.Uint64().Draw(t, "object"), Offset: rapid.Uint64().Draw(t, "offset")},
			Bytes:    rapid.Uint64().Draw(t, "bytes"), ToGUID: rapid.Uint64Min(1).Draw(t, "to"), FromGUID: rapid.Uint64().Draw(t, "from"),
			ToName:  rapid.StringMatching(`[a-z][a-zA-Z0-9:. _/-]{0,100}@[a-z]{1,50}`).Draw(t, "name"),
			LargeOK: rapid.Bool().Draw(t, "large"), PackedOK: rapid.Bool().Draw(t, "packed"), RawOK: rapid.Bool().Draw(t, "raw"),
		}
		got, err := Parse(want.String())
		if err != nil || got != want {
			t.Fatalf("got %+v, %v, want %+v", got, err, want)
		}
	})
}

func TestListsSurviveBothForms(t *testing.T) {
	want := nvlist.List{
		{Name: "a", Type: nvlist.Uint64Entry, Num: 1<<64 - 1},
		{Name: "sub", Type: nvlist.ListEntry, List: nvlist.List{{Name: "b", Type: nvlist.BytesEntry, Bytes: []byte("bytes")}, {Name: "c", Type: nvlist.FlagEntry}}},
		{Name: "text", Type: nvlist.StringEntry, Text: "some text"},
	}
	for name, packed := range map[string][]byte{"native": want.Pack(), "xdr": want.PackXDR()} {
		got, err := nvlist.Parse(packed)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v, want %+v", name, got, err, want)
		}
		for at := range packed {
			if _, err := nvlist.Parse(packed[:at]); err == nil {
				t.Errorf("%s cut after %d of %d bytes: got no error", name, at, len(packed))
			}
		}
	}
	deep := nvlist.List{{Name: "x", Type: nvlist.ListEntry, List: nvlist.List{{Name: "y", Type: nvlist.ListEntry, List: nvlist.List{}}}}}
	if _, err := nvlist.Parse(deep.Pack()); err == nil {
		t.Error("three lists deep: got no error")
	}
}

// FuzzParse: what is read can be minted again.
func FuzzParse(f *testing.F) {
	f.Add(token4829)
	f.Add(token10439)
	f.Add(token14153)
	f.Add("1-2-3-4")
	f.Fuzz(func(t *testing.T, s string) {
		got, err := Parse(s)
		if err != nil {
			if !errors.Is(err, ErrNotToken) {
				t.Errorf("error %v is not ErrToken", err)
			}
			return
		}
		if again, err := Parse(got.String()); err != nil || again != got {
			t.Errorf("minted anew: got %+v, %v, want %+v", again, err, got)
		}
	})
}
