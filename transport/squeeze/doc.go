// Package squeeze makes chunks smaller: it packs and unpacks them (zstd), looks at
// a stream to see whether that is worth it, and chooses how hard to try by what the
// link and the processors have left. It knows neither messages nor sockets; who
// uses it measures and tells.
//
// Choosing is pure (State.Next). A Probe judges a stream chunk by chunk; a Gauge
// gathers what lanes measured until there is enough to choose by.
package squeeze
