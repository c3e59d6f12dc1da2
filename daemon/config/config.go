// Package config turns the operator's TOML into a validated Config, or into a
// list of all that is wrong with it, each with its file and line and with what
// would be right. config.example.toml at the root of the repository is its
// golden file. It runs nothing and looks at nothing that the file names; `antipode
// check` does that.
package config

import (
	"slices"
	"time"
	_ "time/tzdata" // a time zone means the same on a host that has no zoneinfo

	"antipode/daemon/policy"
)

// Where things are unless the file says otherwise.
const (
	DefaultPath       = "/etc/antipode/antipode.toml"
	DefaultStateDir   = "/var/lib/antipode"
	DefaultSocketPath = "/run/antipode/control.sock"
	DefaultListen     = "0.0.0.0:8771"
	ListenNone        = "none" // no peer can dial this node
	DefaultLanes      = 64
	DefaultWindow     = 64 << 20
	DefaultMinFree    = 5 // per cent
	DefaultHookWait   = 60 * time.Second
)

// PeersDir is the directory beside the file that `antipode pair` writes to.
const PeersDir = "peers.d"

// MaxLanes is how many lanes a target takes of one transfer.
const MaxLanes = 64

// CongestionAuto leaves the choice to the transport.
const CongestionAuto = "auto"

// MaxFileBytes bounds each file.
const MaxFileBytes = 1 << 20

// Config is what the operator asked for. It is complete (defaults are filled
// in), consistent, and not changed after Load.
type Config struct {
	Path       string // the file it was read from
	Node       string // this machine's name
	StateDir   string
	SocketPath string
	Listen     string // host:port; the host may be empty; or ListenNone
	Advertise  string // host:port that a pairing token tells; "" to derive it
	Peers      []policy.Peer
	Jobs       []policy.Job
	Accepts    []policy.Accept
	Alert      Alert
	Log        Log
	RateLimit  policy.Timetable // of the whole host
	Transport  Transport
	Warnings   []Problem // what is allowed and probably not meant
}

// Alert is the command that tells somebody.
type Alert struct {
	Exec    []string // argv; empty is none
	Timeout time.Duration
}

// Log says what is logged and how.
type Log struct {
	Level  string // debug, info, warn, error
	Format string // auto, json, pretty
}

// Transport tunes the way between two daemons.
type Transport struct {
	Lanes       int           // connections of a job to a peer at most, 1 to MaxLanes
	Congestion  string        // congestion control by name, or CongestionAuto
	WaitForLink time.Duration // how long an open transfer waits for a lost link; 0 is the driver's own time
	Window      int64         // bytes that each side of a transfer may buffer
}

// PeersPath is the directory of paired peers that belongs to a file.
func PeersPath(path string) string { return siblingDir(path, PeersDir) }

// Peer returns the peer of that name.
func (c *Config) Peer(name string) (policy.Peer, bool) {
	for _, p := range c.Peers {
		if p.Name == name {
			return p, true
		}
	}
	return policy.Peer{}, false
}

// Calls reports whether a job of this node replicates to the peer of that name.
func (c *Config) Calls(name string) bool {
	return slices.ContainsFunc(c.Jobs, func(j policy.Job) bool { return slices.Contains(j.ReplicateTo, name) })
}

// Job returns the job of that id.
func (c *Config) Job(id string) (policy.Job, bool) {
	for _, j := range c.Jobs {
		if j.ID == id {
			return j, true
		}
	}
	return policy.Job{}, false
}
