package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"antipode/transport/wire"
)

// Tips asks whether all datasets of a list are on the peer as we expect. An
// answer that says Unknown asks for the list.
func (c *Client) Tips(ctx context.Context, q wire.TipsRequest) (wire.Tips, error) {
	v, err := ask[wire.Tips](ctx, c, http.MethodPost, wire.PathTips, q)
	return v, c.explain("ask the tips of", err)
}

// Inventory asks what the peer holds. What is too much for one exchange, in the
// question or in the answer, is asked in parts; Now and Usage are the last one's.
func (c *Client) Inventory(ctx context.Context, q wire.InventoryRequest) (wire.Inventory, error) {
	v, err := c.inventory(ctx, q)
	return v, c.explain("ask the inventory of", err)
}

func (c *Client) inParts(ctx context.Context, q wire.InventoryRequest, datasets int) (wire.Inventory, error) {
	var whole wire.Inventory
	for part := range slices.Chunk(q.Datasets, datasets) {
		one := q
		one.Datasets = part
		v, err := c.inventory(ctx, one)
		if err != nil {
			return wire.Inventory{}, err
		}
		v.Replicas = append(whole.Replicas, v.Replicas...)
		whole = v
	}
	return whole, nil
}

func (c *Client) inventory(ctx context.Context, q wire.InventoryRequest) (wire.Inventory, error) {
	n := len(q.Datasets)
	if n > wire.MaxInventoryDatasets {
		return c.inParts(ctx, q, wire.MaxInventoryDatasets)
	}
	v, err := ask[wire.Inventory](ctx, c, http.MethodPost, wire.PathInventory, q)
	switch {
	case errors.Is(err, wire.ErrTooLarge) && n > 1:
		return c.inParts(ctx, q, (n+1)/2)
	case err == nil && len(v.Replicas) != n:
		err = fmt.Errorf("%w: %d answers to %d datasets", wire.ErrMalformed, len(v.Replicas), n)
	}
	return v, err
}
