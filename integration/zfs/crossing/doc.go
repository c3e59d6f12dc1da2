// Package crossing holds Antipode to its guarantees on real OpenZFS as an operator
// meets them: two daemon processes in two network namespaces, each on its own pool,
// with netem on the link between them. Its tests need the tag zfs and run by `make
// test-zfs`.
package crossing
