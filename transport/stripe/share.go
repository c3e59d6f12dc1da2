package stripe

import "sync/atomic"

// Share divides an amount of memory evenly among those who use it at the moment.
// What somebody holds already when others join it need not give back: it takes no
// more until it holds less than its part. Safe for concurrent use; a nil *Share
// is without bound.
type Share struct {
	bytes int
	users atomic.Int64
}

// NewShare divides so many bytes.
func NewShare(bytes int) *Share { return &Share{bytes: bytes} }

// Join counts the caller among the users until it leaves, once.
func (s *Share) Join() (leave func()) {
	if s == nil {
		return func() {}
	}
	s.users.Add(1)
	return func() { s.users.Add(-1) }
}

// Window is a user's part, in chunks of so many bytes, of at most `most` bytes;
// never less than `least` chunks, whatever that makes in all.
func (s *Share) Window(most, chunkBytes, least int) int {
	if s != nil {
		most = min(most, s.bytes/max(1, int(s.users.Load())))
	}
	return max(most/chunkBytes, least)
}
