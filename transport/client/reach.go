package client

import (
	"context"
	"net/http"

	"antipode/transport/wire"
)

// Reach asks who the peer is, once: for whoever has to know now whether the peer
// is there at all, and cannot wait for what a second try would bring.
func (c *Client) Reach(ctx context.Context) (wire.Hello, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+wire.PathHello, nil)
	if err != nil {
		return wire.Hello{}, c.explain("reach", err)
	}
	setHeaders(req, wire.ContentJSON)
	resp, err := c.calls.HTTPClient.Do(req)
	if err != nil {
		return wire.Hello{}, c.explain("reach", err)
	}
	defer resp.Body.Close()
	if err := c.check(resp); err != nil {
		return wire.Hello{}, c.explain("reach", err)
	}
	v, err := wire.Decode[wire.Hello](resp.Body, wire.MaxMessageBytes)
	return v, c.explain("reach", err)
}
