// Package btrfs is the driver for Btrfs subvolumes: Source for the datasets of
// this host, Target for one `into`. It works through a few ioctls and runs only
// `btrfs send` and `btrfs receive`. It knows no jobs, no policy and no network.
//
// # What is on the disk of a source
//
//	<dataset>/.antipode/                     a subvolume of its own, root, 0700: what
//	                                         is in it neither travels in a stream nor
//	                                         changes the dataset
//	<dataset>/.antipode/antipode_...         the read-only snapshots
//	<dataset>/.antipode/<dataset uuid>/      the sidecars of that dataset
//	    mark                                 the fence (dataset.Mark)
//	    holds/<snapshot uuid>.<tag>          one file a hold
//	    points/<snapshot name>               when the snapshot was made
//	    sending/<step>/                      lock and record of a running send
//
// # What is on the disk of a target
//
//	INTO/                                    a subvolume of its own, root, 0700
//	INTO/<source path>/<snapshot name>       published: read-only, with the received
//	                                         UUID that the source announced
//	INTO/<source path>/antipode_live         activated, unless live data go elsewhere
//	INTO/.antipode/<dataset uuid>/           the sidecars of a replica
//	    replica                              which source path it is bound to
//	    mark, holds/                         as above
//	    activation                           what the newest activation wants, and how far it came
//	    points/<snapshot uuid>               times and name, written before publishing
//	INTO/<source path>/.incoming-<step>      on its way to its name
//	INTO/.antipode/incoming/<step>/          work in progress
//	    lock, record                         who owns it, what it belongs to
//	    root/                                the root directory of `btrfs receive`, and
//	                                         all that a stream can reach
//	    root/base, root/received             the minted base, what `receive` makes
//
// A sidecar is a line with format and version, JSON, and a digest (sidecar.go).
// It is replaced by a temporary file, fsync, rename, fsync of the directory. One
// that is damaged is an error that names it, never taken for absent.
//
// # When a snapshot is complete
//
// The final name of a published snapshot is its seal: it appears after syncfs of
// the data, after its point is durable, and after the received UUID is set. What
// has no final name is work in progress, and the sweep may remove it.
package btrfs

import (
	"antipode/fsdrivers/btrfs/source"
	"antipode/fsdrivers/btrfs/target"
)

type (
	// Source works on live subvolumes of this host.
	Source = source.Source
	// Options of a Source.
	Options = source.Options
	// Target receives into one subvolume.
	Target = target.Target
	// TargetOptions of a Target.
	TargetOptions = target.Options
)

// NewSource makes a source. It touches nothing.
func NewSource(o Options) *Source { return source.New(o) }

// NewTarget makes sure that Into is a subvolume; target.New lists the errors.
func NewTarget(o TargetOptions) (*Target, error) { return target.New(o) }
