// Package zfs runs the drivers' contract on real ZFS: on filesystems, volumes and
// encrypted filesystems, in the test machine (integration/machine) or on a host
// that has ZFS. Its tests have the build tag zfs.
package zfs
