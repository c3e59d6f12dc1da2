package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
)

// Call asks the daemon behind the socket. An error of the daemon, or of reaching
// it, is an *Error; it is ctx's error when ctx ended first, and the daemon drops
// the request then.
func Call[Req, Resp any](ctx context.Context, socket string, verb Verb, req Req) (resp Resp, err error) {
	body, err := json.Marshal(req)
	if err != nil {
		return resp, fmt.Errorf("encode %s request: %w", verb, err)
	}
	raw, err := post(ctx, socket, verb, body)
	if err != nil {
		return resp, err
	}
	if err := json.Unmarshal(raw, &resp); err != nil {
		return resp, &Error{
			Kind: KindInternal, Object: string(verb), Text: fmt.Sprintf("the daemon's answer cannot be read: %v", err),
			Next: "use the antipode command of the daemon's own release",
		}
	}
	return resp, nil
}

// post returns the body of a success.
func post(ctx context.Context, socket string, verb Verb, body []byte) ([]byte, error) {
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, socket) },
	}
	defer transport.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://antipode"+prefix+string(verb), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make %s request: %w", verb, err)
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		return nil, explain(ctx, verb, err)
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(answer.Body, MaxResponseBytes+1))
	switch {
	case err != nil:
		return nil, explain(ctx, verb, err)
	case len(raw) > MaxResponseBytes:
		return nil, &Error{Kind: KindInternal, Object: string(verb), Text: fmt.Sprintf("the daemon's answer is longer than %d bytes", MaxResponseBytes)}
	case answer.StatusCode != http.StatusOK:
		return nil, failure(verb, answer.StatusCode, raw)
	}
	return raw, nil
}

func explain(ctx context.Context, verb Verb, err error) error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return &Error{
		Kind: KindDown, Object: string(verb), Text: fmt.Sprintf("the daemon hung up: %v", err),
		Next: "see its log; `antipode status` tells whether it is up again",
	}
}

func failure(verb Verb, code int, raw []byte) error {
	e := new(Error)
	if err := json.Unmarshal(raw, e); err != nil || e.Text == "" {
		return &Error{Kind: KindInternal, Object: string(verb), Text: fmt.Sprintf("the daemon answered HTTP %d without a reason", code)}
	}
	return e
}
