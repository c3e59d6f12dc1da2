package pool

import (
	"context"
	"fmt"
	"strings"

	"antipode/fsdrivers"
)

// WrittenNothing reports whether nothing was written to a dataset since its snapshot, as far
// as finished transaction groups tell.
func (h *Host) WrittenNothing(ctx context.Context, name, snap string) (bool, error) {
	out, err := h.Run(ctx, name, "get", "-Hp", "-o", "value", "written@"+snap, name)
	if err != nil {
		return false, fmt.Errorf("compare %s with %s: %w", name, snap, err)
	}
	return strings.TrimSpace(out) == "0", nil
}

// Space is what a dataset may still take, quotas and reservations considered.
func (h *Host) Space(ctx context.Context, name string) (fsdrivers.Usage, error) {
	f, err := h.Get(ctx, "available,used", []string{name})
	if err != nil {
		return fsdrivers.Usage{}, fmt.Errorf("space: %w", err)
	}
	free, used := int64(f.Number(name, "available")), int64(f.Number(name, "used"))
	return fsdrivers.Usage{Where: name, Free: free, Size: free + used}, nil
}
