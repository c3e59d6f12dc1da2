package target

import (
	"errors"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/naming"
	"antipode/fsdrivers/zfs/prop"
	"antipode/fsdrivers/zfs/standby/standbytest"
	"antipode/fsdrivers/zfs/stream"
	"antipode/fsdrivers/zfs/token"
)

// twoLineages is a replica of src/db with the points 1 and 2 in an older lineage, which
// has the place, and 3 and 4 in a newer one, of which 9 is in the middle of its way.
func twoLineages(t *testing.T, change func(p *simPool)) *Target {
	t.Helper()
	s, tg := simTarget(t, "src")
	p := s.readPool()
	id := string(naming.IDOf(77))
	add := func(name string, points ...int) {
		if err := p.create(name, []string{prop.Path + "=src/db", prop.Source + "=" + id}); err != nil {
			t.Fatal(err)
		}
		for _, n := range points {
			full := name + "@antipode_" + strconv.Itoa(n)
			if err := p.create(full, nil); err != nil {
				t.Fatal(err)
			}
			maps.Copy(p.Props[full], map[string]string{"guid": strconv.Itoa(n), "userrefs": "0", "creation": "5", prop.Created: prop.TextOf(standbytest.Now()), prop.Received: prop.TextOf(standbytest.Now())})
		}
	}
	add("dst/into/src/db", 1, 2)
	add("dst/into/.antipode/newer", 3, 4)
	add("dst/into/.antipode/partial")
	p.Props["dst/into/.antipode/partial"]["inconsistent"] = "1"
	if change != nil {
		change(p)
	}
	s.pool(p)
	return tg
}

func point(n int) dataset.Snapshot {
	return dataset.Snapshot{Name: "antipode_" + strconv.Itoa(n), ID: naming.IDOf(uint64(n))}
}

// onwardStep is from one point to another; 0 is none.
func onwardStep(from, to int, flags string) dataset.Step {
	s := dataset.Step{Job: "on", Dataset: dataset.Dataset{Path: "src/db", ID: naming.IDOf(77)}, To: point(to), Flags: flags}
	if from != 0 {
		s.From = point(from)
	}
	return s
}

func TestPointsAreSentOnFromTheLineageThatHoldsBoth(t *testing.T) {
	raw := func(p *simPool) {
		p.Props["dst/into/src/db"][prop.Key] = "whatever"
		p.Props["dst/into/src/db"]["encryption"] = "aes-256-gcm"
	}
	crypted := func(p *simPool) { p.Props["dst/into/src/db"]["encryption"] = "aes-256-gcm" }
	other := onwardStep(0, 1, "")
	other.Dataset.ID = naming.IDOf(78)
	nowhere := onwardStep(0, 1, "")
	nowhere.Dataset.Path = "src/none"
	for name, c := range map[string]struct {
		step   dataset.Step
		change func(p *simPool)
		want   string
		err    error
	}{
		"a full copy":                    {onwardStep(0, 2, ""), nil, "-L -c dst/into/src/db@antipode_2", nil},
		"an increment":                   {onwardStep(1, 2, ""), nil, "-L -c -i dst/into/src/db@antipode_1 dst/into/src/db@antipode_2", nil},
		"in the newer lineage":           {onwardStep(3, 4, "plain"), nil, "-L -c -i dst/into/.antipode/newer@antipode_3 dst/into/.antipode/newer@antipode_4", nil},
		"what came raw":                  {onwardStep(1, 2, ""), raw, "-w -i dst/into/src/db@antipode_1 dst/into/src/db@antipode_2", nil},
		"what came raw, asked to be":     {onwardStep(0, 2, "raw"), raw, "-w dst/into/src/db@antipode_2", nil},
		"encrypted by this host":         {onwardStep(0, 2, ""), crypted, "-w dst/into/src/db@antipode_2", nil},
		"encrypted by this host, plain":  {onwardStep(0, 2, "plain"), crypted, "-L -c dst/into/src/db@antipode_2", nil},
		"what came raw, never decrypted": {onwardStep(0, 2, "plain"), raw, "", dataset.ErrRefused},
		"raw what is not encrypted":      {onwardStep(0, 2, "raw"), nil, "", dataset.ErrRefused},
		"from one lineage to another":    {onwardStep(2, 3, ""), nil, "", dataset.ErrBaseMissing},
		"what is not here":               {onwardStep(0, 5, ""), nil, "", dataset.ErrNotFound},
		"from what is not here":          {onwardStep(5, 2, ""), nil, "", dataset.ErrBaseMissing},
		"another dataset's":              {other, nil, "", dataset.ErrNotFound},
		"a dataset's that is not here":   {nowhere, nil, "", dataset.ErrNotFound},
	} {
		tg := twoLineages(t, c.change)
		r, err := tg.Onward().Send(t.Context(), c.step, dataset.Checkpoint{})
		if !errors.Is(err, c.err) {
			t.Errorf("%s: got %v, want %v", name, err, c.err)
		}
		n, eerr := tg.Onward().Estimate(t.Context(), c.step)
		if !errors.Is(eerr, c.err) || err == nil && n != 5 {
			t.Errorf("%s: the estimate is %d, %v", name, n, eerr)
		}
		if err != nil {
			continue
		}
		text, err := io.ReadAll(r)
		if err = errors.Join(err, r.Close()); err != nil || string(text) != "size\t5\n"+c.want {
			t.Errorf("%s: ran zfs send %q, %v; want %q", name, text, err, c.want)
		}
	}
}

// A token that a peer reports chooses nothing but a position.
func TestASendOnwardGoesOnWithATokenOfOurOwn(t *testing.T) {
	tg := twoLineages(t, nil)
	step := onwardStep(1, 2, "")
	theirs := token.Token{Position: stream.Position{Object: 7, Offset: 512}, Bytes: 5000, FromGUID: 1, ToGUID: 2, ToName: "src/secret@x", LargeOK: true, PackedOK: true}
	c := dataset.Checkpoint{Kind: stream.CheckpointKind, Step: step.ID(), Done: 5000, Opaque: []byte(theirs.String())}
	r, err := tg.Onward().Send(t.Context(), step, c)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	_, args, found := strings.Cut(string(text), "-t ")
	got, err := token.Parse(args)
	if err != nil || !found || got.ToName != "dst/into/src/db@antipode_2" || got.Object != 7 || got.Bytes != 5000 || got.ToGUID != 2 || got.FromGUID != 1 {
		t.Errorf("ran zfs send %q with the token %+v, %v", text, got, err)
	}
	theirs.FromGUID = 3
	c.Opaque = []byte(theirs.String())
	if _, err := tg.Onward().Send(t.Context(), step, c); !errors.Is(err, dataset.ErrStaleCheckpoint) {
		t.Errorf("a token of another step: got %v, want %v", err, dataset.ErrStaleCheckpoint)
	}
}

func TestOfferedIsWhatTheSourceGoesOnWith(t *testing.T) {
	for name, c := range map[string]struct {
		change func(p *simPool)
		want   []int
	}{
		"the newer lineage":       {nil, []int{3, 4}},
		"the one that there is":   {func(p *simPool) { delete(p.Props, "dst/into/.antipode/newer") }, []int{1, 2}},
		"nothing that is partial": {func(p *simPool) { p.Props["dst/into/.antipode/newer"]["inconsistent"] = "1" }, []int{1, 2}},
		"nothing that was written here": {func(p *simPool) {
			p.Props["dst/into/.antipode/newer"][prop.Live] = prop.On
			delete(p.Props["dst/into/.antipode/newer@antipode_4"], prop.Received)
		}, []int{3}},
	} {
		tg := twoLineages(t, c.change)
		offerer, ok := tg.Onward().(fsdrivers.Offerer)
		if !ok {
			t.Fatal("it offers all")
		}
		got, err := offerer.Offered(t.Context(), "src/db")
		want := make([]dataset.ID, len(c.want))
		for i, n := range c.want {
			want[i] = point(n).ID
		}
		if !slices.EqualFunc(got, want, func(s dataset.Snapshot, id dataset.ID) bool { return s.ID == id }) || err != nil {
			t.Errorf("%s: got %v, %v; want %v", name, got, err, want)
		}
	}
}
