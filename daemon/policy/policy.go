// Package policy holds the operator's wishes as values: jobs, schedules,
// retention, objectives, patterns, rates. It is pure: what depends on the time
// takes it as an argument. It knows no files, no TOML and no drivers.
package policy

import (
	"time"

	"antipode/fsdrivers/dataset"
)

// Driver names a kind of file system.
type Driver string

// The drivers a policy may name.
const (
	Btrfs Driver = "btrfs"
	ZFS   Driver = "zfs"
)

// Job is what the source of a replication does.
type Job struct {
	ID          string // immutable: it is in the names of snapshots and holds
	Driver      Driver
	Datasets    Patterns
	Schedule    Schedule
	Replicate   Schedule // apart from Schedule; zero: right after each run of that
	Always      bool     // snapshot also what nothing was written to
	Hooks       Hooks
	ReplicateTo []string // names of peers, at least one unless the job only snapshots
	Pulled      bool     // its targets say when it replicates
	// Forward is the peer whose replicas on this node the job sends on; "" for a job
	// that sends datasets of this node. Datasets are then what that peer calls them.
	Forward    string
	RPO        time.Duration // 0: no objective
	Rate       Timetable
	Compress   bool // chunks are packed on the wire where that helps
	Keep       Keep
	MayPromote bool           // its targets may fence this node (decision 9)
	Location   *time.Location // for cron and for retention's days; UTC unless the file says otherwise
	Initial    Initial
	NewestOnly bool  // of several new snapshots only the newest is sent (intermediates = false)
	Include    Names // of the snapshots that others made, those that are sent too
	Encryption Encryption
	// CompressedData sends what Btrfs has compressed as it is on the disk. Off unless
	// asked for: kernels without the fix of March 2026 may lose an error of such a
	// write without a word.
	CompressedData bool
	Retention
	Backlog int    // how many snapshots that a target has not got yet are kept for it; 0: none
	MinFree Amount // of the file system of the datasets; zero: an alert at DefaultMinFree, and no brake
}

// Retention is what bounds the rules of a Keep, on either side.
type Retention struct {
	// Groups keeps the snapshots of one instant of a job together: as long as one
	// stays, all do.
	Groups bool
	// Brake is the share, in per cent, of all snapshots that a run may destroy by
	// itself; 0 is no brake.
	Brake float64
}

// FlagCompressed is the flag of a Btrfs step that is sent with compressed data.
const FlagCompressed = "compressed"

// Flags are the options of the job's sends that make two sends of the same
// snapshots different streams.
func (j Job) Flags() string {
	if j.CompressedData {
		return FlagCompressed
	}
	return string(j.Encryption)
}

// Encryption says how encrypted ZFS datasets are sent. A replica stays what its
// first copy was.
type Encryption string

// How encrypted datasets are sent.
const (
	EncryptionAuto  Encryption = ""      // raw where the dataset is encrypted
	EncryptionRaw   Encryption = "raw"   // as on the disk, or not at all: the target never sees the key
	EncryptionPlain Encryption = "plain" // decrypted, which takes the loaded key
)

// Hooks are commands of the operator's around the snapshot of a job, so that what
// writes to its datasets can be made quiet.
type Hooks struct {
	Before  []string // argv; empty is none
	After   []string // runs whatever became of Before and of the snapshot
	Timeout time.Duration
	OnFail  OnFail
}

// IsZero reports whether there are none.
func (h Hooks) IsZero() bool { return len(h.Before)+len(h.After) == 0 }

// OnFail says what happens when Before fails.
type OnFail string

// What may happen.
const (
	OnFailSkip     OnFail = "skip"     // no snapshot is made in this run
	OnFailContinue OnFail = "continue" // it is made all the same
)

// Initial says what the first copy of a dataset sends.
type Initial string

// What the first copy may send.
const (
	InitialLatest Initial = "latest" // the newest snapshot
	InitialAll    Initial = "all"    // the oldest, then every one after it
	InitialFail   Initial = "fail"   // nothing: an operator seeds it
)

// Accept is what a target takes in from one peer.
type Accept struct {
	From         string // name of the peer
	Driver       Driver
	Into         string       // absolute path of a subvolume, or a ZFS dataset
	Live         string       // directory below which an activated dataset appears; "" is inside Into
	Strip        dataset.Path // left out in front of the source's paths below Into and Live; "" is nothing
	RPO          time.Duration
	Protect      time.Duration // nothing received later than this ago is pruned
	MinFree      Amount
	MaxBytes     int64 // bound of one stream; 0 is none
	Keep         Keep
	Location     *time.Location
	AllowDevices bool
	Pull         Schedule // when the peer is asked to send; zero: it decides itself
	Retention
}

// Peer is another machine that this one knows.
type Peer struct {
	Name    string
	Address string // host:port; "" for a peer that calls us, or that we call over connections of its own
	Key     string // fingerprint, as `antipode identity` prints it
	// Reverse has this node keep connections open to the peer, which cannot dial it,
	// for the peer to call on.
	Reverse bool
}

// Rate is a budget in bytes per second; 0 is no limit.
type Rate int64

// Amount is a number of bytes, or a share of a file system.
type Amount struct {
	Bytes   int64
	Percent float64 // 0 to 100; used when Bytes is 0
}

// Keep is how many points of each kind retention keeps.
type Keep struct {
	Last, Hourly, Daily, Weekly, Monthly, Yearly int
	Within                                       time.Duration // everything not older than this before the newest point
}

// Schedule is when a job snapshots: Every or Cron, not both. The zero Schedule
// runs only when triggered.
type Schedule struct {
	Every  time.Duration
	Cron   string        // five fields, or six with seconds first
	Jitter time.Duration // a run starts up to this much later; see Schedule.At
	Window Opening       // what is due outside of it is left out
}

// Pattern selects datasets: an exact path, or with Below everything under it
// (the path itself is not included by "/data/www/**").
type Pattern struct {
	Path   dataset.Path
	Below  bool
	Negate bool
}

// Patterns are ordered; the last that matches decides.
type Patterns []Pattern
