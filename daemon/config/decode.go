package config

import (
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"antipode/daemon/policy"
	"antipode/fsdrivers/dataset"
	"antipode/transport/peer"
)

// placed is a decoded section with the table it came from, so that what is
// wrong between sections can still be given a line.
type placed[T any] struct {
	table *table
	value T
}

// draft is a Config whose sections still know their places.
type draft struct {
	config  Config
	root    *table
	peers   []placed[policy.Peer]
	jobs    []placed[policy.Job]
	accepts []placed[policy.Accept]
}

// decodeMain reads the operator's file.
func decodeMain(t *table) draft {
	d := draft{root: t, config: Config{Path: t.doc.file}}
	c := &d.config
	c.Node = required(t, "node", "fra1", policy.ParseID)
	c.StateDir = pathOr(t, "state_dir", DefaultStateDir)
	c.SocketPath = pathOr(t, "control_socket", DefaultSocketPath)
	if len(c.SocketPath) > maxSocketPath {
		t.wrong("control_socket", "control_socket has %d bytes; the kernel takes at most %d", len(c.SocketPath), maxSocketPath)
	}
	c.RateLimit = decodeLimit(t, time.UTC)
	decodeListen(c, t.sub("listen"))
	decodeAlert(c, t.sub("alert"))
	decodeLog(c, t.sub("log"))
	decodeTransport(c, t.sub("transport"))
	d.peers = sections(t, "peer", decodePeer)
	d.jobs = sections(t, "job", decodeJob)
	d.accepts = sections(t, "accept", decodeAccept)
	t.done()
	return d
}

const maxSocketPath = 107 // sun_path of unix(7) with its NUL

// sections decodes an array of tables.
func sections[T any](t *table, key string, decode func(*table) T) []placed[T] {
	var all []placed[T]
	for _, s := range t.subs(key) {
		all = append(all, placed[T]{table: s, value: decode(s)})
		s.done()
	}
	return all
}

func decodeListen(c *Config, t *table) {
	defer t.done()
	c.Listen = DefaultListen
	if s := parsed(t, "address", DefaultListen, parseListen); s != "" {
		c.Listen = s
	}
	if c.Listen == ListenNone && t.has("advertise") {
		t.wrong("advertise", `advertise tells peers what to call, and address = %q takes no calls; leave one of them out`, ListenNone)
	}
	c.Advertise = parsed(t, "advertise", "fra1.example.net:8771", parseAddress)
}

func decodeAlert(c *Config, t *table) {
	defer t.done()
	c.Alert.Exec = t.texts("exec")
	if len(c.Alert.Exec) > 0 && !filepath.IsAbs(c.Alert.Exec[0]) {
		t.wrong("exec", `exec starts with %q, which is no absolute path; want for example ["/usr/local/bin/tell-me"] (no shell reads it)`, c.Alert.Exec[0])
	}
	if t.has("exec") && len(c.Alert.Exec) == 0 {
		t.wrong("exec", `exec is empty; want for example ["/usr/local/bin/tell-me"], or leave it out`)
	}
	c.Alert.Timeout = DefaultHookWait
	if d := parsed(t, "timeout", "60s", policy.ParseDuration); d != 0 {
		c.Alert.Timeout = d
	}
	if c.Alert.Timeout > time.Hour {
		t.wrong("timeout", "timeout is longer than an hour; want for example %q", "60s")
	}
}

func decodeLog(c *Config, t *table) {
	defer t.done()
	c.Log.Level = t.oneOf("level", "info", "debug", "warn", "error")
	c.Log.Format = t.oneOf("format", "auto", "json", "pretty")
}

func decodeTransport(c *Config, t *table) {
	defer t.done()
	c.Transport.Lanes = t.number("lanes", 1, MaxLanes, DefaultLanes)
	c.Transport.Congestion = t.oneOf("congestion", CongestionAuto, "bbr", "cubic")
	c.Transport.WaitForLink = parsed(t, "wait_for_link", "24h", policy.ParseDuration)
	c.Transport.Window = DefaultWindow
	if n := parsed(t, "window", "64MiB", policy.ParseBytes); n != 0 {
		c.Transport.Window = n
	}
	if w := c.Transport.Window; w < 1<<20 || w > 1<<30 {
		t.wrong("window", "window = %d bytes is out of range; want \"1MiB\" to \"1GiB\"", w)
	}
}

func decodePeer(t *table) policy.Peer {
	p := policy.Peer{
		Name:    required(t, "name", "sin1", policy.ParseID),
		Address: parsed(t, "address", "sin1.example.net:8771", parseAddress),
		Key:     required(t, "key", "what `antipode identity` prints on the peer", parseKey),
		Reverse: t.flag("reverse"),
	}
	if p.Reverse && !t.has("address") {
		t.wrong("reverse", `reverse keeps connections open to the peer, which has no address here; want address = "host:port" beside it`)
	}
	return p
}

func decodeJob(t *table) policy.Job {
	loc := decodeLocation(t)
	j := policy.Job{
		ID:         required(t, "id", "db", policy.ParseID),
		Driver:     decodeDriver(t),
		Schedule:   decodeSchedule(t, loc),
		Replicate:  decodeReplicate(t, loc),
		Always:     t.flag("always"),
		Hooks:      decodeHooks(t.sub("hooks")),
		RPO:        parsed(t, "rpo", "90m", policy.ParseDuration),
		Keep:       decodeKeep(t.sub("keep")),
		MayPromote: t.flag("may_promote"),
		Compress:   t.oneOf("compress", "auto", "off") == "auto",
		Location:   loc,
		Initial: policy.Initial(t.oneOf("initial",
			string(policy.InitialLatest), string(policy.InitialAll), string(policy.InitialFail))),
		NewestOnly:  !t.flagOr("intermediates", true),
		ReplicateTo: t.texts("replicate_to"),
		Pulled:      t.flag("pulled"),
		Forward:     parsed(t, "forward", "fra1", policy.ParseID),
		Include:     decodeInclude(t),
		Retention:   decodeRetention(t),
		Backlog:     t.number("backlog", 0, policy.MaxKeep, policy.DefaultBacklog),
		MinFree:     parsed(t, "min_free", "5%", policy.ParseAmount),
	}
	if j.NewestOnly && j.Initial == policy.InitialAll {
		t.wrong("intermediates", `intermediates = false sends only the newest, and initial = "all" every snapshot; keep one of them`)
	}
	j.Datasets = decodePatterns(t, j.Driver)
	j.Rate = decodeLimit(t, j.Location)
	j.Encryption = decodeEncryption(t, j.Driver)
	if j.CompressedData = t.flag("compressed_data"); j.CompressedData && j.Driver != policy.Btrfs {
		t.wrong("compressed_data", `compressed_data is for driver = "btrfs"; ZFS always sends blocks as they are on the disk`)
	}
	return j
}

func decodeEncryption(t *table, driver policy.Driver) policy.Encryption {
	e := parsed(t, "encryption", "raw", func(s string) (policy.Encryption, error) {
		switch e := policy.Encryption(s); e {
		case policy.EncryptionRaw, policy.EncryptionPlain:
			return e, nil
		}
		return "", fmt.Errorf(`%q is not known; want "raw" or "plain", or leave it out for raw where a dataset is encrypted`, s)
	})
	if t.has("encryption") && driver == policy.Btrfs {
		t.wrong("encryption", `encryption is for driver = "zfs"; Btrfs encrypts nothing`)
	}
	return e
}

func decodeAccept(t *table) policy.Accept {
	a := policy.Accept{
		From:         required(t, "from", "fra1", policy.ParseID),
		Driver:       decodeDriver(t),
		RPO:          parsed(t, "rpo", "90m", policy.ParseDuration),
		Protect:      parsed(t, "protect", "7d", policy.ParseDuration),
		MinFree:      parsed(t, "min_free", "5%", policy.ParseAmount),
		MaxBytes:     parsed(t, "max_bytes", "20TiB", policy.ParseBytes),
		Keep:         decodeKeep(t.sub("keep")),
		Location:     decodeLocation(t),
		AllowDevices: decodeAllow(t),
		Retention:    decodeRetention(t),
	}
	parse := func(s string) (string, error) { return parsePlace(s, a.Driver) }
	a.Pull = decodePull(t, a.Location)
	a.Into = required(t, "into", "/backup/fra1", parse)
	a.Live = parsed(t, "live", "/srv/fra1", parse)
	a.Strip = dataset.Path(parsed(t, "strip", "/data", parse))
	if a.MinFree.IsZero() {
		a.MinFree = policy.Amount{Percent: DefaultMinFree}
	}
	return a
}

func decodeDriver(t *table) policy.Driver {
	return required(t, "driver", string(policy.Btrfs), func(s string) (policy.Driver, error) {
		switch d := policy.Driver(s); d {
		case policy.Btrfs, policy.ZFS:
			return d, nil
		}
		return "", fmt.Errorf(`%q is not known; want "btrfs" or "zfs"`, s)
	})
}

func decodeKeep(t *table) policy.Keep {
	defer t.done()
	count := func(key string) int { return t.number(key, 0, policy.MaxKeep, 0) }
	return policy.Keep{
		Last:    count("last"),
		Hourly:  count("hourly"),
		Daily:   count("daily"),
		Weekly:  count("weekly"),
		Monthly: count("monthly"),
		Yearly:  count("yearly"),
		Within:  parsed(t, "within", "7d", policy.ParseDuration),
	}
}

func decodeRetention(t *table) policy.Retention {
	r := policy.Retention{Groups: t.flag("groups"), Brake: policy.DefaultBrake}
	if t.has("brake") {
		r.Brake = parsed(t, "brake", "50%", policy.ParseShare)
	}
	return r
}

func decodeLocation(t *table) *time.Location {
	loc := parsed(t, "timezone", "Europe/Berlin", func(s string) (*time.Location, error) {
		loc, err := time.LoadLocation(s)
		if err != nil || s == "" {
			return nil, fmt.Errorf(`%q is not a time zone; want a name such as "Europe/Berlin" or "UTC"`, s)
		}
		return loc, nil
	})
	if loc == nil {
		return time.UTC
	}
	return loc
}

func decodePatterns(t *table, driver policy.Driver) policy.Patterns {
	const key = "datasets"
	var all policy.Patterns
	positive := false
	for i, s := range t.texts(key) {
		p, err := policy.ParsePattern(s)
		if err == nil && driver != "" {
			err = p.ValidFor(driver)
		}
		if err != nil {
			t.wrong(element(key, i), "%v", err)
		}
		positive = positive || !p.Negate
		all = append(all, p)
	}
	if !positive {
		t.wrong(key, `datasets selects nothing; want for example datasets = ["/data/db", "/data/www/**"]`)
	}
	return all
}

func decodeInclude(t *table) policy.Names {
	const key = "include"
	var all policy.Names
	for i, s := range t.texts(key) {
		if _, err := all.ParseName(s); err != nil {
			t.wrong(element(key, i), "include: %v", err)
		}
		all = append(all, s)
	}
	return all
}

func decodeAllow(t *table) (devices bool) {
	for i, s := range t.texts("allow") {
		if s != "devices" {
			t.wrong(element("allow", i), `allow = %q is not known; want "devices"`, s)
		}
		devices = devices || s == "devices"
	}
	return devices
}

// pathOr reads an absolute path.
func pathOr(t *table, key, otherwise string) string {
	path := parsed(t, key, otherwise, func(s string) (string, error) {
		if !filepath.IsAbs(s) || filepath.Clean(s) != s || strings.ContainsRune(s, 0) {
			return "", fmt.Errorf("%q is not a clean absolute path; want for example %q", s, otherwise)
		}
		return s, nil
	})
	if path == "" {
		return otherwise
	}
	return path
}

// parsePlace reads where a target puts what it receives.
func parsePlace(s string, driver policy.Driver) (string, error) {
	p, err := dataset.ParsePath(s)
	if err != nil {
		return "", err
	}
	if driver != "" {
		if err := (policy.Pattern{Path: p}).ValidFor(driver); err != nil {
			return "", err
		}
	}
	if s == "/" {
		return "", fmt.Errorf(`%q is the whole machine; want a place of its own, such as "/backup/fra1"`, s)
	}
	return s, nil
}

func parseKey(s string) (string, error) {
	f, err := peer.ParseFingerprint(s)
	return f.String(), err
}

// parseAddress reads host:port of another machine.
func parseAddress(s string) (string, error) {
	const form = `want host:port, such as "sin1.example.net:8771" or "[2001:db8::1]:8771"`
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return "", fmt.Errorf("%q is not an address; %s", s, form)
	}
	if host == "" || strings.ContainsAny(host, "/@?# \t\r\n\x00") {
		return "", fmt.Errorf("%q names no host; %s", s, form)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", fmt.Errorf("%q has no port between 1 and 65535; %s", s, form)
	}
	return s, nil
}

// parseListen reads host:port of our own; the host may be left out.
func parseListen(s string) (string, error) {
	if s == ListenNone {
		return s, nil
	}
	if strings.HasPrefix(s, ":") {
		if _, err := parseAddress("any" + s); err != nil {
			return "", fmt.Errorf("%q has no port between 1 and 65535; want for example %q", s, DefaultListen)
		}
		return s, nil
	}
	return parseAddress(s)
}
