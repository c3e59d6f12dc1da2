package source

import (
	"testing"
	"time"

	"github.com/rs/zerolog"

	"antipode/fsdrivers/zfs/pool"
	"antipode/fsdrivers/zfs/zfstest"
)

type rule = zfstest.Rule

// scripted is a zfs that answers by rules.
type scripted struct {
	*zfstest.Script
	t *testing.T
}

func script(t *testing.T, rules ...rule) *scripted {
	t.Helper()
	return &scripted{Script: zfstest.New(t, rules...), t: t}
}

func (s *scripted) source(now func() time.Time) *Source {
	return New(Options{Host: pool.NewHost(s.Binary(), 20*time.Second), Log: zerolog.Nop(), Now: now})
}

// props is what zfs get prints: object, property and value in turn.
func props(fields ...string) string { return zfstest.Props(fields...) }

func theTime() time.Time { return time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC) }
