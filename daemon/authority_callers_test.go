package daemon_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"antipode/daemon/policy"
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/fake"
	"antipode/transport/peer"
	"antipode/transport/reverse"
	"antipode/transport/server"
	"antipode/transport/wire"
)

// newWorld starts sin1 with all kinds of peers.
func newWorld(p *pair) *world {
	w := &world{pair: p}
	scratch := fake.NewDisk("scratch", gib)
	w.source = scratch.Make(db)
	if err := scratch.Write(db, "file", []byte("content")); err != nil {
		p.t.Fatal(err)
	}
	taken, err := scratch.Source().Snapshot(p.t.Context(), "antipode_x", time.Now(), []dataset.Path{db})
	if err != nil {
		p.t.Fatal(err)
	}
	w.point = taken[0]
	stream, err := scratch.Source().Send(p.t.Context(), dataset.Step{Job: "db", Dataset: w.source, To: w.point}, dataset.Checkpoint{})
	if err != nil {
		p.t.Fatal(err)
	}
	if w.stream, err = io.ReadAll(stream); err != nil {
		p.t.Fatal(err)
	}
	stream.Close()
	w.invite()
	return w
}

// invite makes the callers, and the configuration that makes them what they are.
func (w *world) invite() {
	cfg := &w.sin1.config
	cfg.Advertise = cfg.Listen
	room := cfg.Accepts[0]
	pin := func(name string) peer.Identity {
		id := w.newIdentity()
		cfg.Peers = append(cfg.Peers, policy.Peer{Name: name, Key: id.Fingerprint().String()})
		return id
	}
	bare, other, rival, gone := pin("bare"), pin("zfsonly"), pin("ams1"), pin("gone")
	far, farGone := w.reversed("tok1"), w.reversed("tok2")
	for _, a := range []policy.Accept{
		{From: "zfsonly", Driver: policy.ZFS, Into: "/backup/zfsonly"},
		{From: "ams1", Driver: policy.Btrfs, Into: "/backup/ams1"},
		{From: "tok1", Driver: policy.Btrfs, Into: "/backup/tok1"},
	} {
		a.Keep, a.Location = room.Keep, room.Location
		cfg.Accepts = append(cfg.Accepts, a)
	}
	w.start(w.sin1)
	unknown := w.newIdentity()
	owner := &principal{name: "a peer with a room", standing: resident, into: into, http: w.client(w.identity["fra1"])}
	removed := &principal{name: "a peer that a reload removed", standing: ousted, rival: true, http: w.client(gone)}
	farRemoved := &principal{name: "a peer that a reload removed, on a connection dialed for it", standing: ousted, rival: true, http: farGone}
	for _, who := range []*principal{removed, farRemoved} {
		if got := w.do(who, "GET", wire.PathHello, nil); got.status != http.StatusOK {
			w.t.Fatalf("%s, before the reload: %s", who.name, got)
		}
	}
	cfg.Peers = slices.DeleteFunc(slices.Clone(cfg.Peers), func(p policy.Peer) bool { return p.Name == "gone" || p.Name == "tok2" })
	if _, err := w.sin1.daemon.ReloadConfig(); err != nil {
		w.t.Fatal(err)
	}
	open := w.open("/data/running", "antipode_x")
	w.running = open.Incarnation
	if got := w.do(owner, "POST", wire.PathTransfers, fill(open, "")); got.status != http.StatusAccepted {
		w.t.Fatalf("open the transfer that others will ask for: %s", got)
	}
	synctest.Wait()
	w.principals = []*principal{
		{name: "nobody", standing: stranger, http: w.client(peer.Identity{})},
		{name: "an unknown key", standing: stranger, rival: true, http: w.client(unknown)},
		removed,
		{name: "a peer without a room", standing: guest, rival: true, http: w.client(bare)},
		{name: "a peer with a room of another driver", standing: guest, rival: true, http: w.client(other)},
		owner,
		{name: "another peer with a room", standing: resident, into: "/backup/ams1", rival: true, http: w.client(rival)},
		{name: "a peer with a room, on a connection dialed for it", standing: resident, into: "/backup/tok1", rival: true, http: far},
		farRemoved,
		{name: "an unknown key with a token outstanding", standing: visitor, rival: true, http: w.client(unknown)},
	}
}

func (p *pair) newIdentity() peer.Identity {
	p.t.Helper()
	id, err := peer.NewIdentity()
	if err != nil {
		p.t.Fatal(err)
	}
	return id
}

// client calls sin1 with a key; the zero identity shows none.
func (p *pair) client(id peer.Identity) *http.Client {
	config := peer.ClientConfig(id, p.identity["sin1"].Fingerprint())
	if id.Fingerprint().IsZero() {
		config.Certificates = nil
	}
	return p.clientOf(config)
}

func (p *pair) clientOf(config *tls.Config) *http.Client {
	transport := &http.Transport{
		TLSClientConfig: config, MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Hour,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return p.net.DialContext(ctx, network, p.sin1.config.Listen)
		},
	}
	p.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// reversed makes a peer that sin1 dials to be called, and returns its way to call.
func (w *world) reversed(name string) *http.Client {
	id, sin1 := w.newIdentity(), w.identity["sin1"].Fingerprint()
	w.sin1.config.Peers = append(w.sin1.config.Peers, policy.Peer{Name: name, Address: name + ":8771", Key: id.Fingerprint().String(), Reverse: true})
	pool := reverse.NewPool(func(_ string, key peer.Fingerprint) bool { return key == sin1 })
	listener, err := w.net.Listen(name + ":8771")
	if err != nil {
		w.t.Fatal(err)
	}
	s := server.New(server.Options{
		Identity: id, Log: zerolog.Nop(), Reversed: pool,
		Peers: func(key peer.Fingerprint) (string, bool) { return "sin1", key == sin1 },
	})
	ctx, cancel := context.WithCancel(w.t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, listener) }()
	transport := &http.Transport{
		MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Hour,
		DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return pool.Take(ctx, "sin1", sin1) },
	}
	w.ends = append(w.ends, func() {
		transport.CloseIdleConnections()
		cancel()
		if err := <-served; err != nil {
			w.t.Errorf("%s: Serve = %v", name, err)
		}
	})
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func (w *world) issueToken() {
	w.t.Helper()
	if _, err := w.sin1.daemon.IssueToken(); err != nil {
		w.t.Fatal(err)
	}
}

// do asks, and reads the kind out of an answer that is an error, or a last word
// that is one.
func (w *world) do(p *principal, method, path string, body []byte) answer {
	req, err := http.NewRequestWithContext(w.t.Context(), method, "https://sin1"+path, bytes.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set(wire.VersionHeader, strconv.Itoa(wire.Version))
	resp, err := p.http.Do(req)
	if err != nil {
		return answer{}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Errorf("%s %s by %s: %v", method, path, p.name, err)
	}
	var said struct {
		Kind  wire.Kind   `json:"kind"`
		Error *wire.Error `json:"error"`
	}
	if err := json.Unmarshal(text, &said); err != nil {
		w.t.Errorf("%s %s by %s: %d with %.80q, want JSON", method, path, p.name, resp.StatusCode, text)
	}
	if said.Error != nil {
		said.Kind = said.Error.Kind
	}
	return answer{resp.StatusCode, said.Kind}
}
