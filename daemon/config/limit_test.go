package config_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"antipode/daemon/config"
	"antipode/daemon/policy"
)

func TestRateLimits(t *testing.T) {
	berlin, tokyo := zone(t, "Europe/Berlin"), zone(t, "Asia/Tokyo")
	night := policy.Window{From: 22 * 60, To: 6 * 60}
	for _, c := range []struct {
		name, root, job string
		host, own       policy.Timetable
	}{
		{name: "none"},
		{
			name: "text", root: "rate_limit = \"1MB/s\"\n", job: "rate_limit = \"1kB/s\"\n",
			host: policy.Timetable{Base: 1_000_000}, own: policy.Timetable{Base: 1000},
		},
		{
			name: "tables", root: "rate_limit = { rate = \"unlimited\", window = [{ days = \"sat,sun\", rate = \"1MB/s\" }] }\n",
			job:  "timezone = \"Asia/Tokyo\"\n[job.rate_limit]\nrate = \"1kB/s\"\n[[job.rate_limit.window]]\nfrom = \"22:00\"\nto = \"06:00\"\nrate = \"unlimited\"\n",
			host: policy.Timetable{Location: time.UTC, Windows: []policy.Window{{Days: 0b1000001, To: policy.DayEnd, Rate: 1_000_000}}},
			own:  policy.Timetable{Base: 1000, Location: tokyo, Windows: []policy.Window{night}},
		},
		{
			name: "a zone of its own", job: "timezone = \"Asia/Tokyo\"\n[job.rate_limit]\ntimezone = \"Europe/Berlin\"\n[[job.rate_limit.window]]\nfrom = \"22:00\"\nto = \"06:00\"\nrate = \"unlimited\"\n",
			own: policy.Timetable{Location: berlin, Windows: []policy.Window{night}},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := c.root + strings.Replace(two, "KEY", key("sin1"), 1) + job + "replicate_to = [\"sin1\"]\n" + c.job
			got, err := config.Parse("antipode.toml", text)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got.RateLimit, c.host) || !reflect.DeepEqual(got.Jobs[0].Rate, c.own) {
				t.Errorf("got %+v and %+v, want %+v and %+v", got.RateLimit, got.Jobs[0].Rate, c.host, c.own)
			}
		})
	}
}
