package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"antipode/transport/peer"
	"antipode/transport/peer/pairing"
	"antipode/transport/wire"
)

const (
	// bodyTimeout bounds the whole of a small request's body.
	bodyTimeout = 30 * time.Second
	// answerTimeout bounds the writing of a line, or of answerSlice bytes of an
	// answer.
	answerTimeout = 30 * time.Second
	answerSlice   = 16 << 10
	// retryAfterSeconds is when to ask again if there are too many transfers.
	retryAfterSeconds = "5"
)

// handle is an endpoint: what it returns is the answer, an error too.
type handle func(w http.ResponseWriter, r *http.Request, peer string) (any, error)

// endpoints is the table of what known peers may ask, by method and pattern;
// PROTOCOL.md has it too.
func (s *Server) endpoints() map[string]handle {
	return map[string]handle{
		"GET " + wire.PathHello:                           s.hello,
		"POST " + wire.PathInventory:                      s.inventory,
		"POST " + wire.PathTips:                           s.tips,
		"POST " + wire.PathCommit:                         s.commit,
		"POST " + wire.PathPull:                           s.pull,
		"POST " + wire.PathSteps:                          s.step,
		"POST " + wire.PathTransfers:                      s.openTransfer,
		"DELETE " + wire.PathTransfers + "/{incarnation}": s.abort,
		"PUT " + wire.PathTransfers + "/{incarnation}" + wire.SubLanes + "/{lane}": s.lane,
		"GET " + wire.PathTransfers + "/{incarnation}" + wire.SubProgress:          s.progress,
		"/": nowhere,
	}
}

// Endpoints lists everything that can be asked, as "METHOD pattern", sorted:
// the table of endpoints, and pairing, which stands before it.
func Endpoints() []string {
	patterns := append(slices.Collect(maps.Keys((&Server{}).endpoints())), "POST "+wire.PathPair)
	slices.Sort(patterns)
	return patterns
}

func (s *Server) routes() http.Handler {
	m := http.NewServeMux()
	for pattern, h := range s.endpoints() {
		m.Handle(pattern, s.endpoint(h))
	}
	return m
}

func nowhere(http.ResponseWriter, *http.Request, string) (any, error) {
	return nil, wire.Errorf(wire.KindUnknown, "no such endpoint")
}

// principal is the context key of the authenticated peer's name.
type principal struct{}

// authenticate puts the peer's name into the request, or shows the caller
// nothing. The key is looked up now and not when the connection was made.
func (s *Server) authenticate(w http.ResponseWriter, r *http.Request) {
	w.Header().Set(wire.VersionHeader, fmt.Sprint(wire.Version))
	w.Header().Set(wire.CodecsHeader, wire.Codecs)
	if r.TLS == nil {
		s.answer(w, r, nil, wire.Errorf(wire.KindUnknown, "no such endpoint"))
		return
	}
	key, err := peer.FingerprintOf(*r.TLS)
	name, known := s.opts.Peers(key)
	isPairing := r.URL.Path == wire.PathPair && s.opts.Pairing != nil && s.opts.Pairing.Outstanding()
	switch {
	case err != nil || !known && !isPairing || r.URL.Path == wire.PathPair && !isPairing:
		s.answer(w, r, nil, wire.Errorf(wire.KindUnknown, "no such endpoint"))
	case isPairing:
		resp, err := s.pair(w, r, key)
		s.answer(w, r, resp, err)
	default:
		s.handler.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), principal{}, name)))
	}
}

// endpoint wraps what all requests have in common.
func (s *Server) endpoint(h handle) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, _ := r.Context().Value(principal{}).(string)
		if err := wire.CheckVersion(r.Header.Get(wire.VersionHeader), "the caller"); err != nil {
			s.answer(w, r, nil, versionSeenByCaller(err))
			return
		}
		if r.Header.Get("Content-Encoding") != "" {
			s.answer(w, r, nil, wire.Errorf(wire.KindMalformed, "no content encoding is accepted"))
			return
		}
		v, err := h(w, r, name)
		if v != nil || err != nil {
			s.answer(w, r, v, err)
		}
	})
}

// versionSeenByCaller says it from where it is read.
func versionSeenByCaller(err error) error {
	return &wire.Error{
		Kind: wire.KindVersion, Text: "protocol version refused by the peer, where it reads: " + err.Error(),
		Next: "upgrade Antipode on the side with the lower number",
	}
}

// answer writes a JSON answer. A failing write is the caller's loss; it asks
// again.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, v any, err error) {
	status := http.StatusOK
	if p, ok := v.(wire.Progress); ok && !p.IsFinal() {
		status = http.StatusAccepted
	}
	if err != nil {
		e := wire.FromError(err)
		v, status = e, e.Status()
		s.opts.Log.Debug().Err(err).Str("method", r.Method).Str("path", r.URL.Path).Msg("request refused")
	}
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", wire.ContentJSON)
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	if status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", retryAfterSeconds)
	}
	w.WriteHeader(status)
	s.write(w, body)
}

// write gives up when nothing goes out for answerTimeout: a long answer takes as
// long as the link needs.
func (s *Server) write(w http.ResponseWriter, body []byte) {
	c := http.NewResponseController(w)
	for part := range slices.Chunk(body, answerSlice) {
		// A writer without deadlines is a test's.
		_ = c.SetWriteDeadline(s.opts.Now().Add(answerTimeout))
		if _, err := w.Write(part); err != nil {
			return
		}
	}
}

// decode reads a small message, within a time and a size.
func decode[M wire.Message](w http.ResponseWriter, r *http.Request, now time.Time, limit int) (M, error) {
	stop := limitBody(w, r, now, limit)
	defer stop()
	m, err := wire.Decode[M](r.Body, limit)
	return m, bodyError(err)
}

// limitBody bounds the body; stop takes the deadline back, which would end the
// request's context when it passes during the work.
func limitBody(w http.ResponseWriter, r *http.Request, now time.Time, limit int) (stop func()) {
	c := http.NewResponseController(w)
	_ = c.SetReadDeadline(now.Add(bodyTimeout))
	r.Body = http.MaxBytesReader(w, r.Body, int64(limit)+1)
	return func() { _ = c.SetReadDeadline(time.Time{}) }
}

// bodyError gives net/http's complaint its kind.
func bodyError(err error) error {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return fmt.Errorf("%w: %w", wire.ErrTooLarge, err)
	}
	return err
}

func (s *Server) hello(_ http.ResponseWriter, r *http.Request, peer string) (any, error) {
	v, err := s.opts.Backend.Hello(r.Context(), peer)
	return checked(v, err)
}

func (s *Server) inventory(w http.ResponseWriter, r *http.Request, peer string) (any, error) {
	q, err := decode[wire.InventoryRequest](w, r, s.opts.Now(), wire.MaxMessageBytes)
	if err != nil {
		return nil, err
	}
	v, err := s.opts.Backend.Inventory(r.Context(), peer, q)
	return checked(v, err)
}

func (s *Server) tips(w http.ResponseWriter, r *http.Request, peer string) (any, error) {
	q, err := decode[wire.TipsRequest](w, r, s.opts.Now(), wire.MaxMessageBytes)
	if err != nil {
		return nil, err
	}
	v, err := s.opts.Backend.Tips(r.Context(), peer, q)
	return checked(v, err)
}

func (s *Server) commit(w http.ResponseWriter, r *http.Request, peer string) (any, error) {
	q, err := decode[wire.CommitQuery](w, r, s.opts.Now(), wire.MaxRequestBytes)
	if err != nil {
		return nil, err
	}
	v, err := s.opts.Backend.Committed(r.Context(), peer, q)
	return checked(v, err)
}

func (s *Server) pull(w http.ResponseWriter, r *http.Request, peer string) (any, error) {
	by, ok := s.opts.Backend.(Puller)
	if !ok {
		return nowhere(w, r, peer)
	}
	q, err := decode[wire.PullRequest](w, r, s.opts.Now(), wire.MaxRequestBytes)
	if err != nil {
		return nil, err
	}
	v, err := by.Pull(r.Context(), peer, q)
	return checked(v, err)
}

// checked holds our own answers to the limits too.
func checked(m wire.Message, err error) (any, error) {
	if err == nil {
		err = m.Validate()
	}
	if err != nil {
		return nil, err
	}
	return m, nil
}

func (s *Server) pair(w http.ResponseWriter, r *http.Request, caller peer.Fingerprint) (any, error) {
	if r.Method != http.MethodPost {
		return nil, wire.Errorf(wire.KindUnknown, "no such endpoint")
	}
	stop := limitBody(w, r, s.opts.Now(), pairing.MaxMessageBytes)
	b, err := readAll(r, pairing.MaxMessageBytes)
	stop()
	if err != nil {
		return nil, bodyError(err)
	}
	q, err := pairing.ParseRequest(b)
	if err != nil {
		return nil, wire.Errorf(wire.KindPairing, "%s", err)
	}
	exporter, err := pairing.Exporter(*r.TLS)
	if err != nil {
		return nil, err
	}
	resp, err := s.opts.Pairing.Accept(exporter, caller, q)
	if err != nil {
		s.opts.Log.Warn().Err(err).Str("remote", r.RemoteAddr).Stringer("key", caller).Msg("pairing refused")
		return nil, wire.Errorf(wire.KindPairing, "%s", err)
	}
	return resp, nil
}
