package wire

import (
	"fmt"
	"strconv"
	"strings"
)

// What requests and answers have in common; PROTOCOL.md lists the endpoints.
const (
	// VersionHeader carries Version in every request and answer.
	VersionHeader = "Antipode-Protocol"
	// CodecsHeader is in every answer: which codecs, beside raw, a sender may use
	// towards who answers. A name that is not known means nothing.
	CodecsHeader = "Antipode-Codecs"
	Codecs       = "zstd"
	ContentJSON  = "application/json"
	// ContentFrames is the type of a lane's body.
	ContentFrames = "application/vnd.antipode.frames"
	// ContentStep is the type of a whole step in one body: a big-endian uint32
	// length, that many bytes of JSON (Open), then frames up to the end frame.
	ContentStep = "application/vnd.antipode.step"

	PathHello     = "/v1/hello"
	PathInventory = "/v1/inventory"
	PathTips      = "/v1/tips"
	PathCommit    = "/v1/commit"
	PathPull      = "/v1/pull"
	PathPair      = "/v1/pair"
	PathSteps     = "/v1/steps"
	PathTransfers = "/v1/transfers" // + "/{incarnation}" + ("" | SubLanes + "/{number}" | SubProgress)
	SubLanes      = "/lanes"
	SubProgress   = "/progress"

	// MaxLanes is how many lanes a transfer may have; their numbers are below it.
	MaxLanes = 64
	// MaxPeerLanes is how many connections of lanes a peer may have at once, over
	// all its transfers, those included that it has given up and we do not know of.
	MaxPeerLanes = 512
	// MaxOpenBytes bounds an announcement in JSON.
	MaxOpenBytes = 64 << 10
	// MaxStepBytes bounds a whole step in one body.
	MaxStepBytes = 4 + MaxOpenBytes + HeaderBytes + MaxChunk + HeaderBytes
)

// CheckVersion judges the other side's VersionHeader. The error says which side
// is behind; who names the other one, for people.
func CheckVersion(header, who string) error {
	theirs, err := strconv.Atoi(header)
	switch {
	case err != nil || theirs < 1:
		return fmt.Errorf("%w: %s names no protocol version: is it Antipode at that address?", ErrVersion, who)
	case theirs > Version:
		return fmt.Errorf("%w: %s speaks %d and this side %d: upgrade Antipode on this side", ErrVersion, who, theirs, Version)
	case theirs < Version:
		return fmt.Errorf("%w: %s speaks %d and this side %d: upgrade Antipode there", ErrVersion, who, theirs, Version)
	}
	return nil
}

// TakesZstd reports whether a CodecsHeader names CodecZstd.
func TakesZstd(header string) bool {
	for name := range strings.SplitSeq(header, ",") {
		if strings.TrimSpace(name) == "zstd" {
			return true
		}
	}
	return false
}
