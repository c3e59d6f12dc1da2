// Package fake is a driver in memory with the rules of the real ones, as a
// library for tests. A Disk is one file system; it outlives the driver values
// that are made on it, as a disk outlives its daemon. Each rule cites the case
// of package drivertest that a real file system passes too.
//
// It blocks only on channels and timers, so it runs inside a testing/synctest
// bubble, where a Disk must be made inside the bubble that uses it. All methods
// may be called concurrently. It knows no jobs, no policy and no network.
//
// # Stream
//
// Numbers are big-endian. Each record ends with the CRC-32C of every byte of
// the stream before it, so that no record can be changed, moved or left out:
//
//	header  "afakestr" | version 1: u8 | len u8, from identity | len u8, to identity
//	file    'F' | size u64 | seed u64 | len u16, name    (the blocks follow)
//	block   'B' | len u32, bytes of the file
//	delete  'D' | len u16, name
//	end     'E' | offset of this record: u64             (then end of file)
//
// A seed other than zero says that the bytes are those that Grow makes from it,
// so that neither side has to hold them.
package fake
