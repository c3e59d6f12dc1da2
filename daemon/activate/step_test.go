package activate

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"antipode/fsdrivers/dataset"
)

// in is a state of node sin1 in a role, with a mark that fits the role.
func in(r Role) State {
	s := State{Role: r, Node: "sin1"}
	switch r {
	case Primary:
		s.Mark = line("sin1")
	case Outdated, Fenced:
		s.Mark = line("sin1 fra1")
	}
	return s
}

// outcome writes what a step came to: "role generation effects", an error's
// type with "!", and "frozen".
func outcome(s State, effects []Effect, err error) string {
	out := []string{s.Role.String(), fmt.Sprint(s.Mark.Generation)}
	for _, e := range effects {
		out = append(out, string(e))
	}
	if s.IsFrozen() {
		out = append(out, "frozen")
	}
	if err != nil {
		name := strings.TrimPrefix(reflect.TypeOf(err).String(), "*activate.")
		out = append(out, "!"+name)
	}
	return strings.Join(out, " ")
}

// Every event in every role. The marks seen are relative to what in gives.
func TestEveryEventInEveryRole(t *testing.T) {
	seen := func(m dataset.Mark) Seen { return Seen{Peer: "fra1", Mark: m, MayPromote: true} }
	ask := Asked{Base: "b", ID: activation("asked")}
	forced := Asked{Base: "b", ID: activation("asked"), Force: true}
	above := func(s State, node string) dataset.Mark { return Promote(s.Mark, node, "b", activation("above")) }
	beside := func(s State) dataset.Mark {
		m := s.Mark
		m.ID = activation("beside")
		return m
	}
	tests := []struct {
		name  string
		event func(State) Event
		want  map[Role]string
	}{
		{"the same mark", func(s State) Event { return seen(s.Mark) }, map[Role]string{
			Primary: "primary 1", Standby: "standby 0", Seeding: "seeding 0", Outdated: "outdated 2", Fenced: "fenced 2", "": "unknown 0",
		}},
		{"a mark that has to learn", func(State) Event { return seen(dataset.Mark{}) }, map[Role]string{
			Primary: "primary 1", Standby: "standby 0", Seeding: "seeding 0", Outdated: "outdated 2", Fenced: "fenced 2", "": "unknown 0",
		}},
		{"a valid newer mark", func(s State) Event { return seen(above(s, "fra1")) }, map[Role]string{
			Primary: "outdated 2 stop-sending write-mark fence-live", Standby: "standby 1 write-mark", Seeding: "seeding 1 write-mark",
			Outdated: "outdated 3 stop-sending write-mark fence-live", Fenced: "fenced 3 write-mark", "": "unknown 1 write-mark",
		}},
		{"a newer mark that names us", func(s State) Event { return seen(above(s, "sin1")) }, map[Role]string{
			Primary: "primary 1 freeze frozen !Lost", Standby: "standby 0 freeze frozen !Lost", Seeding: "seeding 0 freeze frozen !Lost",
			Outdated: "outdated 2 freeze frozen !Lost", Fenced: "fenced 2 freeze frozen !Lost", "": "unknown 0 freeze frozen !Lost",
		}},
		{"a newer mark of who may not promote", func(s State) Event { return Seen{Peer: "x", Mark: above(s, "x")} }, map[Role]string{
			Primary: "primary 1 !BadMark", Standby: "standby 0 !BadMark", Seeding: "seeding 0 !BadMark",
			Outdated: "outdated 2 !BadMark", Fenced: "fenced 2 !BadMark", "": "unknown 0 !BadMark",
		}},
		{"another activation of our generation", func(s State) Event { return seen(beside(s)) }, map[Role]string{
			Primary: "primary 1 freeze frozen !SplitBrain", Outdated: "outdated 2 freeze frozen !SplitBrain", Fenced: "fenced 2 freeze frozen !SplitBrain",
			// Generation 0 has no activation, so one with an id is malformed.
			Standby: "standby 0 !BadMark", Seeding: "seeding 0 !BadMark", "": "unknown 0 !BadMark",
		}},
		{"another activation, of who may not promote", func(s State) Event { return Seen{Peer: "x", Mark: beside(s)} }, map[Role]string{
			Primary: "primary 1 !SplitBrain", Outdated: "outdated 2 !SplitBrain", Fenced: "fenced 2 !SplitBrain",
			Standby: "standby 0 !BadMark", Seeding: "seeding 0 !BadMark", "": "unknown 0 !BadMark",
		}},
		{"promotion", func(State) Event { return ask }, map[Role]string{
			Primary: "primary 1 end-receives make-live", Standby: "primary 1 end-receives write-mark make-live",
			Seeding: "seeding 0 !Refused", Outdated: "outdated 2 !Refused", Fenced: "fenced 2 !Refused", "": "unknown 0 !Refused",
		}},
		{"forced promotion", func(State) Event { return forced }, map[Role]string{
			Primary: "primary 1 end-receives make-live", Standby: "primary 1 end-receives write-mark make-live",
			Seeding: "seeding 0 !Refused", Outdated: "primary 3 end-receives write-mark make-live",
			Fenced: "primary 3 end-receives write-mark make-live", "": "unknown 0 !Refused",
		}},
		{"promotion without a complete point", func(State) Event { return Asked{ID: activation("asked"), Force: true} }, map[Role]string{
			Primary: "primary 1 end-receives make-live", Standby: "standby 0 !Refused", Seeding: "seeding 0 !Refused",
			Outdated: "outdated 2 !Refused", Fenced: "fenced 2 !Refused", "": "unknown 0 !Refused",
		}},
		{"a point is complete", func(State) Event { return Completed{} }, map[Role]string{
			Primary: "primary 1", Standby: "standby 0", Seeding: "standby 0", Outdated: "outdated 2", Fenced: "fenced 2", "": "unknown 0",
		}},
		{"the live data are read-only", func(State) Event { return Stopped{} }, map[Role]string{
			Primary: "primary 1 !Refused", Standby: "standby 0 !Refused", Seeding: "seeding 0 !Refused",
			Outdated: "fenced 2", Fenced: "fenced 2", "": "unknown 0 !Refused",
		}},
		{"set aside, with points", func(State) Event { return Rejoined{Points: true} }, map[Role]string{
			Primary: "primary 1 !Refused", Standby: "standby 0 !Refused", Seeding: "seeding 0 !Refused",
			Outdated: "outdated 2 !Refused", Fenced: "standby 2", "": "unknown 0 !Refused",
		}},
		{"set aside, without points", func(State) Event { return Rejoined{} }, map[Role]string{
			Primary: "primary 1 !Refused", Standby: "standby 0 !Refused", Seeding: "seeding 0 !Refused",
			Outdated: "outdated 2 !Refused", Fenced: "seeding 2", "": "unknown 0 !Refused",
		}},
		{"restart of a replica with points", func(s State) Event { return Restarted{Mark: s.Mark, Points: true, Live: s.Role == Primary} }, map[Role]string{
			Primary: "primary 1", Standby: "standby 0", Seeding: "standby 0", Outdated: "standby 2", Fenced: "standby 2", "": "standby 0",
		}},
		{"restart from an older disk", func(State) Event { return Restarted{Points: true} }, map[Role]string{
			Primary: "primary 1 !*fmt", Outdated: "outdated 2 !*fmt", Fenced: "fenced 2 !*fmt",
			Standby: "standby 0", Seeding: "standby 0", "": "standby 0",
		}},
	}
	for _, tt := range tests {
		for _, role := range []Role{Primary, Standby, Seeding, Outdated, Fenced, ""} {
			t.Run(tt.name+"/"+role.String(), func(t *testing.T) {
				s := in(role)
				got := outcome(Step(s, tt.event(s)))
				want, ok := tt.want[role]
				if !ok {
					t.Fatalf("the table does not say what is wanted; got %q", got)
				}
				if strings.HasSuffix(want, "!*fmt") { // an error without a type of its own
					want, got = strings.TrimSuffix(want, "!*fmt"), got[:strings.Index(got+"!", "!")]
				}
				if got != want {
					t.Errorf("got %q, want %q", got, want)
				}
			})
		}
	}
}

func TestRestartReadsTheRoleFromTheDisk(t *testing.T) {
	tests := []struct {
		name string
		disk Restarted
		want string
	}{
		{"a source that was always primary", Restarted{Source: true}, "primary 0"},
		{"a source, and another was promoted", Restarted{Source: true, Mark: line("fra1")}, "outdated 1 stop-sending fence-live"},
		{"a source that was fenced", Restarted{Source: true, ReadOnly: true, Mark: line("fra1")}, "fenced 1"},
		{"a source that was promoted back", Restarted{Source: true, Mark: line("fra1 sin1")}, "primary 2"},
		{"an empty replica", Restarted{}, "seeding 0"},
		{"a replica", Restarted{Points: true}, "standby 0"},
		{"a replica of a promoted primary", Restarted{Points: true, Mark: line("fra1")}, "standby 1"},
		{"promoted and live", Restarted{Points: true, Live: true, Mark: line("sin1")}, "primary 1"},
		{"killed between mark and live copy", Restarted{Points: true, Mark: line("sin1")}, "primary 1 end-receives make-live"},
		{"killed while forcing a fenced copy out", Restarted{Points: true, Live: true, ReadOnly: true, Mark: line("fra1 sin1")}, "primary 2 end-receives make-live"},
		{"was primary, another was promoted", Restarted{Points: true, Live: true, Mark: line("sin1 fra1")}, "outdated 2 stop-sending fence-live"},
		{"was primary and is fenced", Restarted{Points: true, Live: true, ReadOnly: true, Mark: line("sin1 fra1")}, "fenced 2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := outcome(Step(State{Node: "sin1"}, tt.disk)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// Two sides were promoted apart. The one that the operator forces stands on the
// other's activation, so that the other finds itself in its history.
func TestForcedPromotionEndsSplitBrain(t *testing.T) {
	sin := State{Role: Primary, Node: "sin1", Mark: line("sin1")}
	fra := State{Role: Primary, Node: "fra1", Mark: line("fra1")}
	sin, _, err := Step(sin, Seen{Peer: "fra1", Mark: fra.Mark, MayPromote: true})
	if !sin.IsFrozen() || !errors.Is(err, dataset.ErrDiverged) {
		t.Fatalf("frozen %v with %v, want split brain", sin.IsFrozen(), err)
	}
	if _, _, err := Step(sin, Asked{Base: "b", ID: activation("no")}); !errors.Is(err, dataset.ErrDiverged) {
		t.Errorf("promoting without force: %v, want split brain", err)
	}
	if err := sin.MayReceive(); !errors.Is(err, dataset.ErrDiverged) {
		t.Errorf("receiving while frozen: %v, want split brain", err)
	}
	sin, effects, err := Step(sin, Asked{Base: "b", ID: activation("decided"), Force: true})
	if got, want := outcome(sin, effects, err), "primary 2 write-mark"; got != want {
		t.Errorf("forced: %q, want %q (its own live data stay)", got, want)
	}
	fra, effects, err = Step(fra, Seen{Peer: "sin1", Mark: sin.Mark, MayPromote: true})
	if got, want := outcome(fra, effects, err), "outdated 2 stop-sending write-mark fence-live"; got != want {
		t.Errorf("the other side: %q, want %q", got, want)
	}
	if _, effects, err := Step(sin, Asked{Base: "b", ID: activation("again")}); len(effects) != 0 || err != nil {
		t.Errorf("promoting once more: %v, %v; want nothing to do, or its live data would be set aside", effects, err)
	}
}

func TestAStandbyThatFrozeIsPromotedByForce(t *testing.T) {
	s := State{Role: Standby, Node: "sin1"}
	lost := line("sin1/former")
	s, _, _ = Step(s, Seen{Peer: "fra1", Mark: lost, MayPromote: true})
	if err := s.MayReceive(); !errors.Is(err, dataset.ErrDiverged) {
		t.Errorf("receiving: %v, want refused while the peer knows more of us than we do", err)
	}
	if got, want := outcome(Step(s, Asked{Base: "b", ID: activation("x")})), "standby 0 frozen !Lost"; got != want {
		t.Errorf("without force %q, want %q", got, want)
	}
	if text, want := s.MayReceive().Error(), "the peer knows that sin1 was promoted in generation 1"; !strings.Contains(text, want) {
		t.Errorf("%q does not say %q", text, want)
	}
	next, _, err := Step(s, Asked{Base: "b", ID: activation("x"), Force: true})
	if err != nil || !next.Mark.Descends(lost) {
		t.Errorf("forced: generation %d, %v; want one that the peer accepts", next.Mark.Generation, err)
	}
}

func TestAContradictionEndsWhenThePeerGivesIn(t *testing.T) {
	s := in(Primary)
	s, _, _ = Step(s, Seen{Peer: "fra1", Mark: line("fra1"), MayPromote: true})
	s, _, err := Step(s, Seen{Peer: "gru1", Mark: s.Mark})
	if !s.IsFrozen() || err != nil {
		t.Fatalf("frozen %v, %v: another peer that agrees decides nothing", s.IsFrozen(), err)
	}
	s, _, err = Step(s, Seen{Peer: "fra1", Mark: s.Mark, MayPromote: true})
	if s.IsFrozen() || err != nil {
		t.Errorf("frozen %v, %v; want an end once the peer agrees", s.IsFrozen(), err)
	}
}

func TestWhoMayReceive(t *testing.T) {
	want := map[Role]error{Standby: nil, Seeding: nil, Primary: &PrimaryHere{}, Outdated: &Refused{}, Fenced: &Refused{}, "": &Refused{}}
	for role, err := range want {
		got := in(role).MayReceive()
		if reflect.TypeOf(got) != reflect.TypeOf(err) {
			t.Errorf("%s: %T, want %T", role, got, err)
		}
		if got != nil && (!errors.Is(got, dataset.ErrRefused) || !strings.Contains(got.Error(), "next: ")) {
			t.Errorf("%s: %v is not a refusal with a next step", role, got)
		}
	}
}

func TestRolesByMarkAlone(t *testing.T) {
	tests := []struct {
		name   string
		mark   dataset.Mark
		points bool
		source Role
		target Role
	}{
		{"never promoted, empty", line(""), false, Primary, Seeding},
		{"never promoted", line(""), true, Primary, Standby},
		{"promoted here", line("sin1"), true, Primary, Primary},
		{"promoted elsewhere", line("fra1"), true, Outdated, Standby},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := SourceRole(tt.mark, "sin1"); got != tt.source {
				t.Errorf("SourceRole = %s, want %s", got, tt.source)
			}
			if got := TargetRole(tt.mark, "sin1", tt.points); got != tt.target {
				t.Errorf("TargetRole = %s, want %s", got, tt.target)
			}
		})
	}
}
