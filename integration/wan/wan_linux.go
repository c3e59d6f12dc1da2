package wan

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
)

// prefix is the link's own; it is in no namespace but the two.
var prefix = netip.MustParsePrefix("10.99.0.0/24")

// WAN is a link between two sides. Its methods may be called concurrently.
type WAN struct {
	A, B    *Side
	ways    [2]*direction // from A, from B
	devices [2]*os.File
	running sync.WaitGroup

	mu    sync.Mutex // guards below
	shape Shape
}

// Missing says why there can be no link here; "" if there can.
func Missing() string {
	if os.Geteuid() != 0 {
		return "it needs root, for network namespaces"
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		return "there is no /dev/net/tun"
	}
	return ""
}

// Open makes the namespaces and joins them. The seed decides which packets are
// lost. The link must be closed.
func Open(s Shape, seed uint64) (w *WAN, err error) {
	if err := s.validate(); err != nil {
		return nil, err
	}
	w = &WAN{shape: s}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("open a link: %w", err), w.Close())
		}
	}()
	for i, side := range []**Side{&w.A, &w.B} {
		address := prefix.Addr().Next()
		for range i {
			address = address.Next()
		}
		if *side, err = newSide(address); err != nil {
			return w, err
		}
		if w.devices[i], err = (*side).openTUN(prefix); err != nil {
			return w, err
		}
	}
	for i := range w.ways {
		d := newDirection(w.devices[i], w.devices[1-i], s, seed+uint64(i))
		w.ways[i] = d
		w.running.Go(d.take)
		w.running.Go(d.deliver)
	}
	return w, nil
}

// Set changes what the link is like. What is on its way arrives as it was sent,
// unless the link goes down, which loses only what comes later.
func (w *WAN) Set(s Shape) error {
	if err := s.validate(); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.apply(s)
	return nil
}

func (w *WAN) apply(s Shape) {
	w.shape = s
	for _, d := range w.ways {
		d.set(s)
	}
}

// Cut loses everything from now on, in silence; Restore ends that.
func (w *WAN) Cut() { w.down(true) }

// Restore lets packets pass again.
func (w *WAN) Restore() { w.down(false) }

func (w *WAN) down(is bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.shape
	s.Down = is
	w.apply(s)
}

// Counts are what went from A to B and back so far.
func (w *WAN) Counts() (there, back Count) { return w.ways[0].count(), w.ways[1].count() }

// Close takes the link down; the namespaces go when nothing is in them any more.
func (w *WAN) Close() error {
	var errs []error
	for _, f := range w.devices {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	w.running.Wait()
	for _, s := range []*Side{w.A, w.B} {
		if s != nil && s.net != nil {
			errs = append(errs, s.net.Close())
		}
	}
	return errors.Join(errs...)
}
