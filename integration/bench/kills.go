package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"antipode/integration/link"
	"antipode/integration/stage"
)

const (
	killedBytes  = 4 << 30 // of the copy that is killed three times
	killFirst    = 1 << 30 // bytes that pass before each kill, at the least
	killSpread   = 1 << 29 // and up to so many more
	killRate     = "40MiB/s"
	killSegment  = 1 << 30 // segment.Defaults
	killWindow   = 32 << 20
	copyPatience = 10 * time.Minute
)

// kills sends 4 GiB, kills the target, the source and both with -9 on the way, and
// measures what each kill has sent again: what the link had carried of the stream,
// less what the next run goes on from.
func (b *bench) kills(ctx context.Context) (err error) {
	mark := b.Mark()
	defer func() {
		if strikeErr := b.StrikeTo(mark); err == nil {
			err = strikeErr
		}
	}()
	k := *b
	source, err := b.Volume(ctx, "killed", volumeBytes)
	if err != nil {
		return err
	}
	k.dataset = filepath.Join(source.Dir, "data")
	if err := fillKilled(ctx, k.dataset); err != nil {
		return err
	}
	var between *link.Link
	p, err := k.pair(ctx, killRate, func(target string) (string, error) {
		if between, err = link.Open("127.0.0.3:0", target); err != nil {
			return "", err
		}
		b.Later(func(context.Context) error { return between.Close() })
		return between.Address(), nil
	})
	if err != nil {
		return err
	}
	if _, err := p.near.Run(ctx, "trigger", job); err != nil {
		return err
	}
	worst, from := 0.0, int64(0)
	for _, who := range []struct {
		name  string
		nodes []*stage.Node
	}{{"target", []*stage.Node{p.far}}, {"source", []*stage.Node{p.near}}, {"both", []*stage.Node{p.far, p.near}}} {
		again, next, err := b.kill(ctx, p, between, from, who.nodes)
		if err != nil {
			return fmt.Errorf("kill of %s: %w", who.name, err)
		}
		segments := max(0, float64(again-killWindow)/killSegment)
		b.note("kill of %s: %d MiB are sent again, it goes on from %d MiB", who.name, again>>20, next>>20)
		worst, from = max(worst, segments), next
	}
	figure("resend_kill", worst, "segments")
	return p.published(ctx)
}

// fillKilled makes the subvolume and fills it with what does not compress.
func fillKilled(ctx context.Context, root string) error {
	if _, err := stage.Tool(ctx, "btrfs", "subvolume", "create", root); err != nil {
		return err
	}
	m := &maker{root: root, rand: rand.NewChaCha8([32]byte{'k', 'i', 'l', 'l'})}
	for i := range killedBytes / (256 << 20) {
		m.file(fmt.Sprintf("film-%d.mkv", i), m.rand, 256<<20)
	}
	if m.err != nil {
		return m.err
	}
	_, err := stage.Tool(ctx, "sync", "-f", root)
	return err
}

// kill kills the nodes once enough has passed since the stream began at from, starts
// them again, and returns how much is sent again and where the stream now begins.
func (b *bench) kill(ctx context.Context, p *pair, l *link.Link, from int64, nodes []*stage.Node) (again, next int64, err error) {
	before, moment := l.There(), killFirst+rand.Int64N(killSpread)
	if err := stage.Until(ctx, func() (bool, error) { return l.There() >= before+moment, nil }); err != nil {
		return 0, 0, err
	}
	for _, n := range nodes {
		if err := n.Kill(); err != nil {
			return 0, 0, err
		}
	}
	reached := from + l.There() - before
	began := p.begun()
	for _, n := range nodes {
		if err := n.Start(ctx, b.Stage); err != nil {
			return 0, 0, err
		}
		if n == p.near {
			began = 0 // its log is a new one
		}
	}
	err = stage.Until(ctx, func() (bool, error) {
		places := p.places()
		if len(places) > began {
			next = places[len(places)-1]
			return true, nil
		}
		return false, nil
	})
	return reached - next, next, err
}

var wasBegun = regexp.MustCompile(`"why":"(?:was begun: (\d+) bytes|first copy)[^"]*"[^\n]*"message":"step begins"`)

// places are the bytes from which the source has begun the step, as its log has them.
func (p *pair) places() (all []int64) {
	f, err := os.Open(p.near.Log())
	if err != nil {
		return nil
	}
	defer f.Close()
	text, err := io.ReadAll(f)
	if err != nil {
		return nil
	}
	for _, m := range wasBegun.FindAllSubmatch(text, -1) {
		n, _ := strconv.ParseInt(string(m[1]), 10, 64) // a step without a checkpoint begins at 0
		all = append(all, n)
	}
	return all
}

func (p *pair) begun() int { return len(p.places()) }

// published waits until the copy is complete.
func (p *pair) published(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, copyPatience, fmt.Errorf("the copy was not complete within %s", copyPatience))
	defer cancel()
	return stage.Until(ctx, func() (bool, error) {
		list, err := filepath.Glob(filepath.Join(p.target.Dir, "into", p.dataset, "antipode_*"))
		return len(list) > 0, err
	})
}
