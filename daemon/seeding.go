package daemon

import (
	"cmp"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync"

	"github.com/rs/zerolog"

	"antipode/daemon/durable"
	"antipode/fsdrivers/dataset"
)

// firstCopiesFile holds the first copies that an operator asked for although their
// job says initial = "fail". The hold of an unfinished step would not do: an increment
// on its way when its replica is lost leaves one too, and nobody asked for that copy.
const firstCopiesFile = "first-copies.json"

// firstCopy is a wish for one. A dataset that was made anew under its path is another.
type firstCopy struct {
	Job     string          `json:"job"`
	Peer    string          `json:"peer"`
	Dataset dataset.Dataset `json:"dataset"`
}

// firstCopies are the wishes in force: durable before anything is sent, and over when
// the target has a point, or when they are given up.
type firstCopies struct {
	path string
	log  zerolog.Logger

	mu   sync.Mutex // guards all, and is held while it is written
	want map[firstCopy]bool
}

// loadFirstCopies reads what an operator wished before this daemon began.
func loadFirstCopies(stateDir string, log zerolog.Logger) (*firstCopies, error) {
	f := &firstCopies{path: filepath.Join(stateDir, firstCopiesFile), log: log, want: map[firstCopy]bool{}}
	var all []firstCopy
	if err := durable.ReadJSON(f.path, &all); err != nil {
		return nil, fmt.Errorf("read which first copies were asked for: %w; remove %s to go on with none", err, f.path)
	}
	for _, w := range all {
		f.want[w] = true
	}
	return f, nil
}

// ask remembers a wish. It is durable when it returns.
func (f *firstCopies) ask(w firstCopy) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	next := maps.Clone(f.want)
	next[w] = true
	return f.become(next)
}

// end forgets the wishes that over names. What cannot be written is in the log: a
// restart would ask for such a copy again.
func (f *firstCopies) end(over func(firstCopy) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	next := maps.Clone(f.want)
	maps.DeleteFunc(next, func(w firstCopy, _ bool) bool { return over(w) })
	if len(next) == len(f.want) {
		return
	}
	if err := f.become(next); err != nil {
		f.want = next
		f.log.Error().Err(err).Msg("cannot forget a first copy that was asked for")
	}
}

// become writes the wishes before it changes them; f.mu is held.
func (f *firstCopies) become(next map[firstCopy]bool) error {
	all := slices.AppendSeq(make([]firstCopy, 0, len(next)), maps.Keys(next))
	slices.SortFunc(all, func(a, b firstCopy) int {
		return cmp.Or(cmp.Compare(a.Job, b.Job), cmp.Compare(a.Peer, b.Peer), cmp.Compare(a.Dataset.Path, b.Dataset.Path), cmp.Compare(a.Dataset.ID, b.Dataset.ID))
	})
	if err := durable.WriteJSON(f.path, all); err != nil {
		return fmt.Errorf("remember which first copies were asked for: %w", err)
	}
	f.want = next
	return nil
}

func (f *firstCopies) has(w firstCopy) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.want[w]
}

// toPeer is what the courier of one job and peer sees of the wishes.
type toPeer struct {
	*firstCopies
	job, peer string
}

// Asked reports whether a first copy was asked for (replicate.FirstCopies).
func (t toPeer) Asked(d dataset.Dataset) bool { return t.has(firstCopy{t.job, t.peer, d}) }

// Seeded notes that the peer has a point of the dataset.
func (t toPeer) Seeded(path dataset.Path) {
	t.end(func(w firstCopy) bool { return w.Job == t.job && w.Peer == t.peer && w.Dataset.Path == path })
}

// giveUp forgets the wishes for what somebody aborts or abandons: of a job, to a peer
// if one is named, of a dataset if one is.
func (f *firstCopies) giveUp(job, peer string, path dataset.Path) {
	f.end(func(w firstCopy) bool {
		return w.Job == job && (peer == "" || w.Peer == peer) && (path.IsZero() || w.Dataset.Path == path)
	})
}

// drop forgets what a configuration does not name any more.
func (f *firstCopies) drop(s *site) {
	f.end(func(w firstCopy) bool { return s.jobs[w.Job] == nil || s.jobs[w.Job].couriers[w.Peer] == nil })
}
