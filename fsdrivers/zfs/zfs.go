// Package zfs is the driver for ZFS filesystems and volumes: Source for the
// datasets of this host, Target for one `into`. The rooms below it run `zfs` and
// read what it prints for scripts. They know no jobs, no policy and no network.
//
// A dataset.Path is the name of a dataset ("tank/db") on its source. Identities
// are GUIDs in 16 hexadecimal digits.
//
// # What is on a source
//
//	tank/db                      org.antipode:mark           the fence (dataset.Mark)
//	tank/db@antipode_...         org.antipode:created        when it was made
//	tank/db#antipode_...         a base that outlived its snapshot
//	holds                        org.antipode:<tag>
//
// # What is on a target
//
//	INTO                         org.antipode:into           ours; mounted nowhere, read-only
//	                             org.antipode:strip          what is left out in front of the source's paths
//	INTO/<source path>           a lineage: org.antipode:path and source say whose it is
//	INTO/.antipode/<step>        a lineage that is being received for the first time, or
//	                             whose place is taken; found by the same properties
//	INTO/<part of a path>        org.antipode:placeholder    a parent that was never received
//	<lineage>                    org.antipode:incoming       the step that it takes in, or took in last
//	                             org.antipode:key            the pinned wrapped key; raw if there is one
//	                             org.antipode:move           the path that it is being moved to
//	                             org.antipode:rewind         the point that the head goes back to
//	                             org.antipode:mark, activation
//	                             org.antipode:live            it was activated in place
//	<lineage>@antipode_...       org.antipode:created, received, retain
//	LIVE/<source path>           an activated clone; LIVE is INTO/antipode_live by default
//
// Properties count only where their source is `local`: user properties are
// inherited, and `received` ones come from whoever sent them.
//
// # Lineages
//
// ZFS builds an incremental only on the newest snapshot of the same dataset, so a
// second full copy needs a dataset of its own. A replica is the set of lineages
// with its path; its points are theirs together. A lineage is moved to
// INTO/<source path> when it is complete and that place is free. What Strip names is
// left out in front of <source path>, below INTO and below LIVE, and nowhere else:
// whose a lineage is follows from its properties, which hold the whole path.
//
// What was received is sent on from the lineage that the source goes on with: an
// increment begins and ends in one. A lineage that came raw is sent on raw.
//
// # When a snapshot is complete
//
// `zfs receive` makes the snapshot in the transaction that ends it: what is there
// is complete and durable. Its times are written after that; until then they are
// those of org.antipode:incoming.
//
// # Without root
//
// On a source: `zfs allow USER snapshot,hold,release,bookmark,destroy,mount,userprop,send,readonly DATASET`
// (send:raw in place of send from 2.4 on, where all is encrypted). On a target, on
// the dataset above Into: `create,mount,receive,userprop,hold,release,destroy,
// rollback,rename,clone,bookmark,readonly,canmount,mountpoint,setuid,devices,exec,
// sharenfs,sharesmb,snapdir,volmode,snapdev` (receive:append in place of receive
// from 2.3.2 on), and `send` (send:raw) where a job sends on. Linux lets only root mount, so an activation needs root, and so does
// the fence of a filesystem that is mounted.
//
// Never used: receive -F, send -R, -p, -I, -b, -h, rollback -r, destroy -r, -R, -f.
package zfs

import (
	"time"

	"antipode/fsdrivers/zfs/pool"
	"antipode/fsdrivers/zfs/source"
	"antipode/fsdrivers/zfs/stream"
	"antipode/fsdrivers/zfs/target"
)

type (
	// Host runs zfs for the drivers of a process, and knows what hangs on which pool.
	Host = pool.Host
	// Source works on live datasets of this host.
	Source = source.Source
	// Options of a Source.
	Options = source.Options
	// Target receives into one dataset.
	Target = target.Target
	// TargetOptions of a Target.
	TargetOptions = target.Options
)

// The flags of a step, pinned for the life of a replica.
const (
	FlagsAuto  = stream.FlagsAuto
	FlagsRaw   = stream.FlagsRaw
	FlagsPlain = stream.FlagsPlain
)

// NewHost makes a host; pool.NewHost tells more. It touches nothing.
func NewHost(binary string, giveUp time.Duration) *Host { return pool.NewHost(binary, giveUp) }

// NewSource makes a source. It touches nothing.
func NewSource(o Options) *Source { return source.New(o) }

// NewTarget makes sure that Into is there and is ours; target.New lists the errors.
func NewTarget(o TargetOptions) (*Target, error) { return target.New(o) }
