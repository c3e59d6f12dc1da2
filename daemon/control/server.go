// Package control is the operator's way into a running daemon: JSON over HTTP on
// a Unix socket. A request is POST /v1/VERB with a JSON body; the answer is 200
// with a JSON body, or another status with an Error. Handlers are typed, so that
// values like plans and verdicts pass through unchanged; the package does not
// know what they mean, and knows neither terminals nor HTML.
//
// Only root and the daemon's own user may speak to it: the socket is 0600 and
// the kernel is asked for each connection who opened it.
package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"time"

	"github.com/rs/zerolog"
)

// Limits of the socket.
const (
	MaxRequestBytes  = 64 << 20  // a plan of retention that comes back
	MaxResponseBytes = 256 << 20 // thousands of datasets with a thousand verdicts each
	MaxDuration      = 30 * time.Second
	stopWait         = 2 * time.Second // for answers on their way when the daemon stops
	prefix           = "/v1/"
)

// Server answers verbs. Register all handlers before Serve.
type Server struct {
	mux *http.ServeMux
	log zerolog.Logger
}

// NewServer returns a server without handlers.
func NewServer(log zerolog.Logger) *Server {
	s := &Server{mux: http.NewServeMux(), log: log}
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, &Error{
			Kind: KindUsage, Text: fmt.Sprintf("this daemon does not know %s %s", r.Method, r.URL.Path),
			Next: "use the antipode command of the daemon's own release",
		})
	})
	return s
}

// Handle answers a verb with f. The context that f gets ends when the caller
// goes away, when the daemon stops, and for a verb that is not long after
// MaxDuration. Fields of the request that Req does not have are refused: they
// would be wishes that are not fulfilled.
func Handle[Req, Resp any](s *Server, verb Verb, f func(context.Context, Req) (Resp, error)) {
	s.mux.HandleFunc("POST "+prefix+string(verb), func(w http.ResponseWriter, r *http.Request) {
		req, err := decode[Req](w, r)
		if err != nil {
			s.fail(w, err)
			return
		}
		ctx := r.Context()
		if !verb.IsLong() {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, MaxDuration)
			defer cancel()
		}
		resp, err := f(ctx, req)
		if err != nil {
			s.log.Debug().Str("verb", string(verb)).Err(err).Msg("control request failed")
			s.fail(w, err)
			return
		}
		s.answer(w, http.StatusOK, resp)
	})
}

func decode[Req any](w http.ResponseWriter, r *http.Request) (req Req, err error) {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, MaxRequestBytes))
	d.DisallowUnknownFields()
	if err := d.Decode(&req); err != nil {
		return req, &Error{Kind: KindUsage, Text: fmt.Sprintf("read request: %v", err), Next: "use the antipode command of the daemon's own release"}
	}
	// The body is read to its end: only then net/http sees the caller go away.
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return req, &Error{Kind: KindUsage, Text: "request has more than one JSON value"}
	}
	return req, nil
}

func (s *Server) fail(w http.ResponseWriter, err error) {
	e := ErrorOf(err)
	s.answer(w, e.httpStatus(), e)
}

func (s *Server) answer(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	if err := json.NewEncoder(w).Encode(v); err != nil {
		s.log.Debug().Err(err).Msg("control answer was not delivered")
	}
}

// Serve answers on l, which Listen made, until ctx ends; requests on their way
// are cancelled then. It closes l.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	h := &http.Server{
		Handler:           s.mux,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       MaxDuration,
		MaxHeaderBytes:    16 << 10,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          log.New(s.log, "", 0), // panics of handlers
	}
	stopped := make(chan error, 1)
	go func() {
		<-ctx.Done()
		stopped <- shutdown(ctx, h)
	}()
	err := h.Serve(l)
	cancel()
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return errors.Join(err, <-stopped)
}

// shutdown gives cancelled handlers a moment to answer, then cuts them off.
func shutdown(ctx context.Context, h *http.Server) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWait)
	defer cancel()
	if err := h.Shutdown(ctx); err != nil {
		return h.Close()
	}
	return nil
}
