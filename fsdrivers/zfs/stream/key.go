package stream

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"antipode/fsdrivers/zfs/nvlist"
)

// Key is the digest of a wrapped key as a raw stream carries it: the key itself
// under the user's, with all that unwrapping needs. A raw incremental puts the
// wrapped key that it carries in the place of the receiver's, and the kernel
// compares no more than the key's identity, so that a sender could make every
// snapshot on the standby unreadable (FIELD-NOTES A.5). Who receives pins it. It
// changes with `zfs change-key`, and with nothing else.
type Key [sha256.Size]byte

// ParseKey reads what String writes.
func ParseKey(s string) (k Key, err error) {
	if n, err := hex.Decode(k[:], []byte(s)); err != nil || n != len(k) || len(s) != 2*len(k) {
		return Key{}, fmt.Errorf("%q is not the digest of a wrapped key", s)
	}
	return k, nil
}

// String writes 64 hexadecimal digits.
func (k Key) String() string { return hex.EncodeToString(k[:]) }

// IsZero reports whether k is of no key.
func (k Key) IsZero() bool { return k == Key{} }

// wrapped are the entries that unwrapping depends on (dsl_crypt.c,
// dsl_crypto_populate_key_nvlist). The others describe the snapshot.
var wrapped = map[string]nvlist.EntryType{
	"DSL_CRYPTO_SUITE": nvlist.Uint64Entry, "DSL_CRYPTO_GUID": nvlist.Uint64Entry, "DSL_CRYPTO_VERSION": nvlist.Uint64Entry,
	"DSL_CRYPTO_MASTER_KEY_1": nvlist.BytesEntry, "DSL_CRYPTO_HMAC_KEY_1": nvlist.BytesEntry,
	"DSL_CRYPTO_IV": nvlist.BytesEntry, "DSL_CRYPTO_MAC": nvlist.BytesEntry,
	"keyformat": nvlist.Uint64Entry, "pbkdf2iters": nvlist.Uint64Entry, "pbkdf2salt": nvlist.Uint64Entry,
}

// ofSnapshot are the other entries: what the snapshot's objset looks like.
var ofSnapshot = map[string]nvlist.EntryType{
	"portable_mac": nvlist.BytesEntry, "mdn_checksum": nvlist.Uint64Entry, "mdn_compress": nvlist.Uint64Entry, "mdn_nlevels": nvlist.Uint64Entry,
	"mdn_blksz": nvlist.Uint64Entry, "mdn_indblkshift": nvlist.Uint64Entry, "mdn_nblkptr": nvlist.Uint64Entry, "mdn_maxblkid": nvlist.Uint64Entry,
	"to_ivset_guid": nvlist.Uint64Entry, "from_ivset_guid": nvlist.Uint64Entry,
}

// parseKey checks the list crypt_keydata and digests the wrapped key in it, in an
// order that does not depend on the sender.
func parseKey(e nvlist.Entry) (Key, error) {
	if e.Type != nvlist.ListEntry {
		return Key{}, fmt.Errorf("crypt_keydata is no list: %w", nvlist.ErrDamaged)
	}
	found := make(map[string]nvlist.Entry, len(e.List))
	for _, p := range e.List {
		want, ok := wrapped[p.Name]
		if !ok {
			want, ok = ofSnapshot[p.Name]
		}
		if _, again := found[p.Name]; !ok || again || p.Type != want {
			return Key{}, fmt.Errorf("crypt_keydata has an entry %.64q that is unknown, doubled or of another type", p.Name)
		}
		found[p.Name] = p
	}
	h := sha256.New()
	for _, name := range []string{
		"DSL_CRYPTO_SUITE", "DSL_CRYPTO_GUID", "DSL_CRYPTO_VERSION", "DSL_CRYPTO_MASTER_KEY_1", "DSL_CRYPTO_HMAC_KEY_1",
		"DSL_CRYPTO_IV", "DSL_CRYPTO_MAC", "keyformat", "pbkdf2iters", "pbkdf2salt",
	} {
		p, ok := found[name]
		if !ok {
			return Key{}, fmt.Errorf("crypt_keydata lacks %s", name)
		}
		fmt.Fprintf(h, "%s %d %d:%s\n", name, p.Num, len(p.Bytes), p.Bytes)
	}
	return Key(h.Sum(nil)), nil
}
