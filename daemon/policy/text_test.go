package policy_test

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"antipode/daemon/policy"
)

// says checks an error: want is part of its text, "" for no error.
func says(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("got error %v, want none", err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("got error %v, want %q in it", err, want)
	}
}

func TestParseDuration(t *testing.T) {
	for _, c := range []struct {
		in, says string
		want     time.Duration
	}{
		{"90m", "", 90 * time.Minute},
		{"7d", "", 7 * policy.Day},
		{"1w", "", policy.Week},
		{"1h30m", "", 90 * time.Minute},
		{"1w2d3h", "", policy.Week + 2*policy.Day + 3*time.Hour},
		{"1.5d", "", 36 * time.Hour},
		{"10s", "", 10 * time.Second},
		{"250ms", "", 250 * time.Millisecond},
		{"", "empty", 0},
		{"90", "has no unit", 0},
		{"0s", "zero", 0},
		{"0d", "zero", 0},
		{"-5m", "sign", 0},
		{"5 m", "want for example", 0},
		{"5y", "want for example", 0},
		{"1mo", "want for example", 0},
		{"5dw", "want for example", 0},
		{"d", "want for example", 0},
		{"1..5d", "is not a number", 0},
		{"101w52000d", "longer than 100 years", 0},
		{"99999999999999999999w", "longer than 100 years", 0},
		{"NaNd", "want for example", 0},
	} {
		t.Run(c.in, func(t *testing.T) {
			got, err := policy.ParseDuration(c.in)
			says(t, err, c.says)
			if got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestDurationsSurviveTheirText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(1, int64(policy.MaxDuration)).Draw(t, "d"))
		text := policy.FormatDuration(d)
		if got, err := policy.ParseDuration(text); err != nil || got != d {
			t.Fatalf("%v written as %q is read as %v, %v", d, text, got, err)
		}
	})
	for d, want := range map[time.Duration]string{
		0: "0s", 90 * time.Minute: "1h30m", policy.Week: "1w", 36 * time.Hour: "1d12h", -time.Hour: "-1h",
	} {
		if got := policy.FormatDuration(d); got != want {
			t.Errorf("FormatDuration(%v): got %q, want %q", d, got, want)
		}
	}
}

func TestParseRate(t *testing.T) {
	for _, c := range []struct {
		in, says string
		want     policy.Rate
	}{
		{"200Mbit/s", "", 25_000_000},
		{"1Gbit/s", "", 125_000_000},
		{"1.5Gbit/s", "", 187_500_000},
		{"25MB/s", "", 25_000_000},
		{"25MiB/s", "", 25 << 20},
		{"25 MiB/s", "", 25 << 20},
		{"8000bit/s", "", 1000},
		{"512Kibit/s", "", 65536},
		{"", "want for example", 0},
		{"200", "has no unit", 0},
		{"200Mbit", `lacks "/s"`, 0},
		{"25MB", `lacks "/s"`, 0},
		{"200Mbps", "bits or bytes", 0},
		{"200Mb/s", "bits or bytes", 0},
		{"200mbit/s", "want for example", 0},
		{"200KB/s", `"KB/s" is not a unit`, 0},
		{"5%/s", "want for example", 0},
		{"-5MB/s", "does not start with a number", 0},
		{"0Mbit/s", "below 1kB/s", 0},
		{"900B/s", "below 1kB/s", 0},
		{"99999PB/s", "larger than any link", 0},
		{"1e3MB/s", "does not start with a number", 0},
		{"MB/s", "does not start with a number", 0},
	} {
		t.Run(c.in, func(t *testing.T) {
			got, err := policy.ParseRate(c.in)
			says(t, err, c.says)
			if got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
}

func TestRatesAndAmountsSurviveTheirText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(int64(policy.MinRate), 1<<50).Draw(t, "n")
		r := policy.Rate(n)
		if got, err := policy.ParseRate(r.String()); err != nil || got != r {
			t.Fatalf("%d written as %q is read as %d, %v", r, r, got, err)
		}
		a := policy.Amount{Bytes: n}
		if rapid.Bool().Draw(t, "share") {
			a = policy.Amount{Percent: float64(n%9999+1) / 100}
		}
		if got, err := policy.ParseAmount(a.String()); err != nil || got != a {
			t.Fatalf("%v written as %q is read as %v, %v", a, a, got, err)
		}
	})
	for r, want := range map[policy.Rate]string{
		0: "unlimited", 25_000_000: "200Mbit/s", 125_000_000: "1Gbit/s", 25 << 20: "25MiB/s", 1001: "1001B/s",
	} {
		if got := r.String(); got != want {
			t.Errorf("Rate(%d): got %q, want %q", int64(r), got, want)
		}
	}
}

func TestParseAmount(t *testing.T) {
	for _, c := range []struct {
		in, says string
		want     policy.Amount
		of1000   int64
	}{
		{"5%", "", policy.Amount{Percent: 5}, 50},
		{"0.5%", "", policy.Amount{Percent: .5}, 5},
		{"10GiB", "", policy.Amount{Bytes: 10 << 30}, 10 << 30},
		{"500GB", "", policy.Amount{Bytes: 500e9}, 500e9},
		{"1B", "", policy.Amount{Bytes: 1}, 1},
		{"0%", "between 0% and 100%", policy.Amount{}, 0},
		{"100%", "between 0% and 100%", policy.Amount{}, 0},
		{"-5%", "number of per cent", policy.Amount{}, 0},
		{"%", "number of per cent", policy.Amount{}, 0},
		{"10", "neither a share nor a size", policy.Amount{}, 0},
		{"10G", "neither a share nor a size", policy.Amount{}, 0},
		{"0GB", "neither a share nor a size", policy.Amount{}, 0},
		{"99999PiB", "neither a share nor a size", policy.Amount{}, 0},
	} {
		t.Run(c.in, func(t *testing.T) {
			got, err := policy.ParseAmount(c.in)
			says(t, err, c.says)
			if got != c.want || got.Of(1000) != c.of1000 {
				t.Errorf("got %+v (%d of 1000), want %+v (%d)", got, got.Of(1000), c.want, c.of1000)
			}
		})
	}
}

func TestKeep(t *testing.T) {
	for _, c := range []struct {
		name string
		keep policy.Keep
		text string
		says string
	}{
		{"nothing said", policy.Keep{}, "everything", ""},
		{"some", policy.Keep{Last: 4, Hourly: 48, Within: 7 * policy.Day}, "last 4, hourly 48, within 1w", ""},
		{"negative", policy.Keep{Daily: -1}, "daily -1", "keep.daily = -1"},
		{"too many", policy.Keep{Yearly: policy.MaxKeep + 1}, "yearly 100001", "out of range"},
		{"within negative", policy.Keep{Within: -time.Hour}, "within -1h", "keep.within"},
	} {
		t.Run(c.name, func(t *testing.T) {
			says(t, c.keep.Validate(), c.says)
			if got := c.keep.String(); got != c.text {
				t.Errorf("got %q, want %q", got, c.text)
			}
			if got, want := c.keep.IsZero(), c.name == "nothing said"; got != want {
				t.Errorf("IsZero: got %v, want %v", got, want)
			}
		})
	}
}

func TestSnapshotNames(t *testing.T) {
	at := time.Date(2026, 1, 2, 15, 4, 5, 999, time.FixedZone("", 3600))
	const want = "antipode_db_20260102T140405Z"
	if got := policy.SnapshotName("db", at); got != want {
		t.Fatalf("got %q, want %q", got, want)
	}
	job, back, ok := policy.ParseSnapshotName(want)
	if !ok || job != "db" || !back.Equal(at.Truncate(time.Second)) {
		t.Errorf("got %q, %v, %v; want db and the same second", job, back, ok)
	}
	for _, name := range []string{
		"", "antipode_", "antipode_db", "antipode_db_", "antipode__20260102T140405Z", "db_20260102T140405Z",
		"antipode_d b_20260102T140405Z", "antipode_db_20261302T140405Z", "antipode_db_20260102T140405",
		"antipode_db_20260102T140405Z ", "antipode_db_20260102T140405.5Z", "antipode_a_b_20260102T140405Z", "autosnap_2026",
	} {
		if job, at, ok := policy.ParseSnapshotName(name); ok {
			t.Errorf("%q: got %q at %v, want it not ours", name, job, at)
		}
	}
}

func TestParseID(t *testing.T) {
	for in, want := range map[string]string{
		"db": "", "fra1": "", "a-b": "", strings.Repeat("x", 32): "",
		"": "want 1 to 32", "DB": "want", "a_b": "want", "-a": "want", "a.b": "want", "a/b": "want", "é": "want", strings.Repeat("x", 33): "want",
	} {
		_, err := policy.ParseID(in)
		t.Run(in, func(t *testing.T) { says(t, err, want) })
	}
}

func TestSnapshotTimesRise(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(s), 0).UTC() }
	for _, c := range []struct {
		name              string
		now, newest, want time.Time
	}{
		{"the first", at(100).Add(5 * time.Millisecond), time.Time{}, at(100)},
		{"the clock has gone on", at(100), at(90), at(100)},
		{"within the same second", at(100).Add(900 * time.Millisecond), at(100), at(101)},
		{"the clock went back a year", at(100), at(100 + 365*86400), at(101 + 365*86400)},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := policy.SnapshotTime(c.now, c.newest); !got.Equal(c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func FuzzParsers(f *testing.F) {
	for _, s := range []string{"90m", "1w2d", "200Mbit/s", "25MiB/s", "5%", "10GiB", "0 * * * *", "*/5 0 2 * * 1-5", "/data/**", "!tank/x", "antipode_db_20260102T150405Z", "0 0 29 2 *", "TZ=0", "@every 1s"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d, err := policy.ParseDuration(s); err == nil && (d <= 0 || d > policy.MaxDuration) {
			t.Errorf("duration %q: got %v", s, d)
		}
		if r, err := policy.ParseRate(s); err == nil && r < policy.MinRate {
			t.Errorf("rate %q: got %d", s, int64(r))
		}
		if a, err := policy.ParseAmount(s); err == nil && (a.IsZero() || a.Bytes < 0 || a.Percent < 0 || a.Percent >= 100) {
			t.Errorf("amount %q: got %+v", s, a)
		}
		if p, err := policy.ParsePattern(s); err == nil {
			if again, err := policy.ParsePattern(p.String()); err != nil || again != p {
				t.Errorf("pattern %q: %+v is read back as %+v, %v", s, p, again, err)
			}
		}
		if job, at, ok := policy.ParseSnapshotName(s); ok && policy.SnapshotName(job, at) != s {
			t.Errorf("name %q: got %q and %v", s, job, at)
		}
		schedule := policy.Schedule{Cron: s}
		if schedule.Validate("", nil) != nil || schedule.IsZero() {
			return
		}
		now := time.Unix(1_774_000_000, 0)
		next, previous := schedule.Next(now, nil), schedule.Previous(now, nil)
		if !next.IsZero() && !next.After(now) || previous.After(now) {
			t.Errorf("cron %q: next %v, previous %v of %v", s, next, previous, now)
		}
	})
}
