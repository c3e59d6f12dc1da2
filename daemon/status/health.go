package status

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// The codes of Health, which are the exit codes of `antipode health`.
const (
	HealthOK       = 0
	HealthWarning  = 1
	HealthCritical = 2
	HealthUnknown  = 3
)

// warnLag is the share of an rpo, in percent, above which a lag is worth a
// warning: early enough to act before it is missed.
const warnLag = 80

// finding is one thing that is not as it should be.
type finding struct {
	code int
	text string
}

// Health draws the verdict: 2 when an objective is missed or replication cannot
// go on by itself (conflict, split brain, stuck), 1 for what deserves a look (a
// first copy on its way, a lag above 80 % of its rpo, a paused job, a fenced
// dataset, an error that stands), 3 when there is nothing to judge, else 0. The
// line names the worst first and is never empty.
func Health(s Status) (code int, line string) {
	if len(s.Jobs)+len(s.Replicas) == 0 {
		return HealthUnknown, "UNKNOWN: no job runs here and nothing was received yet"
	}
	all := findings(s)
	if len(all) == 0 {
		return HealthOK, "OK: " + summary(s)
	}
	slices.SortStableFunc(all, func(a, b finding) int { return b.code - a.code })
	code = all[0].code
	line = [...]string{HealthWarning: "WARNING", HealthCritical: "CRITICAL"}[code] + ": " + all[0].text
	if more := len(all) - 1; more > 0 {
		line += fmt.Sprintf(" (and %d more)", more)
	}
	return code, line
}

func findings(s Status) (all []finding) {
	for _, j := range s.Jobs {
		all = append(all, j.findings()...)
	}
	for _, r := range s.Replicas {
		what := fmt.Sprintf("%s from %s", r.Path, r.From)
		all = append(all, judged{r.State, r.RPO, r.Lag, r.Receiving, nil, r.LastError}.findings(what)...)
		if r.Problem != nil {
			all = append(all, finding{HealthWarning, what + ": " + oneLine(r.Problem.Text)})
		}
	}
	for _, p := range s.Peers {
		if p.Problem != "" {
			all = append(all, finding{HealthWarning, fmt.Sprintf("peer %s: %s", p.Name, oneLine(p.Problem))})
		}
	}
	return all
}

func (j Job) findings() (all []finding) {
	if j.Paused {
		all = append(all, finding{HealthWarning, fmt.Sprintf("job %s is paused", j.ID)})
	}
	if j.Problem != nil {
		all = append(all, finding{HealthWarning, fmt.Sprintf("job %s: %s", j.ID, oneLine(j.Problem.Text))})
	}
	for _, d := range j.Datasets {
		if d.Problem != nil {
			all = append(all, finding{HealthWarning, fmt.Sprintf("%s: %s", d.Path, oneLine(d.Problem.Text))})
		}
		for _, p := range d.Peers {
			what := fmt.Sprintf("%s to %s", d.Path, p.Peer)
			all = append(all, judged{p.State, p.RPO, p.Lag, p.Moving, p.Seeding, p.LastError}.findings(what)...)
		}
	}
	return all
}

// judged is what a pair and a replica have in common.
type judged struct {
	state   State
	rpo     time.Duration
	lag     time.Duration
	moving  *Moving
	seeding *Seeding
	err     *Problem
}

func (j judged) findings(what string) []finding {
	code, text := j.verdict()
	switch {
	case code == HealthOK && j.err == nil:
		return nil
	case code == HealthOK:
		code, text = HealthWarning, "last try failed"
	}
	text = what + ": " + text
	if j.err != nil {
		text += ": " + oneLine(j.err.Text)
	}
	return []finding{{code, text}}
}

func (j judged) verdict() (code int, text string) {
	switch j.state {
	case StateSplitBrain:
		return HealthCritical, "split brain, two nodes were made primary; replication is frozen"
	case StateConflict:
		return HealthCritical, "conflict, replication cannot go on by itself"
	case StateStuck:
		return HealthCritical, "stuck in the kernel"
	case StateMissed:
		return HealthCritical, fmt.Sprintf("rpo missed, lag %s of %s", Duration(j.lag), Duration(j.rpo))
	case StateFenced:
		return HealthWarning, "fenced, another node is primary"
	case StateSeeding:
		return HealthWarning, "first copy: " + seedingText(j.seeding, j.moving)
	}
	if j.rpo > 0 && j.lag > j.rpo/100*warnLag {
		return HealthWarning, fmt.Sprintf("lag %s is close to the rpo of %s", Duration(j.lag), Duration(j.rpo))
	}
	return HealthOK, ""
}

// summary is what is said when all is well.
func summary(s Status) string {
	var pairs int
	var worst time.Duration
	for _, j := range s.Jobs {
		for _, d := range j.Datasets {
			for _, p := range d.Peers {
				pairs++
				worst = max(worst, p.Lag)
			}
		}
	}
	for _, r := range s.Replicas {
		worst = max(worst, r.Lag)
	}
	var parts []string
	if pairs > 0 {
		parts = append(parts, fmt.Sprintf("%s sent", Count(pairs, "replica")))
	}
	if n := len(s.Replicas); n > 0 {
		parts = append(parts, fmt.Sprintf("%s held", Count(n, "replica")))
	}
	if len(parts) == 0 {
		return fmt.Sprintf("%s, nothing to replicate", Count(len(s.Jobs), "job"))
	}
	return fmt.Sprintf("%s, largest lag %s", strings.Join(parts, ", "), Duration(worst))
}

// Count is "1 dataset" or "2 datasets".
func Count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// oneLine keeps what a monitoring system shows on one line, and what a peer
// wrote from steering a terminal.
func oneLine(s string) string { return strings.Join(strings.Fields(Printable(s)), " ") }
