// Package peer owns who a node is and whom it talks to: the node's key, the
// fingerprints that peers pin, and the TLS configuration that holds both sides
// to them. There is no CA, and dates in certificates mean nothing: a key is
// trusted because it is pinned, until it is not. The package knows nothing of
// messages; how two nodes come to pin each other is in peer/pairing.
//
// Keys are Ed25519: every TLS 1.3 stack and Go's own speak it, signing takes
// no randomness that could betray the key, and there is no curve to choose.
package peer
