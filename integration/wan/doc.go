// Package wan is a long-distance link for tests, below TCP: two network
// namespaces, each with a TUN device, and every IP packet between them carried
// by this process, with a rate, a queue, a delay, a probability of loss and a
// switch that may change at any moment. Real TCP runs at both ends, so that
// windows, slow start, loss recovery and congestion control are the kernel's.
// It must not know what the packets are for.
//
// The kernel hands over up to 64 KiB of one TCP stream at a time, as it does to a
// network card that segments (TSO) and as a card hands it over that gathers
// (GRO): this is what lets one core carry a Gbit/s. Rate, queue and loss apply to
// each packet of MTU size in it: what lies between two lost packets goes on as
// one piece, and arrives when its last packet does.
//
// The namespaces have no names and end with the process, however that ends.
package wan
