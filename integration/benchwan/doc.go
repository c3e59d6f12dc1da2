// Package benchwan measures what Antipode promises of long links: real daemons on
// real Btrfs, joined by integration/wan, beside what others do on the same link in
// the same run. `make bench-wan` runs it and prints one line a figure,
//
//	bench: NAME VALUE UNIT
//
// Goodput is of the stream, after the first 5 s of its transfer. The data cannot
// be compressed. It needs root, ssh, sshd and mbuffer.
package benchwan
