package prune

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"antipode/daemon/policy"
	"antipode/fsdrivers/dataset"
)

// drawInput makes a dataset with any of everything, on either side.
func drawInput(t *rapid.T) Input {
	in := Input{
		Side:     rapid.SampledFrom([]Side{Source, Target}).Draw(t, "side"),
		Keep:     drawKeep(t),
		Location: drawLocation(t),
		Protect:  time.Duration(rapid.IntRange(0, 72).Draw(t, "protect")) * time.Hour,
	}
	in.Keep.Last = rapid.IntRange(0, 3).Draw(t, "last")
	r, at := &replica{}, start
	for range rapid.IntRange(1, 40).Draw(t, "points") {
		at = at.Add(time.Duration(rapid.IntRange(1, 20*60).Draw(t, "gap")) * time.Minute)
		r.receive(at.Add(time.Duration(rapid.IntRange(-600, 600).Draw(t, "skew"))*time.Minute), at)
	}
	in.Points, in.Now = r.points, at.Add(time.Duration(rapid.IntRange(0, 3000).Draw(t, "since"))*time.Minute)
	drawNeeds(t, &in)
	return in
}

// drawNeeds draws what has to outlive the policy.
func drawNeeds(t *rapid.T, in *Input) {
	some := rapid.SampledFrom(in.Points)
	for range rapid.IntRange(0, 3).Draw(t, "in flight") {
		in.InFlight = append(in.InFlight, some.Draw(t, "end").ID)
	}
	for _, name := range []string{"sin1", "gru1"}[:rapid.IntRange(0, 2).Draw(t, "peers")] {
		in.Peers = append(in.Peers, Peer{Name: name, Base: some.Draw(t, "base").ID})
	}
	in.Backlog = rapid.IntRange(0, 20).Draw(t, "backlog")
	for i := range in.Points {
		if rapid.IntRange(0, 9).Draw(t, "pinned") == 0 {
			in.Points[i].Pin = &dataset.Pin{Until: in.Now.Add(time.Duration(rapid.IntRange(-9, 9).Draw(t, "until")) * time.Hour)}
		}
		if rapid.IntRange(0, 9).Draw(t, "held") == 0 {
			in.Points[i].Holds = []dataset.Tag{"base.db.sin1"}
		}
	}
}

// drawKeep draws rules that count periods, and nothing else.
func drawKeep(t *rapid.T) policy.Keep {
	n := func(label string, upTo int) int { return rapid.IntRange(0, upTo).Draw(t, label) }
	return policy.Keep{
		Hourly: n("hourly", 30), Daily: n("daily", 8), Weekly: n("weekly", 4), Monthly: n("monthly", 3), Yearly: n("yearly", 2),
		Within: time.Duration(n("within", 40)) * time.Hour,
	}
}

func drawLocation(t *rapid.T) *time.Location {
	name := rapid.SampledFrom([]string{"", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe"}).Draw(t, "zone")
	if name == "" {
		return nil
	}
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

func TestWhatIsNeededIsNeverDestroyed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		newest := slices.MaxFunc(in.Points, func(a, b dataset.Snapshot) int { return int(a.Order) - int(b.Order) })
		for _, v := range Decide(in) {
			if len(v.Reasons) == 0 {
				t.Fatalf("%s has no reason", v.Snapshot.Name)
			}
			if !v.Destroy {
				continue
			}
			s := v.Snapshot
			based := slices.ContainsFunc(in.Peers, func(p Peer) bool { return p.Base == s.ID })
			young := in.Side == Target && in.Now.Sub(s.Received) < in.Protect
			if s.Pin.Holds(in.Now) || s.ID == newest.ID || len(s.Holds) > 0 || based || slices.Contains(in.InFlight, s.ID) || young {
				t.Fatalf("%+v is destroyed: newest %v, base %v, received within protect %v", s, s.ID == newest.ID, based, young)
			}
		}
	})
}

func TestEveryPointGetsOneVerdictOldestFirst(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		verdicts := Decide(in)
		if len(verdicts) != len(in.Points) {
			t.Fatalf("%d verdicts on %d points", len(verdicts), len(in.Points))
		}
		for i, v := range verdicts[1:] {
			if v.Snapshot.Order <= verdicts[i].Snapshot.Order {
				t.Fatalf("order %d comes after %d", v.Snapshot.Order, verdicts[i].Snapshot.Order)
			}
		}
	})
}

func TestInputOrderDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		want := Decide(in)
		in.Points = rapid.Permutation(in.Points).Draw(t, "shuffled")
		if got := Decide(in); !reflect.DeepEqual(got, want) {
			t.Fatalf("shuffled: %+v, want %+v", got, want)
		}
	})
}

func TestDecidingOnTheSurvivorsDestroysNothingMore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		in.Points = survivors(Decide(in))
		for _, v := range Decide(in) {
			if v.Destroy {
				t.Fatalf("%+v goes only the second time", v.Snapshot)
			}
		}
	})
}

func TestTimeAloneDestroysNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		in.Protect = 0
		for i := range in.Points {
			in.Points[i].Pin = nil
		}
		in.Points = survivors(Decide(in))
		in.Now = in.Now.Add(time.Duration(rapid.IntRange(0, 3*365*24).Draw(t, "hours")) * time.Hour)
		for _, v := range Decide(in) {
			if v.Destroy {
				t.Fatalf("%+v goes because time passed", v.Snapshot)
			}
		}
	})
}

// An honest target's points, then a theft. Whatever the thief sends, each point
// from before that would have outlived the fullest honest schedule outlives it,
// also when retention runs after every forged point.
func TestForgedPointsDestroyNoHonestPointEarlier(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := Input{Side: Target, Keep: drawKeep(t), Location: drawLocation(t)}
		honest, at := &replica{}, start
		for range rapid.IntRange(1, 40).Draw(t, "honest") {
			at = at.Add(time.Duration(rapid.IntRange(1, 40*60).Draw(t, "gap")) * time.Minute)
			honest.receive(at, at)
		}
		forged := &replica{points: slices.Clone(honest.points), order: honest.order}
		now := at
		for range rapid.IntRange(1, 30).Draw(t, "forged") {
			now = now.Add(time.Duration(rapid.IntRange(0, 8*60).Draw(t, "pause")) * time.Minute)
			forged.receive(start.Add(time.Duration(rapid.IntRange(-50000, 50000).Draw(t, "claimed"))*time.Hour/10), now)
			in.Now = now
			forged.prune(in)
		}
		for _, s := range keptByFullSchedule(in, honest.points, now.Add(ClampAhead)) {
			if !slices.ContainsFunc(forged.points, func(p dataset.Snapshot) bool { return p.ID == s.ID }) {
				t.Fatalf("%s, of %s, was flushed by forged points", s.Name, s.Retain)
			}
		}
	})
}

// keptByFullSchedule is what stays of the honest points when a point follows at
// every half hour (no period of any zone begins elsewhere) until now.
func keptByFullSchedule(in Input, honest []dataset.Snapshot, now time.Time) []dataset.Snapshot {
	full := &replica{points: slices.Clone(honest), order: uint64(len(honest))}
	from := honest[len(honest)-1].Retain
	for at := from.Truncate(time.Hour / 2).Add(time.Hour / 2); at.Before(now); at = at.Add(time.Hour / 2) {
		full.receive(at, at)
	}
	full.receive(now, now)
	in.Now = now
	full.prune(in)
	return slices.DeleteFunc(full.points, func(s dataset.Snapshot) bool { return s.Order > uint64(len(honest)) })
}

func TestClampRetainHoldsItsBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := func(label string) time.Time {
			return start.Add(time.Duration(rapid.IntRange(-1000, 1000).Draw(t, label)) * time.Minute)
		}
		declared, newest, now := at("declared"), at("newest"), at("now")
		got, limit := ClampRetain(declared, newest, now), now.Add(ClampAhead)
		switch {
		case !got.After(newest):
			t.Fatalf("%s does not rise above %s", got, newest)
		case got.After(limit) && !newest.Before(limit):
			if got.Sub(newest) != time.Nanosecond {
				t.Fatalf("%s is more than a nanosecond after %s, which is beyond the limit already", got, newest)
			}
		case got.After(limit):
			t.Fatalf("%s is beyond %s", got, limit)
		case declared.After(newest) && !declared.After(limit) && !got.Equal(declared):
			t.Fatalf("%s was declared within the bounds and became %s", declared, got)
		}
	})
}

// The calendar counts in whole numbers what the time package would answer, in zones
// in which half hours, and a day, come twice.
func TestTheCalendarIsThatOfTheTimePackage(t *testing.T) {
	for _, zone := range []string{"UTC", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe", "America/St_Johns", "Pacific/Apia", "Asia/Manila"} {
		loc, err := time.LoadLocation(zone)
		if err != nil {
			t.Fatal(err)
		}
		rapid.Check(t, func(t *rapid.T) {
			c := newCalendar(loc)
			at := time.Unix(int64(rapid.IntRange(-4e9, 4e9).Draw(t, "from")), 0)
			seen := map[string]int64{}
			for range 20 {
				at = at.Add(time.Duration(rapid.IntRange(1, 100_000).Draw(t, "gap")) * time.Second)
				got, local := c.numbers(at), at.In(loc)
				_, offset := local.Zone()
				y, w := local.ISOWeek()
				for p, name := range []string{
					fmt.Sprint("hour ", local.Format("2006-01-02T15"), offset), local.Format("day 2006-01-02"), fmt.Sprint("week ", y, w),
					local.Format("month 2006-01"), local.Format("year 2006"),
				} {
					if number, again := seen[name]; again && number != got[p] {
						t.Fatalf("%s: %s is %d and %d", at, name, number, got[p])
					}
					for other, number := range seen {
						if other != name && number == got[p] && other[:3] == name[:3] {
							t.Fatalf("%s: %s and %s are both %d", at, name, other, number)
						}
					}
					seen[name] = got[p]
				}
			}
		})
	}
}

// Every group is whole after a run, and what one dataset alone would keep stays.
func TestNoGroupIsBrokenByARun(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		judged := map[dataset.Path][]Verdict{}
		groups := NewGroups()
		for _, d := range []dataset.Path{"/a", "/b", "/c"} {
			in := drawInput(t)
			for i := range in.Points {
				in.Points[i].Name = fmt.Sprint("antipode_db_", i/rapid.IntRange(1, 2).Draw(t, "step"))
			}
			judged[d] = Decide(in)
			groups.Note(d, judged[d])
		}
		kept := map[string]bool{}
		for _, verdicts := range judged {
			groups.Apply(verdicts)
			for _, v := range verdicts {
				if !v.Destroy && v.Reasons[0].Kind != NoRule && v.Reasons[0].Kind != Frozen {
					kept[v.Snapshot.Name] = true
				}
			}
		}
		for d, verdicts := range judged {
			for _, v := range verdicts {
				if v.Destroy && kept[v.Snapshot.Name] {
					t.Fatalf("%s of %s goes and stays elsewhere", v.Snapshot.Name, d)
				}
			}
		}
	})
}

// A Decider that judged others before judges as a new one.
func TestADeciderForgetsTheDatasetBefore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var d Decider
		for range rapid.IntRange(1, 4).Draw(t, "datasets") {
			in := drawInput(t)
			if want, got := Decide(in), d.Decide(in); !reflect.DeepEqual(got, want) {
				t.Fatalf("got %+v after others, want %+v", got, want)
			}
		}
	})
}
