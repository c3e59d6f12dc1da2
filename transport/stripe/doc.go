// Package stripe carries one stream over several lanes: a Sender cuts it into
// numbered chunks and repeats those that a dead lane took along, a Receiver puts
// them back in order and hands out credit. It knows no sockets, no HTTP and no
// clock but the one it is given.
//
// What holds, whatever is lost, delayed, doubled or stalled (the property test
// runs it):
//
//   - what the Receiver delivers is what the Sender read, whole or not at all;
//   - each side holds at most its window in chunks; the Receiver, besides, one
//     chunk for each lane that is reading;
//   - credit is an absolute number and never falls, and the chunk that delivery
//     waits for is always inside it;
//   - a chunk is acknowledged when it is in the reorder buffer, not before.
package stripe
