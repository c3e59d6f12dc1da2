package cli

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"antipode/daemon/control"
	"antipode/daemon/plan"
	"antipode/daemon/prune"
	"antipode/fsdrivers/dataset"
	"antipode/transport/peer"
)

func TestCheck(t *testing.T) {
	good := control.Finding{Severity: control.Good, Object: "peer sin1", What: "answers in 180ms, protocol 1, clock 12ms ahead"}
	bad := control.Finding{Severity: control.Fatal, Object: "job db", What: "/data/x is not a subvolume", Cure: "make it one with `btrfs subvolume create`"}
	cases := []struct {
		name, about, config string
		found               []control.Finding // nil: no daemon
		code                int
	}{
		{"check-good", "The file is valid, and the daemon has found nothing wrong.", "", []control.Finding{good}, 0},
		{"check-fatal", "The daemon has found a dataset that is none; the worst comes first.", "", []control.Finding{good, bad}, 1},
		{"check-no-daemon", "The file is valid, and no daemon runs to look at the rest.", "", nil, 0},
		{"check-bad-file", "The file has an unknown key; the daemon cannot be found through it.", "[[job]]\nid = \"db\"\nevry = \"red\"\n", nil, 1},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t)
			h.configure(t, c.config)
			if c.found != nil {
				h.daemon(t, func(s *control.Server) {
					answers(t, s, control.Check, control.Nothing{}, control.CheckResponse{Findings: c.found}, nil)
				})
			}
			code, out, errOut := h.run(t, "check")
			if code != c.code || errOut != "" {
				t.Errorf("got %d %q, want %d", code, errOut, c.code)
			}
			tells(t, c.name, c.about, out)
		})
	}
}

func TestCheckTellsADamagedKey(t *testing.T) {
	h := newHost(t)
	if err := os.WriteFile(filepath.Join(h.dir, peer.IdentityFile), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if code, out, _ := h.run(t, "check"); code != exitFail || !strings.Contains(out, "fatal    key of this node\n") {
		t.Errorf("got %d %q, want a fatal finding", code, out)
	}
}

func snap(name string, id dataset.ID) dataset.Snapshot {
	return dataset.Snapshot{Name: name, ID: id, Created: noon, Retain: noon}
}

// nightBefore is a preview of two jobs in which everything happens once.
func nightBefore() preview {
	step := func(path dataset.Path, from, to dataset.Snapshot, why string) plan.Step {
		return plan.Step{Step: dataset.Step{Job: "db", Dataset: dataset.Dataset{Path: path}, From: from, To: to}, Why: why}
	}
	a, b, c := snap("antipode_db_20260503T000000Z", "a"), snap("antipode_db_20260504T110000Z", "b"), snap("antipode_db_20260504T120000Z", "c")
	dropped := plan.Dropped{Checkpoint: dataset.Checkpoint{Kind: "btrfs-segments", Done: 5 << 30}, Why: "its snapshot was removed"}
	return preview{Now: noon, Jobs: []jobPreview{
		{
			Job: "db", Next: noon.Add(50 * time.Minute),
			Snapshots: []control.SnapshotPreview{{Dataset: "/data/db", Name: c.Name, Why: "every 1h"}, {Dataset: "/data/www/shop", Name: c.Name, Why: "every 1h"}},
			Sends: []sendPreview{
				{
					Dataset: "/data/db", Peer: "sin1", Far: []string{"sin1 prunes by its own policy"},
					Plan: &plan.Plan{Why: "2 newer than the base", Steps: []plan.Step{
						step("/data/db", a, b, "on top of the newest common base"), step("/data/db", b, c, "not made yet"),
					}, Resume: dataset.Checkpoint{Kind: "btrfs-segments", Done: 3 << 20}},
					Estimates: []control.Estimate{{Bytes: 1288 << 20, Kind: control.About}, {Kind: control.Unknown}},
				},
				{
					Dataset: "/data/www/shop", Peer: "sin1",
					Plan: &plan.Plan{
						Why: "first copy", Dropped: &dropped,
						Steps: []plan.Step{step("/data/www/shop", dataset.Snapshot{}, c, "the target holds nothing")},
					},
					Estimates: []control.Estimate{{Bytes: 40 << 30, Kind: control.InUse}},
				},
				{
					Dataset: "/data/mail", Peer: "sin1",
					Conflict: &control.Error{Kind: control.KindConflict, Text: "the target diverged", Next: "look at both lists"},
				},
			},
			Prunes: []prunePreview{{Dataset: "/data/db", Verdicts: []prune.Verdict{
				{Snapshot: a, Destroy: true, Reasons: []prune.Reason{{Kind: prune.Expired}}},
				{Snapshot: b, Reasons: []prune.Reason{{Kind: prune.Base, Ref: "sin1"}, {Kind: prune.Hourly, N: 1, Of: 48}}},
				{Snapshot: c, Reasons: []prune.Reason{{Kind: prune.Newest}}},
			}}},
		},
		{Job: "idle", Paused: true, Problems: []control.Error{{Object: "sin2", Text: "cannot be reached", Next: "see `antipode check`"}}},
	}}
}

func TestPlan(t *testing.T) {
	cases := []struct {
		name, about string
		args        []string
		request     string
	}{
		{"plan", "A job that catches up, resumes, starts anew and is in conflict; and one that is paused.", []string{"plan"}, ""},
		{"plan-all", "The same, with every snapshot that stays.", []string{"plan", "db", "--all"}, "db"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t)
			h.daemon(t, func(s *control.Server) {
				answers(t, s, control.Plan, control.PlanRequest{Job: c.request}, nightBefore(), nil)
			})
			code, out, errOut := h.run(t, c.args...)
			if code != exitOK || errOut != "" {
				t.Errorf("got %d %q, want 0", code, errOut)
			}
			tells(t, c.name, c.about, out)
		})
	}
}

func TestPlanTellsWhenItSends(t *testing.T) {
	sends := []sendPreview{{Dataset: "/data/db", Peer: "sin1", Plan: &plan.Plan{Why: "1 newer than the base"}}}
	h := newHost(t)
	h.daemon(t, func(s *control.Server) {
		answers(t, s, control.Plan, control.PlanRequest{}, preview{Now: noon, Jobs: []jobPreview{
			{Job: "hourly", Next: noon.Add(50 * time.Minute), NextReplication: noon.Add(12 * time.Hour), Sends: sends},
			{Job: "monthly", Next: noon.Add(500 * time.Hour), NextReplication: noon.Add(time.Hour), Sends: sends},
		}}, nil)
	})
	_, out, errOut := h.run(t, "plan")
	tells(t, "plan-times", "Two jobs that replicate at times of their own: one after its next run, one before.", out+errOut)
}

// What a dry run prints as JSON is what a run could execute.
func TestAPlanPassesThroughJSONUnchanged(t *testing.T) {
	h := newHost(t)
	h.daemon(t, func(s *control.Server) { answers(t, s, control.Plan, control.PlanRequest{}, nightBefore(), nil) })
	_, out, _ := h.run(t, "plan", "--json")
	var got preview
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	want, step := nightBefore().Jobs[0].Sends[0].Plan.Steps[0], got.Jobs[0].Sends[0].Plan.Steps[0]
	if step.ID() != want.ID() || step.Why != want.Why {
		t.Errorf("got step %s %+v, want %s %+v", step.ID(), step, want.ID(), want)
	}
}

// standby answers promote: first the preview, then the deed.
func standby(t *testing.T, reachable bool, promoted *control.PromoteRequest) func(*control.Server) {
	return func(s *control.Server) {
		control.Handle(s, control.Promote, func(_ context.Context, r control.PromoteRequest) (control.PromoteResponse, error) {
			out := control.PromoteResponse{
				Dataset: r.Dataset, From: "fra1", Role: "standby", Generation: 1, Point: "antipode_db_20260504T114800Z",
				PointTime: noon.Add(-12 * time.Minute), Age: 12 * time.Minute, PrimaryReachable: reachable, Receiving: true, Newer: []string{"x", "y"},
			}
			if out.InPlace = r.InPlace; r.InPlace {
				out.Newer = nil
			}
			if !r.Preview {
				*promoted = r
				out.Generation, out.Live, out.SetAside, out.Took = 2, "/backup/live/data/db", "/backup/aside", 412*time.Millisecond
				if r.InPlace {
					out.Live, out.SetAside = "backup/fra1/tank/db", ""
				}
			}
			return out, nil
		})
	}
}

func TestPromote(t *testing.T) {
	cases := []struct {
		name      string
		args      []string
		reachable bool
		code      int
		done      bool
		err       string
	}{
		{"in place", []string{"--yes", "--in-place"}, false, 0, true, "fra1 does not answer"},
		{"lost primary", []string{"--yes", "--from", "fra1", "--reason", "fire"}, false, 0, true, "fra1 does not answer"},
		{"the old primary answers", []string{"--yes"}, true, 1, false, "next: stop the writers there"},
		{"the old primary answers, forced", []string{"--yes", "--force"}, true, 0, true, "fra1 answers"},
		{"nobody to confirm", nil, false, 2, false, "add --yes"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var promoted control.PromoteRequest
			h := newHost(t)
			h.in = "/data/db\n"
			h.daemon(t, standby(t, c.reachable, &promoted))
			code, out, errOut := h.run(t, append([]string{"promote", "/data/db"}, c.args...)...)
			if code != c.code || !strings.Contains(errOut, c.err) || (promoted.Dataset == "/data/db") != c.done {
				t.Errorf("got %d, promoted %+v, %q; want %d, %v with %q", code, promoted, errOut, c.code, c.done, c.err)
			}
			if c.name == "in place" {
				tells(t, "promote-in-place", "The replica itself goes live.", errOut+"--- done\n"+out)
			}
			if c.name == "lost primary" {
				tells(t, "promote", "The primary is lost: what is known before, and after.", errOut+"--- done\n"+out)
				if promoted.From != "fra1" || promoted.Reason != "fire" || promoted.Force {
					t.Errorf("asked for %+v", promoted)
				}
			}
		})
	}
}

func TestTheDatasetHasToBeTyped(t *testing.T) {
	for in, want := range map[string]error{"/data/db\n": nil, "y\n": errDeclined, "": errDeclined, "/data/db": errDeclined, "/data\n": errDeclined} {
		if err := typed(t.Context(), strings.NewReader(in), "/data/db"); !errors.Is(err, want) {
			t.Errorf("%q: got %v, want %v", in, err, want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	blocked, _, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer blocked.Close()
	if err := typed(ctx, blocked, "x"); !errors.Is(err, errDeclined) {
		t.Errorf("interrupted: got %v, want %v", err, errDeclined)
	}
}
