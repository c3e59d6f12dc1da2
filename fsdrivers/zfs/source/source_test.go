package source

import (
	"errors"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/listing"
	"antipode/fsdrivers/zfs/naming"
	"antipode/fsdrivers/zfs/pool"
	"antipode/fsdrivers/zfs/prop"
	"antipode/fsdrivers/zfs/stream"
	"antipode/fsdrivers/zfs/token"
)

// markOf is of the n-th promotion, and remembers those before.
func markOf(n int, node string) dataset.Mark {
	var all []dataset.Activation
	for g := n; g > 0; g-- {
		all = append(all, dataset.Activation{Generation: uint64(g), ID: dataset.NewActivationID(), Node: node, Base: naming.IDOf(uint64(g))})
	}
	return dataset.Mark{Activation: all[0], History: all[1:]}
}

func TestAMarkIsSwappedOnlyForAllOfIt(t *testing.T) {
	have := markOf(2, "fra1")
	text, err := prop.EncodeMark(have)
	if err != nil {
		t.Fatal(err)
	}
	s := script(t, rule{Args: "get", Out: props("tank/db", prop.Mark, text)}, rule{Args: "set"})
	src := s.source(time.Now)
	rival, forgetful := have, have
	rival.Node = "sin1"
	forgetful.History = nil
	for name, old := range map[string]dataset.Mark{"of another node": rival, "without its history": forgetful} {
		if err := src.SwapMark(t.Context(), "tank/db", old, markOf(3, "sin1")); !errors.Is(err, dataset.ErrChanged) {
			t.Errorf("swap for one %s: got %v, want changed", name, err)
		}
	}
	if err := src.SwapMark(t.Context(), "tank/db", have, have); err != nil {
		t.Errorf("swap for the one that is there: %v", err)
	}
}

func TestFindTellsDatasetsFromWhatIsOurs(t *testing.T) {
	out := props("tank", "guid", "1", "tank", "readonly", "off", "tank/b", "guid", "2", "tank/a", "guid", "3",
		"tank/ro", "guid", "4", "tank/ro", "readonly", "on", "tank/holder", "guid", "5", "tank/holder", prop.Placeholder, "on",
		"tank/into", "guid", "6", "tank/into", prop.Into, "on", "tank/into/x", "guid", "7", "tank/into/x", prop.Path, "src/x")
	s := script(t, rule{Args: "get -Hp", Out: out})
	got, err := s.source(nil).Find(t.Context(), "tank", true)
	want := []dataset.Dataset{{Path: "tank", ID: naming.IDOf(1)}, {Path: "tank/a", ID: naming.IDOf(3)}, {Path: "tank/b", ID: naming.IDOf(2)}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	if n := len(s.Calls()); n != 1 {
		t.Errorf("it took %d processes, want 1", n)
	}
}

// listed is a source with three snapshots, a foreign one and a bookmark whose
// snapshot is gone.
func listed() []rule {
	return []rule{
		{Args: "list -Hp -d 1", Out: "tank/db@antipode_b\t11\t200\ntank/db@daily\t12\t150\ntank/db@antipode_a\t10\t100\n" +
			"tank/db#antipode_old\t9\t50\ntank/db#antipode_a\t10\t100\n"},
		{Args: "get -Hp -o name,property,source,value creation", Out: props("tank/db@antipode_a", prop.Created, "2026-01-01T00:00:00Z",
			"tank/db@antipode_b", "creation", "1767225600", "tank/db#antipode_old", "creation", "1")},
		{Args: "holds -H", Out: "tank/db@antipode_a\torg.antipode:base.x\tnow\n"},
	}
}

func TestSnapshotsAreOursInOrder(t *testing.T) {
	s := script(t, listed()...)
	got, err := s.source(nil).Snapshots(t.Context(), "tank/db")
	if err != nil || len(got) != 3 {
		t.Fatalf("got %v, %v", got, err)
	}
	if got[0].ID != naming.IDOf(9) || got[1].ID != naming.IDOf(10) || got[2].ID != naming.IDOf(11) || got[1].Order != 100 {
		t.Errorf("got %v", got)
	}
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	if !got[1].Created.Equal(at) || !got[2].Created.Equal(at) || !slices.Equal(got[1].Holds, []dataset.Tag{"base.x"}) {
		t.Errorf("got %v", got)
	}
	if n := len(s.Calls()); n > 3 {
		t.Errorf("it took %d processes, want at most 3", n)
	}
}

// What others made is told beside ours where it is asked for, once, and a bookmark of
// it stands for it where it is not: a filter hides no base.
func TestSnapshotsOfOthersThatAreIncluded(t *testing.T) {
	rules := listed()
	rules[0].Out += "tank/db#antipode__daily\t12\t150\ntank/db@weekly\t13\t160\n"
	rules[1].Out += props("tank/db@daily", "creation", "1767225600", "tank/db@weekly", "creation", "1767225600", "tank/db#antipode__daily", "creation", "1")
	for include, want := range map[string]string{"": "old a _daily b", "daily": "old a daily* b"} {
		s := script(t, rules...)
		src := s.source(nil)
		if include != "" {
			src.include = func(name string) bool { return name == include }
		}
		list, err := src.Snapshots(t.Context(), "tank/db")
		var got []string
		for _, snap := range list {
			name := strings.TrimPrefix(snap.Name, naming.Prefix)
			if snap.Foreign {
				name += "*"
			}
			got = append(got, name)
		}
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("with %q: got %v, %v, want %s", include, got, err, want)
		}
	}
	others, err := script(t, rules...).source(nil).Foreign(t.Context(), "tank/db")
	if err != nil || len(others) != 2 || others[0].Name != "daily" || others[1].Name != "weekly" || !others[1].Foreign {
		t.Errorf("of others: got %v, %v, want daily and weekly", others, err)
	}
}

func TestAnUnchangedDatasetCostsNothing(t *testing.T) {
	s := script(t, append(listed(), rule{
		Args: "get -Hp -o name,property,source,value -t filesystem,volume",
		Out:  props("tank/db", "guid", "1", "tank/db", "snapshots_changed", "1767225600"),
	}, rule{Args: "hold "})...)
	clock := time.Unix(1767225600, 0).Add(time.Hour)
	src := s.source(func() time.Time { return clock })
	list := func() []dataset.Snapshot {
		t.Helper()
		if _, err := src.Find(t.Context(), "tank/db", true); err != nil {
			t.Fatal(err)
		}
		l, err := src.Snapshots(t.Context(), "tank/db")
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	first := list()
	cost := len(s.Calls())
	if again := list(); !reflect.DeepEqual(again, first) || len(s.Calls()) != cost+1 {
		t.Errorf("the second round took %d processes, want 1", len(s.Calls())-cost)
	}
	clock = clock.Add(listing.Believed + time.Second) // nobody looked since
	cost = len(s.Calls())
	if _, err := src.Snapshots(t.Context(), "tank/db"); err != nil || len(s.Calls()) == cost {
		t.Errorf("a list that nothing vouches for was believed, %v", err)
	}
	list()
	src.changed("tank/db", false)
	cost = len(s.Calls())
	if list(); len(s.Calls()) < cost+3 {
		t.Error("a list that was dropped was believed")
	}
}

// On a slow host each process takes 20 s: what Find has read is not out of date before it is used.
func TestASlowLookIsBelieved(t *testing.T) {
	s := script(t, append(listed(), rule{
		Args: "get -Hp -o name,property,source,value -t filesystem,volume", Out: props("tank", "guid", "1", "tank/db", "guid", "2"),
	})...)
	src := s.source(func() time.Time { return time.Unix(int64(20*len(s.Calls())), 0) })
	_, err := src.Find(t.Context(), "tank", true)
	if _, listErr := src.Snapshots(t.Context(), "tank/db"); err != nil || listErr != nil {
		t.Fatal(err, listErr)
	}
	if _, err := src.Mark(t.Context(), "tank"); err != nil || len(s.Calls()) != 1+3 {
		t.Errorf("got %q, %v, want that one process read all, and three the list of one", s.Calls(), err)
	}
}

func TestAListReadInTheSecondOfTheChangeIsNotBelieved(t *testing.T) {
	s := script(t, append(listed(), rule{
		Args: "get -Hp -o name,property,source,value -t filesystem,volume",
		Out:  props("tank/db", "guid", "1", "tank/db", "snapshots_changed", "1767225600"),
	})...)
	src := s.source(func() time.Time { return time.Unix(1767225600, 5e8) })
	for range 2 {
		if _, err := src.Find(t.Context(), "tank/db", false); err != nil {
			t.Fatal(err)
		}
		before := len(s.Calls())
		if _, err := src.Snapshots(t.Context(), "tank/db"); err != nil || len(s.Calls()) == before {
			t.Fatalf("it was believed, %v", err)
		}
	}
}

func TestSnapshotsOfOnePoolAreOneCommand(t *testing.T) {
	s := script(t,
		rule{Args: "get -Hp -o name,property,source,value guid,org.antipode:placeholder", Out: props("tank/a", "guid", "1", "tank/b", "guid", "2")},
		rule{Args: "snapshot"},
		rule{Args: "get -Hp -o name,property,source,value guid,createtxg", Out: props(
			"tank/a@antipode_x", "guid", "3", "tank/a@antipode_x", "createtxg", "7", "tank/b@antipode_x", "guid", "4", "tank/b@antipode_x", "createtxg", "7")},
		rule{Args: "holds"})
	got, err := s.source(nil).Snapshot(t.Context(), "antipode_x", time.Unix(5, 0), []dataset.Path{"tank/b", "tank/a"})
	if err != nil || len(got) != 2 || got[0].ID != naming.IDOf(4) || got[1].ID != naming.IDOf(3) {
		t.Errorf("got %v, %v", got, err)
	}
	want := "snapshot -o org.antipode:created=1970-01-01T00:00:05Z tank/b@antipode_x tank/a@antipode_x"
	if !slices.Contains(s.Calls(), want) {
		t.Errorf("got %q, want %q among them", s.Calls(), want)
	}
}

// TestDatasetsThatAreTooLongForTheNameAreNamed, all of them and before any snapshot is made: who
// asks can leave them out.
func TestDatasetsThatAreTooLongForTheNameAreNamed(t *testing.T) {
	s := script(t)
	long, longer := dataset.Path("tank/"+strings.Repeat("n", 240)), dataset.Path("tank/"+strings.Repeat("n", 241))
	_, err := s.source(nil).Snapshot(t.Context(), "antipode_x", time.Unix(5, 0), []dataset.Path{"tank/a", long, longer})
	var misfit *dataset.MisfitError
	if !errors.As(err, &misfit) || !slices.Equal(misfit.Datasets, []dataset.Path{long, longer}) || !errors.Is(err, dataset.ErrRefused) {
		t.Errorf("got %v, want the two that are too long", err)
	}
	if calls := s.Calls(); len(calls) > 0 {
		t.Errorf("it ran %q", calls)
	}
}

// sender is a source with an incremental step from a to b.
func sender(t *testing.T, encryption string) (*scripted, dataset.Step) {
	rules := append(listed(),
		rule{Args: "get -Hp -o name,property,source,value guid,encryption tank/db", Out: props("tank/db", "guid", "1", "tank/db", "encryption", encryption)},
		rule{Args: "version", Out: "zfs-2.4.4-1\nzfs-kmod-2.4.4-1\n"},
		rule{Args: "send -n", Out: "size\t77\n"},
		rule{Args: "send", Out: "a stream"})
	return script(t, rules...), dataset.Step{
		Job: "j", Dataset: dataset.Dataset{Path: "tank/db", ID: naming.IDOf(1)}, From: dataset.Snapshot{Name: "antipode_a", ID: naming.IDOf(10)},
		To: dataset.Snapshot{Name: "antipode_b", ID: naming.IDOf(11)},
	}
}

func sendArgs(t *testing.T, s *scripted, step dataset.Step, from dataset.Checkpoint) (string, error) {
	t.Helper()
	r, err := s.source(nil).Send(t.Context(), step, from)
	if err != nil {
		return "", err
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || string(got) != "a stream" {
		return "", errors.Join(err, errors.New(string(got)))
	}
	all := s.Calls()
	return all[len(all)-1], nil
}

func TestSendIsOneSingleStep(t *testing.T) {
	for name, c := range map[string]struct {
		encryption string
		change     func(*dataset.Step)
		want       string
		err        error
	}{
		"incremental":       {"off", nil, "send -L -c -i tank/db@antipode_a tank/db@antipode_b", nil},
		"full":              {"off", func(s *dataset.Step) { s.From = dataset.Snapshot{} }, "send -L -c tank/db@antipode_b", nil},
		"from a bookmark":   {"off", func(s *dataset.Step) { s.From.ID = naming.IDOf(9) }, "send -L -c -i tank/db#antipode_old tank/db@antipode_b", nil},
		"encrypted":         {"aes-256-gcm", nil, "send -w -i tank/db@antipode_a tank/db@antipode_b", nil},
		"encrypted, plain":  {"aes-256-gcm", func(s *dataset.Step) { s.Flags = stream.FlagsPlain }, "send -L -c -i tank/db@antipode_a tank/db@antipode_b", nil},
		"raw of plain":      {"off", func(s *dataset.Step) { s.Flags = stream.FlagsRaw }, "", dataset.ErrRefused},
		"unknown flags":     {"off", func(s *dataset.Step) { s.Flags = "-F" }, "", dataset.ErrRefused},
		"another dataset":   {"off", func(s *dataset.Step) { s.Dataset.ID = naming.IDOf(99) }, "", dataset.ErrNotFound},
		"no such snapshot":  {"off", func(s *dataset.Step) { s.To.ID = naming.IDOf(99) }, "", dataset.ErrNotFound},
		"no such base":      {"off", func(s *dataset.Step) { s.From.ID = naming.IDOf(99) }, "", dataset.ErrBaseMissing},
		"to a bookmark":     {"off", func(s *dataset.Step) { s.To.ID = naming.IDOf(9) }, "", dataset.ErrNotFound},
		"a path from Btrfs": {"off", func(s *dataset.Step) { s.Dataset.Path = "/data/db" }, "", dataset.ErrNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			s, step := sender(t, c.encryption)
			if c.change != nil {
				c.change(&step)
			}
			got, err := sendArgs(t, s, step, dataset.Checkpoint{})
			if got != c.want || !errors.Is(err, c.err) {
				t.Errorf("got %q, %v, want %q, %v", got, err, c.want, c.err)
			}
		})
	}
}

func TestAResumedSendUsesATokenOfOurOwn(t *testing.T) {
	s, step := sender(t, "aes-256-gcm")
	theirs := token.Token{
		Position: stream.Position{Object: 7, Offset: 4096}, Bytes: 5000, ToGUID: 11, FromGUID: 10, ToName: "tank/secret@all", PackedOK: true, RawOK: true,
	}
	at := func(change func(*token.Token)) dataset.Checkpoint {
		tok := theirs
		if change != nil {
			change(&tok)
		}
		return dataset.Checkpoint{Kind: stream.CheckpointKind, Step: step.ID(), Done: 5000, Opaque: []byte(tok.String())}
	}
	got, err := sendArgs(t, s, step, at(nil))
	if err != nil || !strings.HasPrefix(got, "send -w -t 1-") {
		t.Fatalf("got %q, %v", got, err)
	}
	minted, err := token.Parse(strings.TrimPrefix(got, "send -w -t "))
	want := token.Token{
		Position: theirs.Position, Bytes: 5000, ToGUID: 11, FromGUID: 10, ToName: "tank/db@antipode_b", LargeOK: true, PackedOK: true, RawOK: true,
	}
	if err != nil || minted != want {
		t.Errorf("got %+v, %v, want %+v", minted, err, want)
	}
	other := at(nil)
	other.Step = "0123456789abcdef0123456789abcdef"
	kind := at(nil)
	kind.Kind = "btrfs-segments"
	for name, c := range map[string]dataset.Checkpoint{
		"another snapshot": at(func(t *token.Token) { t.ToGUID = 5 }), "another base": at(func(t *token.Token) { t.FromGUID = 0 }),
		"not raw": at(func(t *token.Token) { t.RawOK = false }), "another step": other, "another kind": kind,
		"noise": {Kind: stream.CheckpointKind, Step: step.ID(), Opaque: []byte("noise")},
	} {
		if got, err := sendArgs(t, s, step, c); !errors.Is(err, dataset.ErrStaleCheckpoint) {
			t.Errorf("%s: got %q, %v, want a stale checkpoint", name, got, err)
		}
	}
}

// TestOnlyAResumedSendWithoutItsPositionIsStale: a checkpoint that is dropped costs all that
// was sent.
func TestOnlyAResumedSendWithoutItsPositionIsStale(t *testing.T) {
	s, step := sender(t, "off")
	tok := token.Token{Position: stream.Position{Object: 7}, Bytes: 5000, ToGUID: 11, FromGUID: 10, ToName: "tank/db@antipode_b", LargeOK: true, PackedOK: true}
	resumed := dataset.Checkpoint{Kind: stream.CheckpointKind, Step: step.ID(), Done: 5000, Opaque: []byte(tok.String())}
	const (
		gone    = "warning: cannot send 'tank/db@antipode_b': No such file or directory\n"
		library = "zfs: error while loading shared libraries: libzfs.so.6: cannot open shared object file: No such file or directory\n"
	)
	rules := s.Rules
	for name, c := range map[string]struct {
		from  dataset.Checkpoint
		says  string
		stale bool
	}{
		"resumed":                  {resumed, gone, true},
		"from its beginning":       {dataset.Checkpoint{}, gone, false},
		"an upgrade that goes on":  {resumed, library, false},
		"a disk with bad sectors":  {resumed, "warning: cannot send 'tank/db@antipode_b': Input/output error\n", false},
		"a key that is not loaded": {resumed, "warning: cannot send 'tank/db@antipode_b': source key must be loaded\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			s.Answer(append([]rule{{Args: "send", Code: 1, Err: c.says}}, rules...)...)
			_, err := sendArgs(t, s, step, c.from)
			if errors.Is(err, dataset.ErrStaleCheckpoint) != c.stale || !errors.Is(err, dataset.ErrCut) || !strings.Contains(err.Error(), strings.TrimSpace(c.says)) {
				t.Errorf("got %v, want cut, with what zfs says, and stale: %v", err, c.stale)
			}
		})
	}
}

func TestOldVersionsDoNotTouchEncryptedDatasets(t *testing.T) {
	s, step := sender(t, "aes-256-gcm")
	s.Answer(append([]rule{{Args: "version", Out: "zfs-2.2.7-1\nzfs-kmod-2.2.7-1\n"}}, append(listed(),
		rule{Args: "get -Hp -o name,property,source,value guid,encryption", Out: props("tank/db", "guid", "1", "tank/db", "encryption", "aes-256-gcm")})...)...)
	if _, err := s.source(nil).Send(t.Context(), step, dataset.Checkpoint{}); !errors.Is(err, dataset.ErrRefused) || !strings.Contains(err.Error(), "2.2.8") {
		t.Errorf("got %v, want refused with the version to use", err)
	}
}

func TestAFailedSendIsNeverWhole(t *testing.T) {
	s, step := sender(t, "off")
	s.Answer(append([]rule{{Args: "send", Out: "half", Err: "warning: cannot send 'tank/db@antipode_b': Input/output error\n", Code: 1}}, append(listed(),
		rule{Args: "get -Hp -o name,property,source,value guid,encryption", Out: props("tank/db", "guid", "1", "tank/db", "encryption", "off")})...)...)
	r, err := s.source(nil).Send(t.Context(), step, dataset.Checkpoint{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if string(got) != "half" || !errors.Is(err, dataset.ErrCut) || !strings.Contains(err.Error(), "the pool reports an error") {
		t.Errorf("got %q, %v, want half of it and cut", got, err)
	}
}

func TestEstimate(t *testing.T) {
	s, step := sender(t, "off")
	if n, err := s.source(nil).Estimate(t.Context(), step); n != 77 || err != nil {
		t.Errorf("got %d, %v, want 77", n, err)
	}
}

func TestACommandThatHangsIsGivenUp(t *testing.T) {
	s := script(t, rule{Args: "set", Hang: true})
	src := New(Options{Host: pool.NewHost(s.Binary(), 200*time.Millisecond)})
	if err := src.Fence(t.Context(), "tank/db"); !errors.Is(err, dataset.ErrStuck) {
		t.Errorf("got %v, want stuck", err)
	}
}

func TestAMissingZFSIsTold(t *testing.T) {
	src := New(Options{Host: pool.NewHost("/nonexistent/zfs", 0)})
	if _, err := src.Find(t.Context(), "tank", true); !errors.Is(err, dataset.ErrToolMissing) || !strings.Contains(err.Error(), "install zfsutils-linux") {
		t.Errorf("got %v, want tool missing, and what to install", err)
	}
	if found := src.Probe(t.Context()); len(found) == 0 || !found[0].Fatal || found[0].Cure == "" {
		t.Errorf("probe: got %v, want a fatal finding with a cure", found)
	}
}

func TestProbeTellsTheVersions(t *testing.T) {
	for out, want := range map[string]int{
		"zfs-2.4.4-1\nzfs-kmod-2.4.4-1\n": 0, "zfs-2.4.4-1\nzfs-kmod-2.3.9-1\n": 1, "zfs-2.4.4-1\n": 1,
		"zfs-2.1.11-1\nzfs-kmod-2.1.11-1\n": 3, "nothing": 1,
	} {
		s := script(t, rule{Args: "version", Out: out})
		if got := s.source(nil).Probe(t.Context()); len(got) != want {
			t.Errorf("%q: got %v, want %d findings", out, got, want)
		}
	}
}
