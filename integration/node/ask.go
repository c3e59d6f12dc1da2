package node

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"antipode/daemon/control"
	"antipode/daemon/status"
)

// toolBound is how long a command may take.
const toolBound = 10 * time.Minute

// Call runs a command of antipode against this machine.
func (n *Node) Call(args ...string) (stdout, stderr string, code int) {
	ctx, cancel := context.WithTimeout(context.Background(), toolBound)
	defer cancel()
	var out, errOut bytes.Buffer
	cmd := exec.CommandContext(ctx, n.binary, append([]string{"--config", n.Config()}, args...)...)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	if err != nil && cmd.ProcessState == nil {
		n.T.Fatalf("run antipode %v: %v", args, err)
	}
	return out.String(), errOut.String(), cmd.ProcessState.ExitCode()
}

// Try runs a command with --json and decodes its answer; nil decodes nothing.
func (n *Node) Try(answer any, args ...string) error {
	out, errOut, code := n.Call(append(args, "--json")...)
	if code != 0 {
		return fmt.Errorf("antipode %s on %s: exit code %d: %s%s", strings.Join(args, " "), n.Name, code, errOut, out)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal([]byte(out), answer)
}

// Ask is Try that must succeed.
func (n *Node) Ask(answer any, args ...string) {
	n.T.Helper()
	if err := n.Try(answer, args...); err != nil {
		n.T.Fatal(err)
	}
}

// Refused runs a command that must fail, and returns what it said.
func (n *Node) Refused(args ...string) string {
	n.T.Helper()
	out, errOut, code := n.Call(args...)
	if code == 0 {
		n.T.Fatalf("antipode %s on %s succeeded, want a refusal:\n%s", strings.Join(args, " "), n.Name, out)
	}
	return errOut + out
}

// Key is the fingerprint of the machine.
func (n *Node) Key() string {
	n.T.Helper()
	var id control.IdentityResponse
	n.Ask(&id, "identity")
	return id.Key
}

// Status is the read model of this moment.
func (n *Node) Status() status.Status {
	n.T.Helper()
	var st status.Status
	n.Ask(&st, "status")
	return st
}

// look is Status past the command line: where a processor is emulated, a process for
// each look of a wait was more than what is waited for.
func (n *Node) look() status.Status {
	n.T.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), toolBound)
	defer cancel()
	st, err := control.Call[control.Nothing, status.Status](ctx, n.File("sock"), control.Status, control.Nothing{})
	Must(n.T, err)
	return st
}

// Await polls the status until done says so, and returns that status.
func (n *Node) Await(what string, done func(status.Status) bool) status.Status {
	n.T.Helper()
	return n.AwaitWithin(n.Patience, what, done)
}

// AwaitWithin is Await with a bound of its own.
func (n *Node) AwaitWithin(most time.Duration, what string, done func(status.Status) bool) (st status.Status) {
	n.T.Helper()
	if !within(most, n.Poll, func() bool { st = n.look(); return done(st) }) {
		text, _ := json.MarshalIndent(st, "", " ")
		n.T.Fatalf("on %s, not within %s: %s\nlast status: %s", n.Name, most, what, text)
	}
	return st
}

// Eventually polls a condition that no status shows.
func (n *Node) Eventually(what string, done func() bool) {
	n.T.Helper()
	if !within(n.Patience, n.Poll, done) {
		n.T.Fatalf("on %s, not within %s: %s", n.Name, n.Patience, what)
	}
}

// Trigger runs a job to its end.
func (n *Node) Trigger(job string) control.TriggerResponse {
	n.T.Helper()
	var r control.TriggerResponse
	n.Ask(&r, "trigger", job, "--wait")
	return r
}

// TriggerFails runs a job that must end with errors, and returns them as text.
func (n *Node) TriggerFails(job string) string {
	n.T.Helper()
	out, errOut, code := n.Call("trigger", job, "--wait", "--json")
	var r control.TriggerResponse
	if code == 0 || json.Unmarshal([]byte(out), &r) != nil {
		n.T.Fatalf("trigger %s: exit code %d, want errors:\n%s%s", job, code, out, errOut)
	}
	text := ""
	for _, e := range r.Errors {
		text += e.Error() + "\n"
	}
	return text
}

// Check returns what antipode check finds of a severity about an object.
func (n *Node) Check(object string, severity control.Severity) string {
	n.T.Helper()
	out, _, _ := n.Call("check", "--json")
	var r control.CheckResponse
	Must(n.T, json.Unmarshal([]byte(out), &r))
	text := ""
	for _, f := range r.Findings {
		if f.Object == object && f.Severity == severity {
			text += f.What + "; cure: " + f.Cure + "\n"
		}
	}
	if text == "" {
		n.T.Errorf("check on %s finds nothing %s about %s:\n%s", n.Name, severity, object, out)
	}
	return text
}
