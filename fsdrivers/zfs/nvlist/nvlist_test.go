package nvlist

import "testing"

// FuzzParse: what is read can be packed again, in both forms.
func FuzzParse(f *testing.F) {
	sample := List{
		{Name: "object", Type: Uint64Entry, Num: 7},
		{Name: "toname", Type: StringEntry, Text: "a@b"},
		{Name: "compressok", Type: FlagEntry},
		{Name: "crypt_keydata", Type: ListEntry, List: List{{Name: "DSL_CRYPTO_IV", Type: BytesEntry, Bytes: make([]byte, 12)}}},
	}
	f.Add(sample.Pack())
	f.Add(sample.PackXDR())
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := Parse(in)
		if err != nil {
			return
		}
		for name, packed := range map[string][]byte{"native": got.Pack(), "xdr": got.PackXDR()} {
			if _, err := Parse(packed); err != nil {
				t.Errorf("%s: packed again: %v", name, err)
			}
		}
	})
}
