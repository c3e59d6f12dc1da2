package wire

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"antipode/fsdrivers/dataset"
	"antipode/transport/squeeze"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func sampleSnapshot() dataset.Snapshot {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return dataset.Snapshot{Name: "antipode_db_20260102T030405Z", ID: "8b1f", Order: 7, Created: at, Retain: at}
}

func sampleStep() dataset.Step {
	from := sampleSnapshot()
	from.Name, from.ID, from.Order = "antipode_db_20260102T020405Z", "7a0e", 6
	return dataset.Step{
		Job: "db", Dataset: dataset.Dataset{Path: "/data/db", ID: "11aa"}, From: from, To: sampleSnapshot(), Generation: 3,
	}
}

func sampleOpen() Open {
	s := sampleStep()
	return Open{
		Step: s, Driver: "btrfs", Incarnation: strings.Repeat("0f", 16), ChunkBytes: MaxChunk, Estimate: 42,
		Checkpoint: dataset.Checkpoint{Kind: "btrfs-segments", Step: s.ID(), Done: 9, Opaque: []byte{1, 2}},
	}
}

func sampleInventoryRequest() InventoryRequest {
	return InventoryRequest{
		Job: "db", Driver: "btrfs", MayPromote: true,
		Datasets: []InventoryAsk{{Dataset: dataset.Dataset{Path: "/data/db", ID: "11aa"}}},
	}
}

func sampleInventory() Inventory {
	mark := dataset.Mark{Activation: dataset.Activation{Generation: 1, ID: dataset.ActivationID(strings.Repeat("ab", 16)), Node: "fra1"}}
	return Inventory{
		Now: time.Date(2026, 1, 2, 3, 4, 6, 0, time.UTC), Usage: Usage{Free: 5, Size: 9},
		Replicas: []Replica{{
			Path: "/data/db", ID: "11aa", Mark: mark, Snapshots: []dataset.Snapshot{sampleSnapshot()},
			Problem: Errorf("busy", "a receive is running"),
		}},
	}
}

func sampleHello() Hello {
	return Hello{
		Version: 1, Software: "0.1.0", Node: "sin1", Now: time.Date(2026, 1, 2, 3, 4, 6, 0, time.UTC),
		Offers: []Offer{{Driver: "btrfs", Usage: Usage{Free: 5, Size: 9}, MinFree: 1}},
		Pulled: []Pulled{{Job: "db", Driver: "btrfs"}},
	}
}

// TestGolden holds what is on the wire to what it was: a change here is a new
// protocol version or an optional field.
func TestGolden(t *testing.T) {
	end := EndHeader(3, 700_000)
	for name, v := range map[string]any{
		"hello.json": sampleHello(), "inventory-request.json": sampleInventoryRequest(), "inventory.json": sampleInventory(),
		"pull-request.json": PullRequest{Driver: "btrfs", When: "every 1h"}, "pull-answer.json": PullAnswer{Jobs: []string{"db"}},
		"open.json": sampleOpen(), "commit-query.json": CommitQuery{Step: sampleStep(), Driver: "btrfs"},
		"committed.json": Committed{Published: true, Snapshot: sampleSnapshot()},
		"progress.json":  Progress{Next: 4, Have: []Range{{6, 8}}, Credit: 36},
		"progress-space.json": Progress{Next: 4, Credit: 4, Error: FromError(
			fmt.Errorf("receive: %w", &dataset.SpaceError{Where: "/backup", Free: 1, Need: 2}))},
		"tips-request.json": sampleTipsRequest(), "tips.json": sampleTips(),
		"chunk.hex": ChunkHeader(0x0102030405060708, []byte("antipode")).Append(nil),
		"end.hex":   end.Append(nil),
		"idle.hex":  Header{Type: FrameIdle}.Append(nil),
	} {
		t.Run(name, func(t *testing.T) {
			got := encode(t, v)
			path := filepath.Join("testdata", name)
			if *update {
				if err := os.WriteFile(path, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	if b, ok := v.([]byte); ok {
		return []byte(hex.Dump(b))
	}
	b, err := json.MarshalIndent(v, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	return append(b, '\n')
}

func roundTrip[M Message](t *testing.T, want M) {
	t.Helper()
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode[M](bytes.NewReader(b), len(b))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%T: got %+v, %v; want %+v", want, got, err, want)
	}
	if _, err := Decode[M](bytes.NewReader(b), len(b)-1); !errors.Is(err, ErrTooLarge) {
		t.Errorf("%T above its limit: %v, want %v", want, err, ErrTooLarge)
	}
}

func TestMessagesRoundTrip(t *testing.T) {
	roundTrip(t, sampleHello())
	roundTrip(t, sampleInventoryRequest())
	roundTrip(t, sampleInventory())
	roundTrip(t, sampleOpen())
	roundTrip(t, PullRequest{Driver: "btrfs", When: "every 1h"})
	roundTrip(t, PullAnswer{Jobs: []string{"db"}})
	roundTrip(t, CommitQuery{Step: sampleStep(), Driver: "btrfs"})
	roundTrip(t, Committed{Published: true, Snapshot: sampleSnapshot()})
	roundTrip(t, Progress{Next: 1, Have: []Range{{2, 3}, {5, 9}}, Credit: 33})
}

func TestParseIsStrict(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		ok         bool
	}{
		{"plain", `{"next":1,"credit":2}`, true},
		{"unknown optional field", `{"next":1,"credit":2,"news":{"x":["!"]}}`, true},
		{"unknown mandatory field", `{"next":1,"credit":2,"!news":1}`, false},
		{"unknown mandatory field inside", `{"next":1,"credit":2,"error":{"kind":"x","!y":1}}`, false},
		{"two values", `{"next":1,"credit":2}{}`, false},
		{"wrong type", `{"next":"1"}`, false},
		{"negative", `{"next":-1}`, false},
		{"not UTF-8", "{\"next\":1,\"error\":{\"kind\":\"x\",\"text\":\"\xff\"}}", false},
		{"empty", ``, false},
		{"ranges that do not rise", `{"next":1,"have":[[5,6],[3,4]],"credit":9}`, false},
		{"an empty range", `{"next":1,"have":[[5,5]],"credit":9}`, false},
		{"a range at the watermark", `{"next":1,"have":[[1,2]],"credit":9}`, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Parse[Progress]([]byte(tc.text))
			if tc.ok != (err == nil) || err != nil && !errors.Is(err, ErrMalformed) {
				t.Errorf("Parse: %v, want ok %v", err, tc.ok)
			}
		})
	}
}

func TestValidateRefuses(t *testing.T) {
	many := func(n int) []dataset.Snapshot { return make([]dataset.Snapshot, n) }
	for name, m := range map[string]Message{
		"hello without node":          Hello{},
		"hello of too many offers":    Hello{Node: "a", Offers: make([]Offer, MaxOffers+1)},
		"hello with escape":           Hello{Node: "a\x1b[2J"},
		"offer that is negative":      Hello{Node: "a", Offers: []Offer{{Driver: "btrfs", MinFree: -1}}},
		"no datasets":                 InventoryRequest{Job: "j", Driver: "btrfs"},
		"too many datasets":           InventoryRequest{Job: "j", Driver: "btrfs", Datasets: make([]InventoryAsk, MaxInventoryDatasets+1)},
		"path that climbs":            change(sampleInventoryRequest(), func(r *InventoryRequest) { r.Datasets[0].Dataset.Path = "/a/../b" }),
		"dataset without identity":    change(sampleInventoryRequest(), func(r *InventoryRequest) { r.Datasets[0].Dataset.ID = "" }),
		"mark of generation 0":        change(sampleInventoryRequest(), func(r *InventoryRequest) { r.Datasets[0].Mark.ID = "x" }),
		"job of 65 bytes":             change(sampleInventoryRequest(), func(r *InventoryRequest) { r.Job = strings.Repeat("j", MaxNameBytes+1) }),
		"too many replicas":           Inventory{Replicas: make([]Replica, MaxInventoryDatasets+1)},
		"snapshot without name":       Inventory{Replicas: []Replica{{Path: "/a", Snapshots: many(1)}}},
		"replica of a bad identity":   Inventory{Replicas: []Replica{{Path: "/a", ID: "Z"}}},
		"usage that is negative":      Inventory{Usage: Usage{Free: -1}},
		"too many holds":              change(sampleInventory(), func(v *Inventory) { v.Replicas[0].Snapshots[0].Holds = make([]dataset.Tag, MaxHolds+1) }),
		"hold that is no tag":         change(sampleInventory(), func(v *Inventory) { v.Replicas[0].Snapshots[0].Holds = []dataset.Tag{"../x"} }),
		"a year of 20000":             change(sampleInventory(), func(v *Inventory) { v.Replicas[0].Snapshots[0].Created = time.Date(20000, 1, 1, 0, 0, 0, 0, time.UTC) }),
		"incarnation of 31 digits":    change(sampleOpen(), func(o *Open) { o.Incarnation = o.Incarnation[1:] }),
		"incarnation of other":        change(sampleOpen(), func(o *Open) { o.Incarnation = strings.Repeat("G", 32) }),
		"chunks too small":            change(sampleOpen(), func(o *Open) { o.ChunkBytes = MinChunk - 1 }),
		"chunks too large":            change(sampleOpen(), func(o *Open) { o.ChunkBytes = MaxChunk + 1 }),
		"checkpoint of another step":  change(sampleOpen(), func(o *Open) { o.Checkpoint.Step = dataset.StepID(strings.Repeat("0", 32)) }),
		"checkpoint too large":        change(sampleOpen(), func(o *Open) { o.Checkpoint.Opaque = make([]byte, dataset.MaxCheckpointBytes+1) }),
		"checkpoint below zero":       change(sampleOpen(), func(o *Open) { o.Checkpoint.Done = -1 }),
		"step to nowhere":             change(sampleOpen(), func(o *Open) { o.Step.To.Name = "a/b" }),
		"base without identity":       change(sampleOpen(), func(o *Open) { o.Checkpoint = dataset.Checkpoint{}; o.Step.From.ID = "" }),
		"flags too long":              change(sampleOpen(), func(o *Open) { o.Step.Flags = strings.Repeat("-", MaxFlagsBytes+1) }),
		"mark of the last generation": change(sampleOpen(), func(o *Open) { o.Mark.Generation = 1<<64 - 1 }),
		"pull of nothing":             PullRequest{When: "every 1h"},
		"pull at an escape":           PullRequest{Driver: "btrfs", When: "\x1b[2J"},
		"too many jobs to pull":       Hello{Node: "a", Pulled: make([]Pulled, MaxPulled+1)},
		"job to pull without driver":  Hello{Node: "a", Pulled: []Pulled{{Job: "db"}}},
		"offer of a strip too long":   Hello{Node: "a", Offers: []Offer{{Driver: "btrfs", Strip: strings.Repeat("x", dataset.MaxPathBytes+1)}}},
		"offer with escape":           Hello{Node: "a", Offers: []Offer{{Driver: "btrfs", Pull: "\x1b[2J"}}},
		"too many jobs pulled":        PullAnswer{Jobs: make([]string, MaxPulled+1)},
		"job pulled without a name":   PullAnswer{Jobs: []string{""}},
		"driver missing":              CommitQuery{Step: sampleStep()},
		"published without snapshot":  Committed{Published: true},
		"progress of many ranges":     Progress{Have: make([]Range, MaxRanges+1)},
		"error without kind":          &Error{},
		"no error":                    (*Error)(nil),
	} {
		t.Run(name, func(t *testing.T) {
			if err := m.Validate(); !errors.Is(err, ErrMalformed) {
				t.Errorf("Validate: %v, want %v", err, ErrMalformed)
			}
		})
	}
}

// A message of few bytes must not become one of many in memory.
func TestParseCountsBeforeItAllocates(t *testing.T) {
	list := func(v string, n int) string {
		return `{"replicas":[{"path":"/a","snapshots":[` + strings.Repeat(v+",", n) + v + `]}]}`
	}
	for name, tc := range map[string]struct {
		text string
		want error
	}{
		"empty values":        {list("{}", MaxListed), ErrTooLarge},
		"nulls":               {list(" null\n", MaxListed), ErrTooLarge},
		"lists in lists":      {list("[1,2]", MaxListed/2), ErrTooLarge},
		"deep":                {strings.Repeat(`{"x":[`, 1+MaxDepth/2), ErrMalformed},
		"brackets too many":   {"]]]}", ErrMalformed},
		"commas in a text":    {`{"now":"` + strings.Repeat("[,\\\",{", MaxListed) + `"}`, ErrMalformed}, // it is no time
		"fields are not many": {`{` + strings.Repeat(`"x":1,`, 2*MaxListed) + `"replicas":[]}`, nil},
	} {
		_, err := Parse[Inventory]([]byte(tc.text))
		if !errors.Is(err, tc.want) {
			t.Errorf("%s: got %v, want %v", name, err, tc.want)
		}
	}
}

// Whoever asked asks for less then.
func TestTooManySnapshotsAreToldFromAMalformedAnswer(t *testing.T) {
	v := Inventory{Replicas: []Replica{{Path: "/a", Snapshots: make([]dataset.Snapshot, MaxSnapshotsPerReply+1)}}}
	if err := v.Validate(); !errors.Is(err, ErrTooLarge) || errors.Is(err, ErrMalformed) {
		t.Errorf("Validate: %v, want %v", err, ErrTooLarge)
	}
}

func change[M any](m M, f func(*M)) M {
	f(&m)
	return m
}

func TestErrorsCrossTheWire(t *testing.T) {
	sentinels := []error{
		dataset.ErrNotFound, dataset.ErrNotDataset, dataset.ErrExists, dataset.ErrChanged, dataset.ErrHeld, dataset.ErrBaseMissing,
		dataset.ErrDiverged, dataset.ErrNoSpace, dataset.ErrRefused, dataset.ErrStaleCheckpoint, dataset.ErrBusy, dataset.ErrStuck,
		dataset.ErrToolMissing, dataset.ErrCut, ErrMalformed, ErrVersion, ErrUnauthorized, ErrUnknown, ErrGone, ErrSuperseded,
		ErrAborted, ErrLinkWait, ErrMismatch, ErrDigest, ErrBeyondCredit, ErrTooLarge, ErrTooMany, ErrPairing,
	}
	if len(sentinels) != len(kinds) {
		t.Errorf("%d sentinels are tested, %d have a kind", len(sentinels), len(kinds))
	}
	for _, s := range sentinels {
		b, err := json.Marshal(FromError(fmt.Errorf("receive /data/db: %w", s)))
		if err != nil {
			t.Fatal(err)
		}
		e, err := Parse[*Error](b)
		if err != nil {
			t.Fatal(err)
		}
		if !errors.Is(e, s) || e.Status() < 400 {
			t.Errorf("%v arrived as %v, status %d", s, e, e.Status())
		}
		again := FromError(fmt.Errorf("send to sin1: %w", e))
		if !errors.Is(again, s) || !strings.Contains(again.Error(), "send to sin1: receive /data/db") {
			t.Errorf("%v passed on is %v", s, again)
		}
		n := 0
		for _, other := range sentinels {
			if errors.Is(e, other) {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%v arrived as %d sentinels, want 1", s, n)
		}
	}
	if e := FromError(errors.New("odd")); e.Kind != KindInternal || e.Unwrap() != nil || e.Status() != 500 {
		t.Errorf("an error of no kind is %+v", e)
	}
	if e := (&Error{Kind: "from-the-future", Text: "x"}); e.Unwrap() != nil || FromError(nil) != nil {
		t.Errorf("unknown kind leads to %v", e.Unwrap())
	}
}

func TestSpaceEvidenceCrossesTheWire(t *testing.T) {
	want := dataset.SpaceError{Where: "/backup/fra1", Free: 12, Need: 34}
	b, err := json.Marshal(FromError(fmt.Errorf("receive: %w", &want)))
	if err != nil {
		t.Fatal(err)
	}
	e, err := Parse[*Error](b)
	if err != nil {
		t.Fatal(err)
	}
	got, ok := errors.AsType[*dataset.SpaceError](e)
	if !ok || *got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestErrorTextsAreCleaned(t *testing.T) {
	e, err := Parse[*Error]([]byte(`{"kind":"refused","text":"a\u001b[2Jb\nc\u202ed","next":"` + strings.Repeat("é", MaxTextBytes) + `"}`))
	if err != nil {
		t.Fatal(err)
	}
	if e.Text != "a [2Jb c d" {
		t.Errorf("text = %q", e.Text)
	}
	if len(e.Next) > MaxTextBytes || !strings.HasSuffix(e.Next, "é") {
		t.Errorf("next has %d bytes and ends in %q", len(e.Next), e.Next[len(e.Next)-2:])
	}
}

func TestVersionSaysWhomToUpgrade(t *testing.T) {
	for _, tc := range []struct{ header, want string }{
		{"1", ""},
		{"2", "upgrade Antipode on this side"},
		{"0", "is it Antipode"},
		{"", "is it Antipode"},
		{"x", "is it Antipode"},
	} {
		err := CheckVersion(tc.header, "sin1:8771")
		if tc.want == "" != (err == nil) {
			t.Errorf("CheckVersion(%q) = %v", tc.header, err)
		}
		if err != nil && (!errors.Is(err, ErrVersion) || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("CheckVersion(%q) = %v, want %q", tc.header, err, tc.want)
		}
	}
}

// A packed chunk as it is on the wire: the header, and a frame of zstd that another
// release may have made otherwise.
func TestGoldenPackedChunk(t *testing.T) {
	coder, raw := squeeze.NewCoder(), bytes.Repeat([]byte("antipode "), 30)
	path := filepath.Join("testdata", "chunk-zstd.hex")
	if *update {
		packed, _ := coder.Pack(nil, raw, squeeze.Fast)
		frame := append(ChunkHeader(7, raw).Packed(CodecZstd, len(packed)).Append(nil), packed...)
		if err := os.WriteFile(path, encode(t, frame), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var frame []byte
	for line := range strings.Lines(string(text)) {
		bytesOf, _, _ := strings.Cut(line[8:], "|")
		b, err := hex.DecodeString(strings.ReplaceAll(bytesOf, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		frame = append(frame, b...)
	}
	h, err := ParseHeader(frame[:HeaderBytes])
	if err != nil || h != ChunkHeader(7, raw).Packed(CodecZstd, len(frame)-HeaderBytes) {
		t.Fatalf("got %+v, %v", h, err)
	}
	got := make([]byte, h.Raw)
	if err := coder.Unpack(got, frame[HeaderBytes:]); err != nil || !bytes.Equal(got, raw) {
		t.Errorf("it holds %q, %v; want %q", got, err, raw)
	}
}
