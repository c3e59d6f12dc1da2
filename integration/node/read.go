package node

import (
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"

	"antipode/daemon/status"
)

// Within polls until done or until the time is over.
func Within(most time.Duration, done func() bool) bool { return within(most, pollEvery, done) }

func within(most, pause time.Duration, done func() bool) bool {
	limit := time.NewTimer(most)
	defer limit.Stop()
	for !done() {
		select {
		case <-limit.C:
			return done()
		case <-time.After(pause):
		}
	}
	return true
}

// Line finds the pair of a dataset with its only peer in a source's status.
func Line(s status.Status, path string) status.Pair {
	for _, j := range s.Jobs {
		for _, d := range j.Datasets {
			if string(d.Path) == path && len(d.Peers) == 1 {
				return d.Peers[0]
			}
		}
	}
	return status.Pair{}
}

// ReplicaLine finds a replica in a target's status.
func ReplicaLine(s status.Status, path string) status.Replica {
	for _, r := range s.Replicas {
		if string(r.Path) == path {
			return r
		}
	}
	return status.Replica{}
}

// ProblemOf is what a line says went wrong.
func ProblemOf(p *status.Problem) string {
	if p == nil {
		return ""
	}
	return p.Text + "; next: " + p.Next
}

// Missing returns the first of the words that text lacks; "" if it has all.
func Missing(text string, words ...string) string {
	for _, w := range words {
		if !strings.Contains(text, w) {
			return w
		}
	}
	return ""
}

// Says fails the test unless text holds all the words.
func Says(t testing.TB, text string, words ...string) {
	t.Helper()
	if w := Missing(text, words...); w != "" {
		t.Errorf("it does not say %q:\n%s", w, text)
	}
}

// Must ends the test on an error.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Tool runs one of the system's programs and returns what it printed.
func Tool(t testing.TB, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), toolBound)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}
