package config_test

import (
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"antipode/daemon/config"
	"antipode/daemon/policy"
	"antipode/transport/peer"
)

// key makes the fingerprint of a node that does not exist.
func key(name string) string {
	return peer.FingerprintOfDigest(sha256.Sum256([]byte(name))).String()
}

// put writes files below a directory and returns the path of the first.
func put(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i := 0; i < len(files); i += 2 {
		path := filepath.Join(dir, files[i])
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(files[i+1]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, files[0])
}

const two = `node = "fra1"
[[peer]]
name = "sin1"
address = "sin1.example.net:8771"
key = "KEY"
`

// with is a good file with a peer, and more.
func with(more string) string {
	return strings.Replace(two, "KEY", key("sin1"), 1) + more
}

const example = "../../config.example.toml"

// TestExample is the golden test of config.example.toml.
func TestExample(t *testing.T) {
	text, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	path := put(t, "antipode.toml", string(text)) // with a mode of its own
	got, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	berlin, sydney := zone(t, "Europe/Berlin"), zone(t, "Australia/Sydney")
	want := &config.Config{
		Path: path, Node: "fra1", StateDir: "/var/lib/antipode", SocketPath: "/run/antipode/control.sock",
		Listen: "0.0.0.0:8771", Advertise: "fra1.example.net:8771",
		RateLimit: policy.Timetable{Base: 50_000_000, Location: berlin, Windows: []policy.Window{
			{Days: 0b0111110, From: 8 * 60, To: 18 * 60, Rate: 12_500_000},
		}},
		Alert:     config.Alert{Exec: []string{"/usr/local/bin/tell-me", "--quiet"}, Timeout: time.Minute},
		Log:       config.Log{Level: "info", Format: "auto"},
		Transport: config.Transport{Lanes: 64, Congestion: "auto", WaitForLink: 12 * time.Hour, Window: 64 << 20},
		Peers: []policy.Peer{
			{Name: "sin1", Address: "sin1.example.net:8771", Key: key("example sin1")},
			{Name: "syd1", Address: "syd1.example.net:8771", Key: key("example syd1"), Reverse: true},
		},
		Jobs: []policy.Job{{
			ID: "db", Driver: policy.Btrfs,
			Datasets:    policy.Patterns{{Path: "/data/db"}, {Path: "/data/www", Below: true}, {Path: "/data/www/cache", Negate: true}},
			Schedule:    policy.Schedule{Every: time.Hour, Jitter: 2 * time.Minute},
			ReplicateTo: []string{"sin1"}, RPO: 16 * time.Hour, Rate: policy.Timetable{Base: 25_000_000},
			Replicate: policy.Schedule{
				Every: 2 * time.Hour, Jitter: 2 * time.Minute, Window: policy.Opening{From: 20 * 60, To: 8 * 60},
			},
			Hooks: policy.Hooks{
				Before: []string{"/usr/local/bin/quiet-db"}, After: []string{"/usr/local/bin/loud-db"},
				Timeout: 30 * time.Second, OnFail: policy.OnFailSkip,
			},
			Keep:       policy.Keep{Last: 4, Hourly: 48, Daily: 14, Weekly: 8, Monthly: 12, Yearly: 3, Within: 2 * policy.Day},
			MayPromote: true, Compress: true, Location: time.UTC, Initial: policy.InitialLatest, CompressedData: true,
			Retention: policy.Retention{Groups: true, Brake: 30}, Backlog: 200, MinFree: policy.Amount{Percent: 8},
		}, {
			ID: "mail", Driver: policy.ZFS, Datasets: policy.Patterns{{Path: "tank/mail", Below: true}},
			Schedule: policy.Schedule{
				Cron: "30 * * * *", Window: policy.Opening{Days: 0b0111110, From: 22 * 60, To: 6 * 60},
			},
			ReplicateTo: []string{"sin1"}, Replicate: policy.Schedule{Cron: "0 3 * * *"},
			Keep: policy.Keep{Daily: 14}, Compress: true, Location: berlin, Initial: policy.InitialLatest,
			Encryption: policy.EncryptionRaw, Include: policy.Names{"zfs-auto-snap_*", "manual-?"}, Retention: policy.Retention{Brake: policy.DefaultBrake}, Backlog: policy.DefaultBacklog,
		}, {
			ID: "home", Driver: policy.Btrfs, Datasets: policy.Patterns{{Path: "/home"}}, Pulled: true, ReplicateTo: []string{"syd1"},
			Keep: policy.Keep{Daily: 7}, Compress: true, Location: time.UTC, Initial: policy.InitialLatest,
			Retention: policy.Retention{Brake: policy.DefaultBrake}, Backlog: policy.DefaultBacklog,
		}, {
			ID: "onward", Driver: policy.Btrfs, Forward: "syd1", Datasets: policy.Patterns{{Path: "/srv", Below: true}}, ReplicateTo: []string{"sin1"},
			RPO: 4 * time.Hour, Compress: true, Location: time.UTC, Initial: policy.InitialLatest,
			Retention: policy.Retention{Brake: policy.DefaultBrake}, Backlog: policy.DefaultBacklog,
		}},
		Accepts: []policy.Accept{{
			Pull: policy.Schedule{Every: time.Hour},
			From: "syd1", Driver: policy.Btrfs, Into: "/backup/syd1", Live: "/srv/syd1", Strip: "/srv", RPO: 90 * time.Minute,
			Protect: policy.Week, MinFree: policy.Amount{Percent: 10}, MaxBytes: 20 << 40, Location: sydney, AllowDevices: true,
			Keep:      policy.Keep{Last: 2, Hourly: 48, Daily: 60, Weekly: 8, Monthly: 24, Yearly: 3, Within: 2 * policy.Day},
			Retention: policy.Retention{Groups: true, Brake: 30},
		}, {
			From: "sin1", Driver: policy.ZFS, Into: "tank/sin1", Strip: "tank", Location: time.UTC, MinFree: policy.Amount{Percent: 5},
			Pull: policy.Schedule{Cron: "0 3 * * *", Window: policy.Opening{From: 2 * 60, To: 5 * 60}},
			Keep: policy.Keep{Daily: 30}, Retention: policy.Retention{Brake: policy.DefaultBrake},
		}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func zone(t *testing.T, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

func TestDefaults(t *testing.T) {
	path := put(t, "antipode.toml", with(`
[[job]]
id = "db"
driver = "btrfs"
datasets = ["/data/db"]
every = "1h"
keep = { last = 1 }
[[accept]]
from = "sin1"
driver = "zfs"
into = "tank/sin1"
keep = { last = 1 }
`))
	c, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	want := config.Config{
		Path: path, Node: "fra1", StateDir: "/var/lib/antipode", SocketPath: "/run/antipode/control.sock", Listen: "0.0.0.0:8771",
		Alert: config.Alert{Timeout: time.Minute}, Log: config.Log{Level: "info", Format: "auto"},
		Transport: config.Transport{Lanes: 64, Congestion: "auto", Window: 64 << 20},
	}
	want.Peers, want.Jobs, want.Accepts = c.Peers, c.Jobs, c.Accepts
	if !reflect.DeepEqual(*c, want) {
		t.Errorf("got  %+v\nwant %+v", *c, want)
	}
	if j, ok := c.Job("db"); !ok || j.Location != time.UTC || j.Initial != policy.InitialLatest || j.MayPromote {
		t.Errorf("job: got %+v, want UTC, latest, and no promotion", j)
	}
	if a := c.Accepts[0]; a.MinFree != (policy.Amount{Percent: 5}) || a.AllowDevices || a.Location != time.UTC {
		t.Errorf("accept: got %+v, want 5%% free, no devices, UTC", a)
	}
	if p, ok := c.Peer("sin1"); !ok || p.Key != key("sin1") {
		t.Errorf("peer: got %+v, want sin1", p)
	}
	if _, ok := c.Peer("other"); ok {
		t.Error("a peer that is not there was found")
	}
}

const job = "[[job]]\nid = \"db\"\ndriver = \"btrfs\"\ndatasets = [\"/data/**\"]\nevery = \"1h\"\nkeep = { last = 1 }\n" // lines 6 to 11

// onward is a job that forwards; ams1 is a peer of its own, for it to send to.
const (
	onward   = "[[job]]\nid = \"onward\"\ndriver = \"btrfs\"\ndatasets = [\"/data/**\"]\nforward = \"sin1\"\nreplicate_to = [\"ams1\"]\n" // lines 6 to 11
	ams1     = "[[peer]]\nname = \"ams1\"\nkey = \"ap1:3ldorthocqz4zemzgwnlqllpgi2tyenhjo2fca5jbmzxjfx3usg4bdxk\"\n"
	fromSin1 = "[[accept]]\nfrom = \"sin1\"\ndriver = \"btrfs\"\ninto = \"/b\"\nkeep = { last = 1 }\n" + ams1
)

// TestRefused: every mistake has its line, and says what would be right.
func TestRefused(t *testing.T) {
	for _, c := range []struct {
		name, more string // after the six lines of two
		want       string // of each problem: line, what, ...
	}{
		{"malformed", "[[job]\n", `6: not TOML`},
		{"malformed value", "rate_limit = \n", `6: not TOML`},
		{"key twice", "name = \"a\"\n", `6: not TOML`},
		{"unknown key", "[listen]\naddrss = \"0.0.0.0:1\"\n", `7: unknown key "addrss" in listen; did you mean "address"?`},
		{"unknown key far from all", "[log]\nzzzzzzzzzz = 1\n", `7: unknown key "zzzzzzzzzz" in log; known are format, level`},
		{"unknown section", "[allert]\nexec = []\n", `6: unknown key "allert"; did you mean "alert"?`},
		{"unknown key in the second job", job + "[[job]]\nid = \"b\"\ndriver = \"btrfs\"\ndatasets = [\"/b\"]\nevery = \"1h\"\nkep = { last = 1 }\n", `17: unknown key "kep" in job; did you mean "keep"?`},
		{"unknown key in keep", job + "[job.more]\n", `12: unknown key "more" in job`},
		{"unknown kind of keep", strings.Replace(job, "last", "lst", 1), `11: unknown key "lst" in job.keep; did you mean "last"?`},
		{"a number for a duration", strings.Replace(job, `"1h"`, `60`, 1), `10: every is a whole number; want text, such as every = "1h"`},
		{"text for a number", strings.Replace(job, `last = 1`, `last = "1"`, 1), `11: last is text; want a whole number without quotes`},
		{"wrong unit of a duration", strings.Replace(job, `"1h"`, `"1 hour"`, 1), `10: every: duration "1 hour"`},
		{"wrong unit of a rate", job + "rate_limit = \"200Mbps\"\n", `12: rate_limit: rate "200Mbps" leaves open whether it means bits or bytes; want for example "200Mbit/s"`},
		{"a number for a rate", job + "rate_limit = 5\n", `12: rate_limit is a whole number; want text, such as rate_limit = "200Mbit/s"`},
		{"an empty rate table", "[rate_limit]\n", `6: rate_limit says nothing; want rate = "200Mbit/s"`},
		{"two brackets for one table", "[[rate_limit]]\nrate = \"1MB/s\"\n", `6: rate_limit is an array of tables; want text`},
		{"unknown key of a rate table", "[rate_limit]\nrate = \"1MB/s\"\nzone = \"UTC\"\n", `8: unknown key "zone" in rate_limit`},
		{"unknown key of a window", "[[rate_limit.window]]\nrate = \"1MB/s\"\nday = \"mon\"\n", `8: unknown key "day" in rate_limit.window; did you mean "days"?`},
		{"window without a rate", job + "[[job.rate_limit.window]]\nfrom = \"08:00\"\n", `12: rate is missing in job.rate_limit.window; want for example rate = "50Mbit/s"`},
		{"window of another day", "[[rate_limit.window]]\ndays = [\"mon\", \"funday\"]\nrate = \"1MB/s\"\n", `7: days: "funday" is no weekday; want for example "mon", "sat" or "mon-fri"`},
		{"window of no day", "[[rate_limit.window]]\ndays = []\nrate = \"1MB/s\"\n", `7: days: "" is no weekday`},
		{"window at no time", "[[rate_limit.window]]\nfrom = \"8 o'clock\"\nrate = \"1MB/s\"\n", `7: from: "8 o'clock" is no time of day; want "00:00" to "24:00"`},
		{"window of no length", "[[rate_limit.window]]\nfrom = \"08:00\"\nto = \"08:00\"\nrate = \"1MB/s\"\n", `8: window ends when it begins, at 08:00; leave from and to out for whole days`},
		{"window from the end of a day", "[[rate_limit.window]]\nfrom = \"24:00\"\nto = \"06:00\"\nrate = \"1MB/s\"\n", `7: from = "24:00" is the end of a day; want "00:00" of the next`},
		{"window in no zone", "[rate_limit]\ntimezone = \"Mars\"\n[[rate_limit.window]]\nrate = \"1MB/s\"\n", `7: timezone: "Mars" is not a time zone`},
		{"unit of a window's rate", "[[rate_limit.window]]\nrate = \"1Mbps\"\n", `7: rate: rate "1Mbps" leaves open whether it means bits or bytes; want for example "200Mbit/s", "25MB/s" or "25MiB/s"; or "unlimited"`},
		{"compression by name", job + "compress = \"zstd\"\n", `12: compress = "zstd" is not known; want one of ["auto" "off"]`},
		{"text for true", job + "may_promote = \"yes\"\n", `12: may_promote is text; want true or false without quotes`},
		{"one table for many", "[accept]\nfrom = \"sin1\"\n", `6: accept is a table; want [[accept]] with two brackets`},
		{"text for a list", job + "replicate_to = \"sin1\"\n", `12: replicate_to is text; want an array of texts`},
		{"a number in a list", job + "replicate_to = [\n\"sin1\",\n7]\n", `14: replicate_to holds a whole number; want only texts`},
		{"missing peer of a job", job + "replicate_to = [\"sin2\"]\n", `12: job "db" replicates to "sin2", which is no [[peer]]; did you mean "sin1"?`},
		{"own name as a peer of a job", job + "replicate_to = [\"fra1\"]\n", `12: job "db" replicates to "fra1", which is this node`},
		{"a peer named twice by a job", job + "replicate_to = [\"sin1\", \"sin1\"]\n", `12: job "db" names peer "sin1" twice`},
		{"pulled by nobody", job + "pulled = true\n", `12: job "db" is pulled by nobody; want replicate_to`},
		{"pulled at times of its own", job + "pulled = true\nreplicate_to = [\"sin1\"]\nreplicate_every = \"2h\"\n", `12: job "db" is pulled, so that its targets say when; leave out replicate_every`},
		{"pulling too often", "[[accept]]\nfrom = \"sin1\"\ndriver = \"btrfs\"\ninto = \"/b\"\nkeep = { last = 1 }\npull_every = \"10s\"\n", `11: pull_every = "10s" is too often; want at least "1m"`},
		{"pulling by two clocks", "[[accept]]\nfrom = \"sin1\"\ndriver = \"btrfs\"\ninto = \"/b\"\nkeep = { last = 1 }\npull_every = \"1h\"\npull_cron = \"0 * * * *\"\n", `12: both pull_every and pull_cron are set`},
		{"pulling from nowhere", "[[peer]]\nname = \"silent\"\nkey = \"" + key("silent") + "\"\n[[accept]]\nfrom = \"silent\"\ndriver = \"btrfs\"\ninto = \"/b\"\nkeep = { last = 1 }\npull_every = \"1h\"\n", `9: accept pulls from "silent", which has no address`},
		{"forwarding what nobody accepts", onward + ams1, `10: job "onward" forwards what "sin1" sends, and no [[accept]] takes btrfs datasets from it`},
		{"forwarding what is accepted for another driver", strings.Replace(strings.Replace(onward, "btrfs", "zfs", 1), "/data/**", "tank/**", 1) + fromSin1, `10: job "onward" forwards what "sin1" sends, and no [[accept]] takes zfs datasets from it`},
		{"forwarding to where it came from", strings.Replace(onward, `["ams1"]`, `["sin1"]`, 1) + fromSin1, `11: job "onward" would send to "sin1" what came from there`},
		{"forwarding to nobody", strings.Replace(onward, `replicate_to = ["ams1"]`, ``, 1) + fromSin1, `10: job "onward" forwards to nobody; want replicate_to`},
		{"forwarding at times of its own", strings.Replace(onward, "forward", "every = \"1h\"\nforward", 1) + fromSin1, `10: job "onward" forwards points that sin1 made: it takes no snapshots and prunes none, so that every says nothing`},
		{"forwarding with retention", onward + "keep = { last = 1 }\n" + fromSin1, `12: job "onward" forwards points that sin1 made: it takes no snapshots and prunes none, so that keep says nothing`},
		{"forwarding that fences", onward + "may_promote = true\n" + fromSin1, `12: job "onward" forwards points that sin1 made`},
		{"forwarding onto what is sent there already", onward + fromSin1 + strings.Replace(job, "keep", "replicate_to = [\"ams1\"]\nkeep", 1), `23: jobs "db" and "onward" (FILE:6) both take`},
		{"a strip of the whole machine", strings.Replace(fromSin1, "keep", "strip = \"/\"\nkeep", 1), `10: strip: "/" is the whole machine`},
		{"a strip that climbs", strings.Replace(fromSin1, "keep", "strip = \"/data/../x\"\nkeep", 1), `10: strip:`},
		{"a strip for ZFS with a slash in front", "[[accept]]\nfrom = \"sin1\"\ndriver = \"zfs\"\ninto = \"tank/b\"\nstrip = \"/tank\"\nkeep = { last = 1 }\n", `10: strip:`},
		{"a strip for ZFS that is no name", "[[accept]]\nfrom = \"sin1\"\ndriver = \"zfs\"\ninto = \"tank/b\"\nstrip = \"tank/../b\"\nkeep = { last = 1 }\n", `10: strip:`},
		{"connections to nowhere", "[[peer]]\nname = \"silent\"\nkey = \"" + key("silent") + "\"\nreverse = true\n", `9: reverse keeps connections open to the peer, which has no address here`},
		{"an address of who takes no calls", "[listen]\naddress = \"none\"\nadvertise = \"fra1:8771\"\n", `8: advertise tells peers what to call, and address = "none" takes no calls`},
		{"missing peer of an accept", "[[accept]]\nfrom = \"sin9\"\ndriver = \"btrfs\"\ninto = \"/b\"\nkeep = { last = 1 }\n", `7: accept is from "sin9", which is no [[peer]]; did you mean "sin1"?`},
		{"one id for two jobs", job + strings.Replace(job, "/data/**", "/other", 1), `13: job "db" is there already (FILE:6)`},
		{"two jobs over one dataset", job + strings.Replace(strings.Replace(job, `"db"`, `"www"`, 1), "/data/**", "/data/www", 1), `15: jobs "www" and "db" (FILE:6) both take /data/www; leave it to one of them, for example with "!/data/www"`},
		{"every and cron", job + "cron = \"0 * * * *\"\n", `12: both every and cron are set; keep one`},
		{"bad cron", strings.Replace(job, `every = "1h"`, `cron = "61 * * * *"`, 1), `10: cron = "61 * * * *"`},
		{"empty cron", strings.Replace(job, `every = "1h"`, `cron = ""`, 1), `10: cron is empty`},
		{"jitter of a number", job + "jitter = 5\n", `12: jitter is a whole number; want text, such as jitter = "2m"`},
		{"jitter longer than every", job + "jitter = \"2h\"\n", `10: jitter = "2h" is longer than every = "1h"`},
		{"a window that is text", job + "window = \"22:00-06:00\"\n", `12: window is text; want a table`},
		{"a window that says nothing", job + "window = {}\n", `12: window says nothing; want for example`},
		{"a window of another day", job + "window = { days = \"mond\" }\n", `12: days: "mond" is no weekday`},
		{"a window at no time", job + "window = { from = \"25:00\" }\n", `12: from: "25:00" is no time of day`},
		{"a window with more", job + "window = { from = \"22:00\", until = \"06:00\" }\n", `12: unknown key "until" in job.window; known are days, from, to`},
		{"a window without time", job + "window = { from = \"22:00\", to = \"22:00\" }\n", `10: window begins and ends at 22:00`},
		{"a window that no run is in", strings.Replace(job, `every = "1h"`, "cron = \"30 12 * * *\"\nwindow = { from = \"22:00\", to = \"06:00\" }", 1), `10: cron 30 12 * * * never comes to pass within the window`},
		{"replication twice", job + "replicate_every = \"1h\"\nreplicate_cron = \"0 * * * *\"\n", `13: both replicate_every and replicate_cron are set; keep one`},
		{"replication at a bad time", job + "replicate_cron = \"61 * * * *\"\n", `12: replicate_cron = "61 * * * *"`},
		{"replication every few years", job + "replicate_every = \"700d\"\n", `12: replicate_every = "100w" is out of range`},
		{"a window of no replication", job + "replicate_window = { from = \"22:00\" }\n", `12: replicate_window means nothing without replicate_every or replicate_cron`},
		{"a window of replication without time", job + "replicate_every = \"1h\"\nreplicate_window = { from = \"22:00\", to = \"22:00\" }\n", `12: replicate_window begins and ends at 22:00`},
		{"jitter longer than the time between two replications", job + "replicate_every = \"1m\"\njitter = \"2m\"\n", `12: jitter = "2m" is longer than replicate_every = "1m"`},
		{"jitter of nothing", strings.Replace(job, `every = "1h"`, `jitter = "1m"`, 1), `10: jitter means nothing without every, cron, replicate_every or replicate_cron`},
		{"a window of nothing", strings.Replace(job, `every = "1h"`, `window = { from = "22:00" }`, 1), `10: window means nothing without every or cron`},
		{"a window of no pulls", "[[accept]]\nfrom = \"sin1\"\ndriver = \"btrfs\"\ninto = \"/b\"\nkeep = { last = 1 }\npull_window = { from = \"22:00\" }\n", `11: pull_window means nothing without pull_every or pull_cron`},
		{"a hook for a shell", job + "[job.hooks]\nbefore = \"/bin/quiet db\"\n", `13: before is text; want an array of texts`},
		{"a hook of no place", job + "[job.hooks]\nafter = [\"loud\"]\n", `13: after starts with "loud", which is no absolute path`},
		{"an empty hook", job + "[job.hooks]\nbefore = []\nafter = [\"/bin/loud\"]\n", `13: before is empty`},
		{"hooks that are none", job + "[job.hooks]\ntimeout = \"5s\"\n", `12: hooks has neither before nor after`},
		{"a hook of hours", job + "[job.hooks]\nafter = [\"/bin/loud\"]\ntimeout = \"3h\"\n", `14: timeout is longer than an hour`},
		{"a hook that fails otherwise", job + "[job.hooks]\nafter = [\"/bin/loud\"]\non_fail = \"ignore\"\n", `14: on_fail = "ignore" is not known; want one of ["skip" "continue"]`},
		{"an unknown hook", job + "[job.hooks]\npre = [\"/bin/quiet\"]\nafter = [\"/bin/loud\"]\n", `13: unknown key "pre" in job.hooks`},
		{"bad zone", job + "timezone = \"Berlin\"\n", `12: timezone: "Berlin" is not a time zone; want a name such as "Europe/Berlin"`},
		{"zone from outside", job + "timezone = \"../../etc/passwd\"\n", `12: timezone: "../../etc/passwd" is not a time zone`},
		{"bad address", "[[peer]]\nname = \"x\"\naddress = \"x.example.net\"\nkey = \"" + key("x") + "\"\n", `8: address: "x.example.net" is not an address; want host:port`},
		{"port out of range", "[listen]\naddress = \":99999\"\n", `7: address: ":99999" has no port between 1 and 65535`},
		{"bad key", "[[peer]]\nname = \"x\"\nkey = \"ap1:abc\"\n", `8: key: not a key fingerprint`},
		{"no key", "[[peer]]\nname = \"x\"\n", `6: key is missing in peer`},
		{"one key for two peers", "[[peer]]\nname = \"x\"\nkey = \"" + key("sin1") + "\"\n", `8: peer "x" has the key of peer "sin1" (FILE:2)`},
		{"one name for two peers", "[[peer]]\nname = \"sin1\"\nkey = \"" + key("x") + "\"\n", `7: peer "sin1" is there already (FILE:2)`},
		{"own name as a peer", "[[peer]]\nname = \"fra1\"\nkey = \"" + key("x") + "\"\n", `7: peer "fra1" has the name of this node`},
		{"bad id", strings.Replace(job, `"db"`, `"My_DB"`, 1), `7: id: "My_DB" is no name here; want 1 to 32 characters`},
		{"unknown driver", strings.Replace(job, `"btrfs"`, `"ext4"`, 1), `8: driver: "ext4" is not known; want "btrfs" or "zfs"`},
		{"relative dataset", strings.Replace(job, `/data/**`, `data/db`, 1), `9: dataset "data/db" is relative`},
		{"no dataset", strings.Replace(job, `"/data/**"`, `"!/data"`, 1), `9: datasets selects nothing`},
		{"no datasets", strings.Replace(job, `datasets = ["/data/**"]`, ``, 1), `6: datasets selects nothing`},
		{"a pattern that is none", strings.Replace(job, `/data/**`, `/data/*.db`, 1), `9: pattern "/data/*.db" holds "*" where it means nothing`},
		{"negative keep", strings.Replace(job, "last = 1", "last = -1", 1), `11: last = -1 is out of range; want 0 to 100000`},
		{"all and only the newest", job + "initial = \"all\"\nintermediates = false\n", `13: intermediates = false sends only the newest, and initial = "all"`},
		{"no pattern of snapshots", job + "include = [\"auto-*\", \"tank/db@x\"]\n", `12: include: "tank/db@x" is no pattern of snapshots`},
		{"unknown initial", job + "initial = \"newest\"\n", `12: initial = "newest" is not known; want one of ["latest" "all" "fail"]`},
		{"relative alert", "[alert]\nexec = [\"tell-me\"]\n", `7: exec starts with "tell-me", which is no absolute path`},
		{"empty alert", "[alert]\nexec = []\n", `7: exec is empty`},
		{"alert that may take days", "[alert]\ntimeout = \"3d\"\n", `7: timeout is longer than an hour`},
		{"other congestion", "[transport]\ncongestion = \"vegas\"\n", `7: congestion = "vegas" is not known; want one of ["auto" "bbr" "cubic"]`},
		{"no lanes", "[transport]\nlanes = 0\n", `7: lanes = 0 is out of range; want 1 to 64`},
		{"a window of the size of a disk", "[transport]\nwindow = \"1TB\"\n", `7: window = 1000000000000 bytes is out of range; want "1MiB" to "1GiB"`},
		{"relative into", "[[accept]]\nfrom = \"sin1\"\ndriver = \"btrfs\"\ninto = \"backup\"\n", `9: into: dataset "backup" is relative`},
		{"into is everything", "[[accept]]\nfrom = \"sin1\"\ndriver = \"btrfs\"\ninto = \"/\"\n", `9: into: "/" is the whole machine`},
		{"into is not clean", "[[accept]]\nfrom = \"sin1\"\ndriver = \"btrfs\"\ninto = \"/b/../etc\"\n", `9: into: dataset path "/b/../etc" is not clean`},
		{"into inside a job's datasets", job + "[[accept]]\nfrom = \"sin1\"\ndriver = \"btrfs\"\ninto = \"/data/in\"\n", `15: into = "/data/in" lies in the datasets of job "db" (FILE:6)`},
		{"unknown encryption", strings.NewReplacer(`"btrfs"`, `"zfs"`, `"/data/**"`, `"tank/**"`).Replace(job) + "encryption = \"on\"\n", `12: encryption: "on" is not known; want "raw" or "plain"`},
		{"compressed data on zfs", strings.NewReplacer(`"btrfs"`, `"zfs"`, `"/data/**"`, `"tank/**"`).Replace(job) + "compressed_data = true\n", `12: compressed_data is for driver = "btrfs"`},
		{"encryption on btrfs", job + "encryption = \"raw\"\n", `12: encryption is for driver = "zfs"`},
		{"unknown permission", "[[accept]]\nfrom = \"sin1\"\ndriver = \"btrfs\"\ninto = \"/b\"\nallow = [\"device\"]\n", `10: allow = "device" is not known; want "devices"`},
		{"share of more than all", "[[accept]]\nfrom = \"sin1\"\ndriver = \"btrfs\"\ninto = \"/b\"\nmin_free = \"120%\"\n", `10: min_free: amount "120%" is not between 0% and 100%`},
		{
			"accepts inside each other", "[[accept]]\nfrom = \"sin1\"\ndriver = \"btrfs\"\ninto = \"/b\"\n[[peer]]\nname = \"x\"\nkey = \"" + key("x") + "\"\n[[accept]]\nfrom = \"x\"\ndriver = \"btrfs\"\ninto = \"/b/x\"\n",
			`16: into = "/b/x" and into = "/b" (FILE:6) lie inside each other`,
		},
		{
			"live inside another's into", "[[accept]]\nfrom = \"sin1\"\ndriver = \"btrfs\"\ninto = \"/b\"\n[[peer]]\nname = \"x\"\nkey = \"" + key("x") + "\"\n[[accept]]\nfrom = \"x\"\ndriver = \"btrfs\"\ninto = \"/x\"\nlive = \"/b/live\"\n",
			`17: live = "/b/live" and into = "/b" (FILE:6) lie inside each other`,
		},
		{
			"two accepts of one peer", "[[accept]]\nfrom = \"sin1\"\ndriver = \"btrfs\"\ninto = \"/b\"\n[[accept]]\nfrom = \"sin1\"\ndriver = \"btrfs\"\ninto = \"/c\"\n",
			`11: accept from "sin1" with driver "btrfs" is there already (FILE:6)`,
		},
		{
			"all at once, in order", "[log]\nlevel = \"loud\"\n[transport]\nlanes = 1000\n[[job]]\n",
			"7: level = \"loud\"\n9: lanes = 1000\n10: id is missing in job\n10: driver is missing in job\n10: datasets selects nothing",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := put(t, "antipode.toml", with(c.more))
			got, err := config.Load(path)
			expectProblems(t, path, got, err, c.want)
		})
	}
}

// expectProblems compares each line of the error with the beginning of what is
// wanted. FILE stands for the path.
func expectProblems(t *testing.T, path string, c *config.Config, err error, want string) {
	t.Helper()
	if err == nil || c != nil {
		t.Fatalf("got a configuration and error %v, want %q", err, want)
	}
	var bad *config.Error
	if !errors.As(err, &bad) {
		t.Fatalf("got %T, want *config.Error", err)
	}
	got := strings.Split(strings.ReplaceAll(err.Error(), path, "FILE"), "\n")
	lines := strings.Split(want, "\n")
	if len(got) != len(lines) {
		t.Fatalf("got %d problems\n%s\nwant %d\n%s", len(got), strings.Join(got, "\n"), len(lines), want)
	}
	for i, line := range lines {
		if !strings.HasPrefix(got[i], "FILE:"+line) {
			t.Errorf("got  %s\nwant FILE:%s", got[i], line)
		}
	}
}

func TestRootKeysRefused(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"no node", "", `: node is missing; want for example node = "fra1"`},
		{"bad node", "node = \"Fra 1\"\n", `:1: node: "Fra 1" is no name here`},
		{"relative state", "node = \"a\"\nstate_dir = \"var\"\n", `:2: state_dir: "var" is not a clean absolute path`},
		{"long socket", "node = \"a\"\ncontrol_socket = \"/" + strings.Repeat("x", 120) + "\"\n", `:2: control_socket has 121 bytes`},
		{"rate", "node = \"a\"\n\nrate_limit = \"5\"\n", `:3: rate_limit: rate "5" has no unit`},
		{"not UTF-8", "node = \"\xff\"\n", `:1: not TOML`},
		{"the peers as one table", "node = \"a\"\npeer = 3\n", `:2: peer is a whole number; want [[peer]]`},
		{"a list of numbers as jobs", "node = \"a\"\njob = [\n1]\n", `:3: job holds a whole number; want [[job]] sections`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := config.Parse("FILE", c.text)
			if err == nil || !strings.HasPrefix(err.Error(), "FILE"+c.want) {
				t.Errorf("got %v, want FILE%s", err, c.want)
			}
		})
	}
}

// TestAllowed is what looks wrong and is not.
func TestAllowed(t *testing.T) {
	for _, c := range []struct{ name, more string }{
		{"one into for each driver", "[[accept]]\nfrom = \"sin1\"\ndriver = \"btrfs\"\ninto = \"/b\"\n[[accept]]\nfrom = \"sin1\"\ndriver = \"zfs\"\ninto = \"tank/b\"\n"},
		{"into left out of a job", strings.Replace(job, `["/data/**"]`, `["/data/**", "!/data/in", "!/data/in/**"]`, 1) + "[[accept]]\nfrom = \"sin1\"\ndriver = \"btrfs\"\ninto = \"/data/in\"\n"},
		{"a job that leaves to another what it takes", strings.Replace(job, `["/data/**"]`, `["/data/**", "!/data/a"]`, 1) + strings.Replace(strings.Replace(job, `/data/**`, `/data/a`, 1), `"db"`, `"a"`, 1)},
		{"a chain of ZFS datasets", strings.Replace(strings.Replace(onward, "btrfs", "zfs", 1), "/data/**", "tank/**", 1) +
			strings.Replace(strings.Replace(fromSin1, "btrfs", "zfs", 1), `"/b"`, `"backup/b"`, 1)},
		{"every host may be listened to", "[listen]\naddress = \":8771\"\n"},
		{"an IPv6 peer", "[[peer]]\nname = \"six\"\naddress = \"[2001:db8::1]:8771\"\nkey = \"" + key("six") + "\"\n"},
		{"a job that replicates back what went live", strings.Replace(job, "/data/**", "/srv/live/db", 1) + "[[accept]]\nfrom = \"sin1\"\ndriver = \"btrfs\"\ninto = \"/b\"\nlive = \"/srv/live\"\n"},
		{"names with spaces and dashes", strings.Replace(job, `"/data/**"`, `"/data/with space", "/data/-dash", "/data/ünï"`, 1)},
		{"jitter of what is forwarded", onward + "replicate_every = \"1h\"\njitter = \"1m\"\n" + fromSin1},
		{"inline tables for sections", "job = [{id = \"x\", driver = \"btrfs\", datasets = [\"/x\"], every = \"1h\", keep = {last = 1}}]\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := with(c.more)
			if strings.HasPrefix(c.more, "job =") {
				text = c.more + with("")
			}
			if _, err := config.Parse("FILE", text); err != nil {
				t.Errorf("got %v, want no error", err)
			}
		})
	}
}

func TestWarnings(t *testing.T) {
	for _, c := range []struct{ name, more, want string }{
		{"rpo shorter than every", job + "replicate_to = [\"sin1\"]\nrpo = \"30m\"\n", `FILE:13: job "db" has rpo = "30m", which every = "1h" cannot keep`},
		{"rpo without a target", job + "rpo = \"30h\"\n", `FILE:12: job "db" has an rpo and no replicate_to`},
		{"rpo shorter than a day of cron", strings.Replace(job, "every = \"1h\"", "cron = \"0 3 * * *\"\nreplicate_to = [\"sin1\"]\nrpo = \"1h\"", 1), `FILE:12: job "db" has rpo = "1h", which cron = "0 3 * * *" cannot keep: 1d may pass between two runs`},
		{"rpo shorter than a day without a window", job + "window = { from = \"22:00\", to = \"06:00\" }\nreplicate_to = [\"sin1\"]\nrpo = \"2h\"\n", `FILE:14: job "db" has rpo = "2h", which every = "1h" within its window cannot keep: 17h may pass`},
		{"rpo shorter than replicate_every", job + "replicate_every = \"1d\"\nreplicate_to = [\"sin1\"]\nrpo = \"2h\"\n", `FILE:14: job "db" has rpo = "2h", which replicate_every = "1d" cannot keep`},
		{"rpo shorter than pull_every", strings.Replace(fromSin1, "keep", "rpo = \"1h\"\npull_every = \"1d\"\nkeep", 1), `FILE:10: accept from "sin1" has rpo = "1h", which pull_every = "1d" cannot keep`},
		{"rate without a target", job + "rate_limit = \"1MB/s\"\n", `FILE:12: job "db" has rate_limit and no replicate_to`},
		{"times of replication without a target", job + "replicate_cron = \"0 * * * *\"\n", `FILE:12: job "db" has replicate_cron and no replicate_to`},
		{"initial without a target", job + "initial = \"all\"\n", `FILE:12: job "db" has initial and no replicate_to`},
		{"backlog without a target", job + "backlog = 5\n", `FILE:12: job "db" has backlog and no replicate_to: it sends nothing, so that backlog says nothing`},
		{"compress without a target", job + "compress = \"off\"\n", `FILE:12: job "db" has compress and no replicate_to`},
		{"may_promote without a target", job + "may_promote = true\n", `FILE:12: job "db" has may_promote and no replicate_to`},
		{"no schedule", strings.Replace(job, "every = \"1h\"\n", "", 1), `FILE:6: job "db" has neither every nor cron`},
		{"no keep", strings.Replace(job, "keep = { last = 1 }\n", "", 1), `FILE:6: job "db" has no keep`},
		{"no keep of an accept", "[[accept]]\nfrom = \"sin1\"\ndriver = \"btrfs\"\ninto = \"/b\"\n", `FILE:6: accept from "sin1" has no keep`},
		{"a keep of zeros", strings.Replace(job, "keep = { last = 1 }", "keep = { last = 0, hourly = 0 }", 1), `FILE:11: job "db" has a keep without any count or age above zero, which does not mean to keep nothing`},
		{"a keep of zeros of an accept", "[[accept]]\nfrom = \"sin1\"\ndriver = \"btrfs\"\ninto = \"/b\"\nkeep = { daily = 0 }\n", `FILE:10: accept from "sin1" has a keep without any count`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := config.Parse("FILE", with(c.more))
			if err != nil {
				t.Fatal(err)
			}
			if len(got.Warnings) != 1 || !strings.HasPrefix(got.Warnings[0].String(), c.want) {
				t.Errorf("got %v, want %q", got.Warnings, c.want)
			}
		})
	}
}

func TestFilesRefused(t *testing.T) {
	chmod := func(mode os.FileMode) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
		}
	}
	peersFile := func(path string) string { return filepath.Join(config.PeersPath(path), "syd1.toml") }
	for _, c := range []struct {
		name string
		do   func(t *testing.T, path string)
		want string
	}{
		{"not there", func(_ *testing.T, path string) { os.Remove(path) }, "does not exist; start from config.example.toml"},
		{"written by the group", chmod(0o660), "can be written by others (mode 0660); want `chmod go-w"},
		{"written by all", chmod(0o602), "can be written by others (mode 0602)"},
		{"a directory", func(_ *testing.T, path string) { os.Remove(path); os.Mkdir(path, 0o700) }, "is no regular file"},
		{"a fifo", func(_ *testing.T, path string) { os.Remove(path); syscall.Mkfifo(path, 0o600) }, "is no regular file"},
		{"huge", func(t *testing.T, path string) {
			if err := os.Truncate(path, config.MaxFileBytes+1); err != nil {
				t.Fatal(err)
			}
		}, "want at most 1048576"},
		{"a paired peer that others write", func(t *testing.T, path string) { chmod(0o666)(t, peersFile(path)) }, "peers.d/syd1.toml: can be written by others"},
		{"a directory of peers that others write", func(t *testing.T, path string) { chmod(0o777)(t, config.PeersPath(path)) }, "peers.d: can be written by others"},
		{"a paired peer with more in its file", func(t *testing.T, path string) {
			os.WriteFile(peersFile(path), []byte("[[job]]\nid = \"x\"\n"), 0o600)
		}, `peers.d/syd1.toml:1: unknown key "job"`},
		{"a paired peer with another key", func(t *testing.T, path string) {
			os.WriteFile(peersFile(path), []byte("[[peer]]\nname = \"sin1\"\nkey = \""+key("other")+"\"\n"), 0o600)
		}, `peers.d/syd1.toml:2: peer "sin1" is there already`},
		{"both files wrong", func(t *testing.T, path string) {
			os.WriteFile(path, []byte("node = 1\n["), 0o600)
			os.WriteFile(peersFile(path), []byte("["), 0o600)
		}, "peers.d/syd1.toml:1: not TOML"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := put(t, "antipode.toml", with(""), "peers.d/syd1.toml", "[[peer]]\nname = \"syd1\"\nkey = \""+key("syd1")+"\"\n")
			c.do(t, path)
			got, err := config.Load(path)
			if err == nil || got != nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
		})
	}
}

func TestPairedPeers(t *testing.T) {
	path := put(t, "antipode.toml", with(""),
		"peers.d/syd1.toml", "[[peer]]\nname = \"syd1\"\naddress = \"syd1:8771\"\nkey = \""+key("syd1")+"\"\n",
		"peers.d/sin1.toml", "[[peer]]\nname = \"sin1\"\naddress = \"elsewhere:1\"\nkey = \""+key("sin1")+"\"\n",
		"peers.d/.new.toml.123", "half of", "peers.d/notes.txt", "not ours")
	c, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if p, ok := c.Peer("syd1"); !ok || p.Address != "syd1:8771" {
		t.Errorf("got %+v, want the paired peer", p)
	}
	if p, _ := c.Peer("sin1"); p.Address != "sin1.example.net:8771" {
		t.Errorf("got %+v, want the operator's own entry", p)
	}
	if len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0].String(), `sin1.toml:2: peer "sin1" stands in `) {
		t.Errorf("warnings: got %v, want one about sin1", c.Warnings)
	}
}

func TestWritePeer(t *testing.T) {
	path := put(t, "antipode.toml", with(""))
	dir := config.PeersPath(path)
	p := policy.Peer{Name: "syd1", Address: "syd1.example.net:8771", Key: key("syd1")}
	write := func(p policy.Peer) error { t.Helper(); return config.WritePeer(dir, p) }
	for range 2 { // again is no change
		if err := write(p); err != nil {
			t.Fatal(err)
		}
	}
	moved := p
	moved.Address, moved.Key = "new.example.net:1", " "+strings.ToUpper(p.Key)
	if err := write(moved); err != nil {
		t.Fatalf("the same key at another address: %v", err)
	}
	c, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := c.Peer("syd1"); got.Address != "new.example.net:1" || got.Key != p.Key {
		t.Errorf("got %+v, want the new address and the key", got)
	}

	other := p
	other.Key = key("somebody else")
	var pinned *config.PinnedError
	if err := write(other); !errors.As(err, &pinned) || pinned.Known != p.Key || pinned.New != other.Key {
		t.Errorf("another key: got %v, want *PinnedError", err)
	}
	if c, err = config.Load(path); err != nil || c.Peers[1].Key != p.Key {
		t.Errorf("after a refusal: got %v, %v; want the old key", c, err)
	}
	names, err := os.ReadDir(dir)
	if err != nil || len(names) != 1 {
		t.Errorf("got %v, %v; want one file and nothing temporary", names, err)
	}
}

func TestWritePeerRefuses(t *testing.T) {
	good := policy.Peer{Name: "syd1", Address: "syd1:8771", Key: key("syd1")}
	for _, c := range []struct {
		name string
		bend func(*policy.Peer)
		want string
	}{
		{"a name that leaves the directory", func(p *policy.Peer) { p.Name = "../x" }, "name:"},
		{"no name", func(p *policy.Peer) { p.Name = "" }, "name:"},
		{"no key", func(p *policy.Peer) { p.Key = "" }, "key of syd1:"},
		{"an address that is text", func(p *policy.Peer) { p.Address = "x\"\n[[job]]" }, "address of syd1:"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := good
			c.bend(&p)
			dir := filepath.Join(t.TempDir(), "peers.d")
			if err := config.WritePeer(dir, p); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
			if _, err := os.Stat(dir); err == nil {
				t.Error("something was written")
			}
		})
	}
	t.Run("what is there is not understood", func(t *testing.T) {
		path := put(t, "syd1.toml", "half a fi")
		if err := config.WritePeer(filepath.Dir(path), good); err == nil || !strings.Contains(err.Error(), "not replaced") {
			t.Errorf("got %v, want it not replaced", err)
		}
	})
}
