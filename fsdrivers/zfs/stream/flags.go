package stream

// CheckpointKind is the kind of checkpoints of this driver. Opaque is the resume
// token as the target's pool reports it.
const CheckpointKind = "zfs-token"

// The flags of a step, pinned for the life of a replica.
const (
	FlagsAuto  = ""      // raw where the dataset is encrypted
	FlagsRaw   = "raw"   // send -w: blocks as they are on the disk
	FlagsPlain = "plain" // send -L -c: decrypted
)
