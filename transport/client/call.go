package client

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"antipode/transport/peer"
	"antipode/transport/peer/pairing"
	"antipode/transport/wire"
)

const (
	minBackoff = 200 * time.Millisecond
	maxBackoff = 5 * time.Second
	// maxRetryAfter bounds how long a peer may park us.
	maxRetryAfter = 30 * time.Second
	maxErrorBytes = 64 << 10
)

// Hello asks who the peer is.
func (c *Client) Hello(ctx context.Context) (wire.Hello, error) {
	v, err := ask[wire.Hello](ctx, c, http.MethodGet, wire.PathHello, nil)
	if err == nil && v.Version != wire.Version {
		err = wire.CheckVersion(strconv.Itoa(v.Version), c.opts.Address)
	}
	return v, c.explain("greet", err)
}

// Commit asks whether a step is published on the peer's disk.
func (c *Client) Commit(ctx context.Context, q wire.CommitQuery) (wire.Committed, error) {
	v, err := ask[wire.Committed](ctx, c, http.MethodPost, wire.PathCommit, q)
	return v, c.explain("ask for the commit at", err)
}

// Pull asks the peer to send what this node is a target of. It does not wait for
// it. ErrRefused if the peer has nothing that this node may ask for.
func (c *Client) Pull(ctx context.Context, q wire.PullRequest) (wire.PullAnswer, error) {
	v, err := ask[wire.PullAnswer](ctx, c, http.MethodPost, wire.PathPull, q)
	return v, c.explain("pull from", err)
}

// Abort ends the peer's receive of an incarnation; one that is not there is
// success. It does not wait for the receive to return.
func (c *Client) Abort(ctx context.Context, incarnation string) error {
	_, err := ask[wire.Progress](ctx, c, http.MethodDelete, wire.PathTransfers+"/"+incarnation, nil)
	if errors.Is(err, wire.ErrUnknown) {
		return nil
	}
	return c.explain("abort the transfer to", err)
}

// Pair proves the token to the node that issued it; node and address are our
// own. Options.Key and Address are those of the token. Once it returns without
// an error, the issuer has pinned us, and is to be pinned under Response.Node.
// It is tried once: a token serves once. Errors: wire.ErrPairing,
// pairing.ErrProof, and wire.ErrUnknown when no token is outstanding there.
func (c *Client) Pair(ctx context.Context, t pairing.Token, node, address string) (pairing.Response, error) {
	conn, err := c.dial(ctx, "", "")
	if err != nil {
		return pairing.Response{}, c.explain("pair with", err)
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	tc := tls.Client(conn, peer.ClientConfig(c.opts.Identity, c.opts.Key))
	r, err := c.pairOver(ctx, tc, t, node, address)
	return r, c.explain("pair with", err)
}

// pairOver speaks on one connection, since the proof is bound to it.
func (c *Client) pairOver(ctx context.Context, tc *tls.Conn, t pairing.Token, node, address string) (pairing.Response, error) {
	if err := tc.HandshakeContext(ctx); err != nil {
		return pairing.Response{}, err
	}
	exporter, err := pairing.Exporter(tc.ConnectionState())
	if err != nil {
		return pairing.Response{}, err
	}
	own := c.opts.Identity.Fingerprint()
	q, err := pairing.NewRequest(t, exporter, own, node, address)
	if err != nil {
		return pairing.Response{}, err
	}
	body, err := oneCall(ctx, tc, c.base, q)
	if err != nil {
		return pairing.Response{}, err
	}
	r, err := pairing.ParseResponse(body)
	if err != nil {
		return pairing.Response{}, err
	}
	return r, pairing.VerifyResponse(t, exporter, own, q, r)
}

// ask makes a call of the kind that is tried a few times.
func ask[M wire.Message](ctx context.Context, c *Client, method, path string, body any) (M, error) {
	return askBy[M](ctx, c, c.calls, method, path, body)
}

func askBy[M wire.Message](ctx context.Context, c *Client, by *retryablehttp.Client, method, path string, body any) (m M, err error) {
	var raw any
	if body != nil {
		if raw, err = json.Marshal(body); err != nil {
			return m, err
		}
	}
	return exchange[M](ctx, c, by, method, path, wire.ContentJSON, raw)
}

// exchange sends the body (bytes, or a ReaderFunc that begins anew with each
// attempt) and reads the answer.
func exchange[M wire.Message](ctx context.Context, c *Client, by *retryablehttp.Client, method, path, content string, body any) (m M, err error) {
	req, err := retryablehttp.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return m, err
	}
	setHeaders(req.Request, content)
	resp, err := by.Do(req)
	if err != nil && ctx.Err() != nil {
		return m, context.Cause(ctx)
	}
	if err != nil {
		return m, err
	}
	defer resp.Body.Close()
	if err := c.check(resp); err != nil {
		return m, err
	}
	c.packing.learn(resp.Header)
	return wire.Decode[M](resp.Body, wire.MaxMessageBytes)
}

func setHeaders(r *http.Request, content string) {
	r.Header.Set(wire.VersionHeader, strconv.Itoa(wire.Version))
	r.Header.Set("Content-Type", content)
}

// check turns an answer that is no success into the peer's error.
func (c *Client) check(resp *http.Response) error { return checkAnswer(resp, c.opts.Address) }

func checkAnswer(resp *http.Response, who string) error {
	if err := wire.CheckVersion(resp.Header.Get(wire.VersionHeader), who); err != nil {
		return err
	}
	if resp.StatusCode/100 == 2 {
		return nil
	}
	e, err := wire.Decode[*wire.Error](resp.Body, maxErrorBytes)
	if err != nil {
		return fmt.Errorf("answer %s: %w", resp.Status, err)
	}
	return e
}

// explain adds what was asked of whom, and says what a refused key means.
func (c *Client) explain(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w", what, c.opts.Address, peer.ExplainRefusal(err, c.opts.Identity.Fingerprint()))
}

// retrying makes a client for calls; all of them may be repeated.
func (c *Client) retrying(t http.RoundTripper, attempts int) *retryablehttp.Client {
	return &retryablehttp.Client{
		HTTPClient:   &http.Client{Transport: t, CheckRedirect: noRedirect},
		RetryMax:     attempts,
		RetryWaitMin: minBackoff,
		RetryWaitMax: maxBackoff,
		CheckRetry:   c.checkRetry,
		Backoff:      backoff,
		ErrorHandler: retryablehttp.PassthroughErrorHandler,
	}
}

// checkRetry repeats what the way has lost, and what the peer asks to repeat.
// Whatever else it answered is its last word.
func (c *Client) checkRetry(ctx context.Context, resp *http.Response, err error) (bool, error) {
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	if err != nil {
		return !c.isFinal(err), nil
	}
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true, nil
	}
	return false, nil
}

// isFinal holds for what does not heal by trying again: keys and versions.
func (c *Client) isFinal(err error) bool {
	_, mismatch := errors.AsType[*peer.MismatchError](err)
	_, refused := errors.AsType[*peer.RefusedError](peer.ExplainRefusal(err, c.opts.Identity.Fingerprint()))
	_, notTLS := errors.AsType[tls.RecordHeaderError](err)
	return mismatch || refused || notTLS || errors.Is(err, wire.ErrVersion) || errors.Is(err, peer.ErrNoKey)
}

func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// backoff is exponential with full jitter; a peer's Retry-After is heard, up to
// a bound.
func backoff(least, most time.Duration, attempt int, resp *http.Response) time.Duration {
	if resp != nil {
		if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 {
			return min(time.Duration(min(s, 3600))*time.Second, maxRetryAfter)
		}
	}
	top := min(most, least<<min(attempt, 10))
	return least/2 + rand.N(top)
}

// sleep waits and reports whether ctx let it.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// oneCall makes one pairing request on a connection at hand.
func oneCall(ctx context.Context, tc *tls.Conn, base string, q pairing.Request) ([]byte, error) {
	body, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+wire.PathPair, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	setHeaders(req, wire.ContentJSON)
	if err := req.Write(tc); err != nil {
		return nil, err
	}
	return readAnswer(tc, req)
}

func readAnswer(tc io.Reader, req *http.Request) ([]byte, error) {
	resp, err := http.ReadResponse(bufio.NewReader(io.LimitReader(tc, maxErrorBytes)), req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if err := checkAnswer(resp, req.URL.Host); err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(resp.Body, pairing.MaxMessageBytes+1))
}
