// Package smoke proves, inside the test machine or on a host with ZFS, that what
// the other tests stand on is there: two pools, resumable receive, netem between
// namespaces, failing disks, Btrfs. It also holds the experiments behind
// FINDINGS.md, one test a question, so that a new OpenZFS answers them again.
//
// Its tests carry the build tags zfs, and machine where no ZFS is needed.
package smoke
