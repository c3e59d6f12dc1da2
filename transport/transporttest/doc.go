// Package transporttest is a network in memory for tests: connections that
// behave like TCP sockets (a bounded buffer each way, deadlines, half-close)
// and can be cut, delayed, stalled and corrupted at an exact byte.
//
// It runs inside a testing/synctest bubble: whoever waits is durably blocked,
// and delays pass in virtual time. It knows bytes, no messages. A Net and all
// that comes from it belong to the bubble they were made in.
//
// A bubble ends when its goroutines have, and an http.Server lingers 500 ms of
// virtual time behind a broken request: let a second pass after its Close.
//
//	n := transporttest.New()
//	l, err := n.Listen("sin1:8771")
//	client := &http.Transport{DialContext: n.DialContext}
//	n.OnConnect(func(l *transporttest.Link) { l.CutAfter(transporttest.ToListener, 4096) })
//	n.Down(transporttest.Outage{}); n.Up(); n.CutAll()
package transporttest
