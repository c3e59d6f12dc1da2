package daemon_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"unicode"
	"unicode/utf8"

	"github.com/rs/zerolog"

	"antipode/fsdrivers/dataset"
	"antipode/transport/server"
	"antipode/transport/wire"
)

// The matrix of G8: every endpoint of the server, times every kind of caller,
// times every hostile name in every place where a name goes. What must come out
// is a status and a kind from the small oracle below; and whatever comes out,
// nothing may appear on the target's disk outside the caller's own into.

// standing is what a kind of caller is to the target.
type standing int

const (
	stranger standing = iota // TLS lets it nowhere
	visitor                  // an unknown key while a token is outstanding
	ousted                   // known when it connected, and removed since
	guest                    // a peer for which no room is open
	resident                 // a peer with a room
)

// principal is one kind of caller.
type principal struct {
	name     string
	standing standing
	into     string // a resident's room
	rival    bool   // asks for another's transfer too
	http     *http.Client
}

// answer is what a caller gets to see; status 0 is no answer at all.
type answer struct {
	status int
	kind   wire.Kind
}

func (a answer) String() string { return fmt.Sprintf("%d %q", a.status, a.kind) }

// place is a spot in a request to an endpoint that a name is put into.
type place struct {
	name string
	// ask makes the request with the name in it and returns the verdict.
	ask func(w *world, p *principal, name string) answer
	// want is what a resident has to get.
	want func(n hostileName) answer
	// forGuests is what a guest has to get; nil is the resident's.
	forGuests func(n hostileName) answer
}

// world is one target with all its callers.
type world struct {
	*pair
	principals []*principal
	stream     []byte           // a whole stream of the fake driver
	point      dataset.Snapshot // that it is of
	source     dataset.Dataset
	running    string // the incarnation of a transfer of fra1
	minted     int
	ends       []func() // of what was started beside sin1
}

func malformedOr(v verdictOn, otherwise answer) answer {
	if v == malformed {
		return answer{http.StatusBadRequest, wire.KindMalformed}
	}
	return otherwise
}

func nothing(hostileName) answer { return answer{http.StatusNotFound, wire.KindUnknown} }

// guestsRefused is the verdict on a guest whose message is in order.
func guestsRefused(status int, of func(hostileName) verdictOn) func(hostileName) answer {
	return func(n hostileName) answer { return malformedOr(of(n), answer{status, "refused"}) }
}

func asPath(n hostileName) verdictOn     { return n.path }
func asSnapshot(n hostileName) verdictOn { return n.snapshot }

// receivedAs is the verdict on a step of a resident: success is that status.
func receivedAs(success, refused int, of func(hostileName) verdictOn) func(hostileName) answer {
	return func(n hostileName) answer {
		if of(n) == foreign {
			return answer{refused, "refused"}
		}
		return malformedOr(of(n), answer{success, ""})
	}
}

// places is the table of the matrix: a row for every endpoint.
func places() map[string][]place {
	ok := func(hostileName) answer { return answer{http.StatusOK, ""} }
	return map[string][]place{
		"GET /v1/hello": {{name: "query", ask: func(w *world, p *principal, name string) answer {
			return w.do(p, "GET", wire.PathHello+"?dataset="+url.QueryEscape(name), nil)
		}, want: ok}},
		"POST /v1/inventory": {{name: "path", ask: func(w *world, p *principal, name string) answer {
			q := wire.InventoryRequest{Job: "db", Driver: "btrfs", Datasets: []wire.InventoryAsk{{Dataset: dataset.Dataset{Path: hole, ID: w.source.ID}}}}
			return w.do(p, "POST", wire.PathInventory, fill(q, name))
		}, want: func(n hostileName) answer { return malformedOr(n.path, answer{http.StatusOK, ""}) }, forGuests: guestsRefused(403, asPath)}},
		"POST /v1/tips": {{name: "path", ask: func(w *world, p *principal, name string) answer {
			q := wire.TipsRequest{Job: "db", Driver: "btrfs", Expect: strings.Repeat("0", 32)}
			q.Datasets = []wire.InventoryAsk{{Dataset: dataset.Dataset{Path: dataset.Path(name), ID: w.source.ID}}}
			q.List = wire.SumList(q.Datasets)
			q.Datasets[0].Dataset.Path = hole
			return w.do(p, "POST", wire.PathTips, fill(q, name))
		}, want: func(n hostileName) answer { return malformedOr(n.path, answer{http.StatusOK, ""}) }, forGuests: guestsRefused(403, asPath)}},
		"POST /v1/commit": {
			{name: "path", ask: func(w *world, p *principal, name string) answer {
				return w.do(p, "POST", wire.PathCommit, fill(wire.CommitQuery{Step: w.step(hole, "antipode_x"), Driver: "btrfs"}, name))
			}, want: func(n hostileName) answer { return malformedOr(n.path, answer{http.StatusOK, ""}) }, forGuests: guestsRefused(403, asPath)},
			{name: "snapshot", ask: func(w *world, p *principal, name string) answer {
				return w.do(p, "POST", wire.PathCommit, fill(wire.CommitQuery{Step: w.step("/data/db", hole), Driver: "btrfs"}, name))
			}, want: func(n hostileName) answer { return malformedOr(n.snapshot, answer{http.StatusOK, ""}) }, forGuests: guestsRefused(403, asSnapshot)},
		},
		"POST /v1/pull": {{name: "driver", ask: func(w *world, p *principal, name string) answer {
			return w.do(p, "POST", wire.PathPull, fill(wire.PullRequest{Driver: hole}, name))
		}, want: func(n hostileName) answer {
			if n.text == "" || len(n.text) > wire.MaxNameBytes || !utf8.ValidString(n.text) || strings.ContainsFunc(n.text, unicode.IsControl) {
				return answer{http.StatusBadRequest, wire.KindMalformed}
			}
			return answer{http.StatusForbidden, "refused"} // sin1 sends nothing to anybody
		}}},
		"POST /v1/steps": {
			{name: "path", ask: func(w *world, p *principal, name string) answer {
				return w.do(p, "POST", wire.PathSteps, w.whole(w.open(hole, "antipode_x"), name))
			}, want: receivedAs(200, 403, asPath), forGuests: guestsRefused(403, asPath)},
			{name: "snapshot", ask: func(w *world, p *principal, name string) answer {
				return w.do(p, "POST", wire.PathSteps, w.whole(w.open(w.fresh(), hole), name))
			}, want: receivedAs(200, 403, asSnapshot), forGuests: guestsRefused(403, asSnapshot)},
		},
		"POST /v1/transfers": {
			{name: "path", ask: func(w *world, p *principal, name string) answer {
				return w.opened(p, w.open(hole, "antipode_y"), name)
			}, want: receivedAs(202, 200, asPath), forGuests: guestsRefused(200, asPath)},
			{name: "snapshot", ask: func(w *world, p *principal, name string) answer {
				return w.opened(p, w.open(w.fresh(), hole), name)
			}, want: receivedAs(202, 200, asSnapshot), forGuests: guestsRefused(200, asSnapshot)},
		},
		"DELETE /v1/transfers/{incarnation}": {{name: "incarnation", ask: func(w *world, p *principal, name string) answer {
			return w.do(p, "DELETE", wire.PathTransfers+"/"+segment(name), nil)
		}, want: nothing}},
		"PUT /v1/transfers/{incarnation}/lanes/{lane}": {
			{name: "incarnation", ask: func(w *world, p *principal, name string) answer {
				return w.do(p, "PUT", wire.PathTransfers+"/"+segment(name)+"/lanes/0", w.frames())
			}, want: nothing},
			{name: "lane", ask: func(w *world, p *principal, name string) answer {
				return w.do(p, "PUT", wire.PathTransfers+"/"+strings.Repeat("0", 32)+"/lanes/"+segment(name), w.frames())
			}, want: func(n hostileName) answer {
				if n.text == "/" || strings.Trim(n.text, "0123456789") == "" {
					return nothing(n) // no segment, or a number: no such transfer
				}
				return answer{http.StatusBadRequest, wire.KindMalformed}
			}},
		},
		"GET /v1/transfers/{incarnation}/progress": {{name: "incarnation", ask: func(w *world, p *principal, name string) answer {
			return w.do(p, "GET", wire.PathTransfers+"/"+segment(name)+"/progress", nil)
		}, want: nothing}},
		"POST /v1/pair": {{name: "node", ask: func(w *world, p *principal, name string) answer {
			if p.standing == visitor {
				w.issueToken() // failed attempts use one up
			}
			return w.do(p, "POST", wire.PathPair, fill(map[string]any{"version": 1, "node": hole, "proof": "AAAA"}, name))
		}, want: nothing}},
		"/": {{name: "path", ask: func(w *world, p *principal, name string) answer {
			return w.do(p, "POST", "/v1/datasets/"+segment(name), nil)
		}, want: nothing}},
	}
}

// oracle is what p has to get for n at a place of an endpoint.
func oracle(endpoint string, pl place, p *principal, n hostileName) answer {
	switch p.standing {
	case stranger:
		return answer{}
	case visitor:
		if endpoint == "POST "+wire.PathPair {
			return answer{http.StatusForbidden, wire.KindPairing}
		}
		return nothing(n)
	case ousted:
		return nothing(n)
	case guest:
		if pl.forGuests != nil {
			return pl.forGuests(n)
		}
	}
	return pl.want(n)
}

func TestWhoMayDoWhatToWhichName(t *testing.T) {
	runPair(t, func(p *pair) {
		p.level = zerolog.Disabled // thousands of refusals
		w := newWorld(p)
		rows := places()
		for _, endpoint := range server.Endpoints() {
			if len(rows[endpoint]) == 0 {
				t.Errorf("the endpoint %q has no row in the matrix: add one", endpoint)
			}
		}
		for _, who := range w.principals {
			if who.standing == visitor {
				w.issueToken()
			}
			for _, endpoint := range server.Endpoints() {
				for _, pl := range rows[endpoint] {
					w.try(endpoint, pl, who)
				}
			}
		}
		w.wantUntouched()
		for _, end := range w.ends {
			end()
		}
	})
}

// try asks for every name at one place.
func (w *world) try(endpoint string, pl place, who *principal) {
	names := hostileNames()
	if who.rival {
		names = append(names, hostileName{text: w.running, path: fine, snapshot: foreign})
	}
	before := w.sin1.disk.Facts()
	for _, n := range names {
		if isRedirected(pl, n.text) && who.standing >= guest {
			continue // net/http answers, and never with anything of ours
		}
		got, want := pl.ask(w, who, n.text), oracle(endpoint, pl, who, n)
		after := w.sin1.disk.Facts()
		if got != want {
			w.t.Errorf("%s, %q as %s, by %s: %s, want %s", endpoint, clip(n.text), pl.name, who.name, got, want)
		}
		w.wantWithin(fmt.Sprintf("%s, %q as %s, by %s", endpoint, clip(n.text), pl.name, who.name), who, want, before, after)
		before = after
	}
}

// wantWithin fails if anything but a resident's own room has changed, or a request
// that was refused has changed anything.
func (w *world) wantWithin(what string, who *principal, want answer, before, after []string) {
	for _, line := range after {
		if slices.Contains(before, line) {
			continue
		}
		if mine := who.into != "" && strings.HasPrefix(line, who.into+" of "); !mine || want.kind != "" {
			w.t.Errorf("%s: made on the target's disk: %s", what, line)
		}
	}
	for _, line := range before {
		if !slices.Contains(after, line) && !strings.Contains(line, ", unfinished ") {
			w.t.Errorf("%s: gone from the target's disk: %s", what, line)
		}
	}
}

// wantUntouched fails unless the transfer that ran all the time is still there.
func (w *world) wantUntouched() {
	w.t.Helper()
	states := w.sin1.daemon.Status().Replicas
	for _, r := range states {
		if r.From == "fra1" && r.Path == "/data/running" && r.Receiving != nil {
			return
		}
	}
	resident := w.principals[slices.IndexFunc(w.principals, func(p *principal) bool { return p.into == into })]
	if got := w.do(resident, "DELETE", wire.PathTransfers+"/"+w.running, nil); got != (answer{http.StatusAccepted, ""}) {
		w.t.Errorf("the transfer that others asked for: %s, want it to run still", got)
	}
}

// hole is where fill puts a name, past what a JSON encoder would make of it.
const hole = "HOLE"

// fill encodes v with the name in place of the hole, bytes that are no UTF-8 too.
func fill(v any, name string) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	quoted, err := json.Marshal(name)
	if err != nil {
		panic(err)
	}
	if strings.ToValidUTF8(name, "") != name {
		quoted = []byte(`"` + name + `"`)
	}
	return bytes.ReplaceAll(text, []byte(`"`+hole+`"`), quoted)
}

// segment escapes a name for one segment of a URL.
func segment(name string) string { return url.PathEscape(name) }

// isRedirected holds for the segments that a URL cannot hold.
func isRedirected(pl place, name string) bool {
	return (pl.name == "incarnation" || pl.name == "lane" || pl.name == "path") && (name == "" || name == "." || name == "..")
}

func clip(s string) string { return s[:min(len(s), 40)] }

func (w *world) step(path dataset.Path, snapshot string) dataset.Step {
	to := w.point
	to.Name = snapshot
	return dataset.Step{Job: "db", Dataset: dataset.Dataset{Path: path, ID: w.source.ID}, To: to}
}

func (w *world) open(path dataset.Path, snapshot string) wire.Open {
	w.minted++
	return wire.Open{Step: w.step(path, snapshot), Driver: "btrfs", Incarnation: fmt.Sprintf("%032x", w.minted), ChunkBytes: wire.MinChunk}
}

// fresh is a path that nothing was received into.
func (w *world) fresh() dataset.Path { return dataset.Path(fmt.Sprintf("/fresh/%d", w.minted)) }

func (w *world) frames() []byte {
	chunk := append(wire.ChunkHeader(0, w.stream).Append(nil), w.stream...)
	return append(chunk, wire.EndHeader(1, uint64(len(w.stream))).Append(nil)...)
}

// whole is a step in one request.
func (w *world) whole(open wire.Open, name string) []byte {
	head := fill(open, name)
	return slices.Concat(binary.BigEndian.AppendUint32(nil, uint32(len(head))), head, w.frames())
}

// opened announces a transfer twice: the first answer may come before the verdict.
// What runs then is ended again. Its point is another than that of whole steps,
// which would be there already.
func (w *world) opened(p *principal, open wire.Open, name string) answer {
	open.Step.To.ID = "0ff"
	body := fill(open, name)
	got := w.do(p, "POST", wire.PathTransfers, body)
	if got.status/100 != 2 {
		return got
	}
	synctest.Wait()
	got = w.do(p, "POST", wire.PathTransfers, body)
	w.do(p, "DELETE", wire.PathTransfers+"/"+open.Incarnation, nil)
	synctest.Wait()
	return got
}
