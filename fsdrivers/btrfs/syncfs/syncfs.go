// Package syncfs makes what was written to a file system durable, once for all who wait
// for that.
package syncfs

import (
	"fmt"
	"os"
	"sync"

	"antipode/fsdrivers/btrfs/subvol"

	"golang.org/x/sys/unix"
)

// Syncs lets the receives of one target share the syncfs that each needs: one that
// begins after all of them have written serves them all. A round of hundreds of
// small increments would otherwise wait for hundreds of them.
type Syncs struct {
	mu    sync.Mutex // guards what follows, and the counts of groups
	group *Group     // that newcomers join; nil for none
}

// Group is one descriptor with those who trust it. Linux reports an error of
// writing back once to each descriptor that was open when it happened, so a member
// must have joined before its first byte is written.
type Group struct {
	all     *Syncs
	file    *os.File
	members int // guarded by all.mu

	turn sync.Mutex // held by the round that runs

	mu     sync.Mutex // guards what follows
	next   *round     // that has not begun; nil for none
	failed error      // a member that was not in that round has lost data too
}

type round struct {
	done chan struct{} // closed when err is final
	err  error
}

// Join makes the caller a member of the group on the file system of dir, until
// leave.
func (s *Syncs) Join(dir *os.File) (*Group, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.group == nil || s.group.hasFailed() {
		f, err := subvol.OpenDirBelow(dir, "")
		if err != nil {
			return nil, err
		}
		s.group = &Group{all: s, file: f}
	}
	s.group.members++
	return s.group, nil
}

// Leave ends a membership.
func (g *Group) Leave() {
	g.all.mu.Lock()
	defer g.all.mu.Unlock()
	if g.members--; g.members > 0 {
		return
	}
	g.file.Close()
	if g.all.group == g {
		g.all.group = nil
	}
}

func (g *Group) hasFailed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.failed != nil
}

// Sync makes durable what was written to the file system so far.
func (g *Group) Sync() error {
	r, leads := g.enter()
	if leads {
		g.run(r)
	}
	<-r.done
	return r.err
}

func (g *Group) enter() (r *round, leads bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.next == nil {
		g.next, leads = &round{done: make(chan struct{})}, true
	}
	return g.next, leads
}

func (g *Group) run(r *round) {
	g.turn.Lock()
	defer g.turn.Unlock()
	g.mu.Lock()
	g.next = nil // who comes from here on may have written after we began
	r.err = g.failed
	g.mu.Unlock()
	if err := unix.Syncfs(int(g.file.Fd())); err != nil && r.err == nil {
		r.err = subvol.SpaceError(g.file, fmt.Errorf("make durable: %w", err))
		g.mu.Lock()
		g.failed = r.err
		g.mu.Unlock()
	}
	close(r.done)
}
