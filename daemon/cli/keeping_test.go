package cli

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"antipode/daemon/control"
	"antipode/daemon/ledger"
	"antipode/daemon/prune"
	"antipode/fsdrivers/dataset"
)

// judged is what a dry run tells of one dataset.
func judged() pruneResponse {
	a, b := snap("antipode_db_20260503T000000Z", "a"), snap("antipode_db_20260504T110000Z", "b")
	return pruneResponse{Now: noon, DryRun: true, Runs: []control.PruneRun[prune.Verdict]{
		{PrunePlan: prunePlan{Job: "db", Prunes: []prunePreview{{Dataset: "/data/db", Frees: control.Estimate{Bytes: 3 << 20, Kind: control.About}, Verdicts: []prune.Verdict{
			{Snapshot: a, Destroy: true, Reasons: []prune.Reason{{Kind: prune.Expired}}},
			{Snapshot: b, Reasons: []prune.Reason{{Kind: prune.Newest}, {Kind: prune.Pinned, Ref: "audit", At: noon.Add(time.Hour)}}},
		}}}}, Brake: `retention would destroy 501 of 1000 snapshots, more than brake = "50%" lets a run do by itself, and destroys none`},
		{PrunePlan: prunePlan{From: "syd1", Prunes: []prunePreview{}}, Errors: []control.Error{{Object: "/data/x", Text: "cannot be read", Next: "mount it"}}},
	}}
}

func TestPruneShowsWhatGoesAndWhy(t *testing.T) {
	h := newHost(t)
	h.daemon(t, func(s *control.Server) {
		control.Handle(s, control.Prune, func(_ context.Context, r pruneRequest) (pruneResponse, error) {
			if r.Job != "db" || !r.DryRun {
				t.Errorf("asked for %+v", r)
			}
			return judged(), nil
		})
	})
	code, out, _ := h.run(t, "prune", "db", "--dry-run", "--all")
	if code != exitFail {
		t.Errorf("got %d with an error inside, want %d", code, exitFail)
	}
	tells(t, "prune-dry-run", "A job whose brake holds, and an accept of which a dataset cannot be read.", out)
}

// What plan and prune --dry-run print as JSON comes back as what is to be destroyed.
func TestAPrintedPlanComesBack(t *testing.T) {
	h := newHost(t)
	var got pruneRequest
	h.daemon(t, func(s *control.Server) {
		control.Handle(s, control.Prune, func(_ context.Context, r pruneRequest) (pruneResponse, error) {
			got = r
			return pruneResponse{Runs: []control.PruneRun[prune.Verdict]{{PrunePlan: prunePlan{Job: "db"}, Destroyed: 1}}}, nil
		})
	})
	for name, v := range map[string]any{"plan": nightBefore(), "prune": judged()} {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(h.dir, name+".json")
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		code, out, errOut := h.run(t, "prune", "--plan", file)
		if code != exitOK || !strings.Contains(out, "destroyed 1 snapshot") {
			t.Errorf("%s: got %d %q %q", name, code, out, errOut)
		}
		if len(got.Plan) != 2 || got.Plan[0].Job != "db" || len(got.Plan[0].Prunes) != 1 || len(got.Plan[0].Prunes[0].Verdicts) != 1 ||
			got.Plan[0].Prunes[0].Verdicts[0].Snapshot.ID != "a" || !got.Plan[0].Prunes[0].Verdicts[0].Destroy {
			t.Errorf("%s: asked for %+v, want the one that goes", name, got.Plan)
		}
	}
	h.in = "{}"
	if code, _, errOut := h.run(t, "prune", "--plan", "-"); code != exitFail || !strings.Contains(errOut, "antipode plan --json") {
		t.Errorf("an empty plan: got %d %q", code, errOut)
	}
	if code, _, errOut := h.run(t, "prune", "db", "--from", "sin1"); code != exitUsage || !strings.Contains(errOut, "leave one of") {
		t.Errorf("a job and a peer: %d, %s", code, errOut)
	}
	h.in = `{"jobs": [{"job": "db"}]}`
	if code, _, errOut := h.run(t, "prune", "--plan", "-", "--release-brake"); code != exitOK || !got.ReleaseBrake || len(got.Plan) != 1 {
		t.Errorf("with the brake released: got %d %q, asked for %+v", code, errOut, got)
	}
	if code, _, _ := h.run(t, "prune", "db", "--plan", "-"); code != exitUsage {
		t.Errorf("a job beside a plan: got %d", code)
	}
}

// What plan prints as JSON comes back as what is to be sent; what became of it is told
// line by line.
func TestAPrintedPlanIsSent(t *testing.T) {
	h := newHost(t)
	var got sendRequest
	h.daemon(t, func(s *control.Server) {
		control.Handle(s, control.Send, func(_ context.Context, r sendRequest) (control.SendResponse, error) {
			got = r
			return control.SendResponse{Sends: []control.Sent{
				{Job: "db", Dataset: "/data/db", Peer: "sin1", Steps: 1, Bytes: 5 << 20, Unmade: []string{"antipode_db_20260504T120000Z"}},
				{Job: "db", Dataset: "/data/www/shop", Peer: "sin1", Error: &control.Error{Kind: control.KindConflict, Object: "/data/www/shop", Text: "the plan does not fit any more", Next: "make a new one"}},
			}}, nil
		})
	})
	text, err := json.Marshal(nightBefore())
	if err != nil {
		t.Fatal(err)
	}
	h.in = string(text)
	code, out, errOut := h.run(t, "send", "--plan", "-")
	if code != exitFail {
		t.Errorf("got %d with a refused plan inside, want %d", code, exitFail)
	}
	tells(t, "send", "One dataset was sent as far as it can be, another not.", out+errOut)
	if len(got.Plan) != 2 || !reflect.DeepEqual(got.Plan[0].Sends, nightBefore().Jobs[0].Sends) {
		t.Errorf("asked for %+v, want what was printed", got.Plan)
	}
	h.in = "{}"
	if code, _, errOut := h.run(t, "send", "--plan", "-"); code != exitFail || !strings.Contains(errOut, "antipode plan --json") {
		t.Errorf("an empty plan: got %d %q", code, errOut)
	}
	if code, _, errOut := h.run(t, "send"); code != exitUsage || !strings.Contains(errOut, "trigger") {
		t.Errorf("no plan: got %d %q", code, errOut)
	}
}

func TestResolveTellsAndDoes(t *testing.T) {
	h := newHost(t)
	var asked []control.ResolveRequest
	h.daemon(t, func(s *control.Server) {
		control.Handle(s, control.Resolve, func(_ context.Context, r control.ResolveRequest) (control.ResolveResponse, error) {
			asked = append(asked, r)
			switch {
			case r.Dataset == "/data/ok":
				return control.ResolveResponse{}, nil
			case r.With == "":
				return control.ResolveResponse{Conflicts: []control.ConflictLine{
					{Job: "db", Peer: "sin1", Conflict: control.Error{Kind: control.KindConflict, Object: "/data/db", Text: "the target diverged", Next: "look at both"}},
					{Peer: "fra1", Conflict: control.Error{Kind: control.KindConflict, Object: "/data/db", Text: "split brain", Next: "decide"}},
				}}, nil
			}
			return control.ResolveResponse{Does: []string{"destroys a", "destroys b"}}, nil
		})
	})
	code, out, errOut := h.run(t, "resolve", "/data/db")
	if code != exitFail {
		t.Errorf("got %d with conflicts, want %d", code, exitFail)
	}
	args := []string{"resolve", "/data/db", "--with", "drop-newer", "--after", "x", "--from", "fra1"}
	_, shown, shownErr := h.run(t, args...)
	_, done, doneErr := h.run(t, append(args, "--yes")...)
	_, none, noneErr := h.run(t, "resolve", "/data/ok")
	tells(t, "resolve", "Two conflicts; what a cure would do, and that it did it; a dataset without a conflict.",
		out+errOut+"---\n"+shown+shownErr+"---\n"+done+doneErr+"---\n"+none+noneErr)
	want := control.ResolveRequest{Dataset: "/data/db", With: "drop-newer", After: "x", From: "fra1", Preview: true}
	if len(asked) != 4 || asked[1] != want || asked[2].Preview {
		t.Errorf("asked %+v, want a preview before the deed", asked)
	}
	if code, _, _ := h.run(t, "resolve", "/data/db", "--yes"); code != exitUsage {
		t.Errorf("--yes without a cure: got %d", code)
	}
	if code, _, _ := h.run(t, "resolve", "a//b"); code != exitUsage {
		t.Errorf("no path: got %d", code)
	}
}

func TestPin(t *testing.T) {
	pin := &dataset.Pin{Until: noon.Add(30 * 24 * time.Hour), Why: "audit", At: noon}
	h := newHost(t)
	h.daemon(t, func(s *control.Server) {
		answers(t, s, control.Pin, control.PinRequest{Snapshot: "/data/db@x", Until: noon.Add(30 * 24 * time.Hour), Why: "audit"},
			control.PinResponse{Snapshots: []control.Kept{{Job: "db", Dataset: "/data/db", Snapshot: "x", Pin: pin}}}, nil)
		answers(t, s, control.Unpin, control.PinRequest{Snapshot: "x"},
			control.PinResponse{
				Snapshots: []control.Kept{{From: "syd1", Dataset: "/data/db", Snapshot: "x"}},
				Problems:  []control.Error{{Text: "look for datasets at /data/gone: not found", Next: "mount its file system"}},
			}, nil)
	})
	_, out, errOut := h.run(t, "pin", "/data/db@x", "--until", "30d", "--why", "audit")
	code, off, offErr := h.run(t, "unpin", "x")
	if code != exitFail {
		t.Errorf("got %d although it was not looked everywhere, want %d", code, exitFail)
	}
	tells(t, "pin", "A pin is set; another is taken off where it can be found.", out+errOut+off+offErr)
	if code, _, errOut := h.run(t, "pin", "x", "--until", "soon"); code != exitUsage || !strings.Contains(errOut, "30d") {
		t.Errorf("a time that is none: got %d %q", code, errOut)
	}
}

func TestExplainAndHolds(t *testing.T) {
	kept := control.Kept{Job: "db", Dataset: "/data/db", Snapshot: "x"}
	lines := []control.HoldLine{
		{Kept: kept, Tag: "base.db.sin1", Owner: control.OwnerDaemon, Why: "newest common point with sin1", Since: noon.Add(-time.Hour)},
		{Kept: kept, Tag: "step.db.gone", Owner: control.OwnerLeft, Why: "of a target that left", Since: noon.Add(-48 * time.Hour)},
		{Kept: kept, Owner: control.OwnerUser, Why: "pinned: audit", Since: noon.Add(-time.Minute)},
		{Kept: kept, Tag: "mine", Owner: control.OwnerOther, Why: "held by somebody else"},
	}
	h := newHost(t)
	h.daemon(t, func(s *control.Server) {
		answers(t, s, control.Explain, control.ExplainRequest{Snapshot: "x"}, explainResponse{Now: noon, Snapshots: []control.Explained[prune.Verdict]{
			{
				Kept: kept, Verdict: prune.Verdict{Reasons: []prune.Reason{{Kind: prune.Hourly, N: 3, Of: 48}, {Kind: prune.Within, Length: time.Hour}}},
				Until: noon.Add(46 * time.Hour), Holds: lines[:1],
				Targets: []control.Presence{
					{Peer: "sin1", State: "has it"},
					{Peer: "syd1", State: "not known", Why: "it does not answer"},
					{Peer: "ams1", State: "has it not", Pulls: true, When: "every 1h"},
					{Peer: "fra2", State: "has it not", Pulls: true},
				},
			},
			{Kept: kept, Verdict: prune.Verdict{Reasons: []prune.Reason{{Kind: prune.Base, Ref: "sin1"}}}, Open: "until sin1 has a newer base"},
			{
				Kept:    kept,
				Verdict: prune.Verdict{Reasons: []prune.Reason{{Kind: prune.Pinned, At: noon.Add(24 * time.Hour), Ref: "audit"}, {Kind: prune.Protected, At: noon.Add(48 * time.Hour)}}},
				Until:   noon.Add(48 * time.Hour),
			},
			{Kept: kept, Verdict: prune.Verdict{Destroy: true, Reasons: []prune.Reason{{Kind: prune.Expired}}}, Brake: "the brake holds"},
		}, Gone: []control.Gone{{Kept: kept, At: noon.Add(-3 * time.Hour), Why: "nothing keeps it"}}, Problems: []control.Error{{Text: "list snapshots of /data/z: timeout", Next: "look at it"}}}, nil)
		answers(t, s, control.Holds, control.HoldsRequest{Release: "step.db.gone"}, control.HoldsResponse{
			Now: noon, Released: 2, Holds: lines, Problems: []control.Error{{Object: "/data/y", Text: "cannot be read", Next: "mount it"}},
		}, nil)
	})
	_, out, errOut := h.run(t, "explain", "x")
	tells(t, "explain", "A snapshot in five places: it is gone, it stays, it stays for a target, it stays until two times, it goes.", out+errOut)
	_, out, errOut = h.run(t, "holds", "--release", "step.db.gone")
	tells(t, "holds", "One of each kind, and one was released.", out+errOut)
}

func TestAbandonTellsWhatItCosts(t *testing.T) {
	r := control.AbandonResponse{Base: "x", BaseTime: noon, FullCopy: control.Estimate{Bytes: 9 << 40, Kind: control.About}, Takes: 100 * time.Hour}
	h := newHost(t)
	h.daemon(t, func(s *control.Server) {
		control.Handle(s, control.Abandon, func(context.Context, control.AbandonRequest) (control.AbandonResponse, error) { return r, nil })
	})
	_, out, errOut := h.run(t, "abandon", "db", "/data/db", "sin1")
	_, done, doneErr := h.run(t, "abandon", "db", "/data/db", "sin1", "--yes")
	tells(t, "abandon", "First what it costs, then the deed.", out+errOut+"---\n"+done+doneErr)
}

func TestHistory(t *testing.T) {
	h := newHost(t)
	h.remember(t, ledger.Batch{
		Runs: []ledger.Run{
			{Job: "db", Cause: "due", Started: noon.Add(-time.Hour), Ended: noon.Add(-59 * time.Minute), Error: "disk on fire"},
			{Job: "db", Cause: "missed", Started: noon.Add(-2 * time.Hour), Ended: noon.Add(-119 * time.Minute), Snapshots: 2, Held: 4 * time.Second},
			{Job: "db", Kind: ledger.RunReplicate, Cause: "missed", Started: noon.Add(-2 * time.Hour), Ended: noon.Add(-119 * time.Minute), Steps: 1, Bytes: 5 << 20},
		},
		Steps:        []ledger.Step{{Side: ledger.Source, Job: "db", Dataset: "/data/db", Peer: "sin1", To: "x", Started: noon.Add(-50 * time.Minute), Ended: noon, Bytes: 5 << 20}},
		Destructions: []ledger.Destruction{{Side: ledger.Source, Job: "db", Dataset: "/data/db", Snapshot: "w", Why: "nothing keeps it", At: noon.Add(-10 * time.Minute)}},
		Events: []ledger.Event{
			{At: noon.Add(-72 * time.Hour), Kind: "start", Text: "long ago"},
			{At: noon.Add(-3 * time.Hour), Kind: "paired", Peer: "sin1", Text: "ap1:x"},
			{At: noon.Add(-4 * time.Hour), Kind: "ledger-damaged", Object: "/var/lib/ledger.db", Text: "moved"},
		},
		Alerts: []ledger.Alert{{
			FactKey: ledger.FactKey{Side: ledger.Source, Job: "db", Dataset: "/data/db", Peer: "sin1"}, At: noon.Add(-5 * time.Hour),
			Kind: "rpo-missed", Object: "/data/db of job db to sin1", Text: "it is late",
		}},
	}).Close()
	code, out, errOut := h.run(t, "history", "--since", "2d")
	if code != exitOK {
		t.Errorf("got %d", code)
	}
	tells(t, "history", "No daemon runs: the ledger is read.", out+errOut)
	if _, out, _ = h.run(t, "history", "--kind", "destruction", "--json"); !strings.Contains(out, `"snapshot": "w"`) || strings.Contains(out, "due") {
		t.Errorf("as JSON: %s", out)
	}
	if _, out, _ = h.run(t, "history", "--dataset", "/data/db/", "--kind", "alert"); !strings.Contains(out, "it is late") {
		t.Errorf("of a dataset with a slash behind: %s", out)
	}
	if _, out, _ = h.run(t, "history", "--dataset", "/data/dbb", "--job", "bd", "--kind", "run", "--since", "1d"); out != "No run of dataset /data/dbb of job bd in that time is remembered.\n" {
		t.Errorf("of what there is not: %s", out)
	}
	if code, _, errOut = h.run(t, "history", "--dataset", "/data/../db"); code != exitUsage || !strings.Contains(errOut, "is not clean") {
		t.Errorf("a dataset that is none: %d, %s", code, errOut)
	}
	if code, _, errOut = h.run(t, "history", "--limit", "-1"); code != exitUsage || !strings.Contains(errOut, "below zero") {
		t.Errorf("fewer than none: %d, %s", code, errOut)
	}
	if code, _, errOut = h.run(t, "history", "--kind", "steps"); code != exitUsage || !strings.Contains(errOut, "want run, step, destruction") {
		t.Errorf("a kind that there is not: %d, %s", code, errOut)
	}
}
