// Package pairing lets two nodes that share nothing but a token come to pin
// each other's keys. The issuer prints the token; a person carries it to the
// acceptor, which connects to the address in it, holds the listener to the key
// in it, and proves that it knows the secret in it. The issuer proves the same
// back. Both proofs are bound to the TLS connection (RFC 5705 exporter) and to
// both keys, so that nobody in between can pass them on.
//
// The package is values and functions: no sockets, no files, no clock.
//
// Token, as text "apair1:" and base32 of:
//
//	version   1 byte, 1
//	expiry    8 bytes, Unix seconds, big endian; by the issuer's clock
//	issuer    32 bytes, SHA-256 of the SubjectPublicKeyInfo
//	secret    16 bytes
//	address   the rest, "host:port", at most 260 bytes
//	checksum  the last 4 bytes, of the SHA-256 of all before
//
// Proof: HMAC-SHA256, keyed by the secret, over these fields, each behind its
// length in 4 bytes, big endian: the label "antipode pairing 1", the role that
// proves, the exporter, the issuer's and the acceptor's fingerprint, the
// acceptor's node name and address; the issuer's adds its own node name.
package pairing
