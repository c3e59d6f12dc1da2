package wish

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

// FirstCopy is a wish for one. A dataset that was made anew under its path is another.
type FirstCopy struct {
	Job     string          `json:"job"`
	Peer    string          `json:"peer"`
	Dataset dataset.Dataset `json:"dataset"`
}

// FirstCopies are the wishes in force: durable before anything is sent, and over when
// the target has a point, or when they are given up.
type FirstCopies struct {
	path string
	log  zerolog.Logger

	mu   sync.Mutex // guards all, and is held while it is written
	want map[FirstCopy]bool
}

// LoadFirstCopies reads what an operator wished before this daemon began.
func LoadFirstCopies(stateDir string, log zerolog.Logger) (*FirstCopies, error) {
	f := &FirstCopies{path: filepath.Join(stateDir, firstCopiesFile), log: log, want: map[FirstCopy]bool{}}
	var all []FirstCopy
	if err := durable.ReadJSON(f.path, &all); err != nil {
		return nil, fmt.Errorf("read which first copies were asked for: %w; remove %s to go on with none", err, f.path)
	}
	for _, w := range all {
		f.want[w] = true
	}
	return f, nil
}

// Ask remembers a wish. It is durable when it returns.
func (f *FirstCopies) Ask(w FirstCopy) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	next := maps.Clone(f.want)
	next[w] = true
	return f.become(next)
}

// end forgets the wishes that over names. What cannot be written is in the log: a
// restart would ask for such a copy again.
func (f *FirstCopies) end(over func(FirstCopy) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	next := maps.Clone(f.want)
	maps.DeleteFunc(next, func(w FirstCopy, _ bool) bool { return over(w) })
	if len(next) == len(f.want) {
		return
	}
	if err := f.become(next); err != nil {
		f.want = next
		f.log.Error().Err(err).Msg("cannot forget a first copy that was asked for")
	}
}

// become writes the wishes before it changes them; f.mu is held.
func (f *FirstCopies) become(next map[FirstCopy]bool) error {
	all := slices.AppendSeq(make([]FirstCopy, 0, len(next)), maps.Keys(next))
	slices.SortFunc(all, func(a, b FirstCopy) int {
		return cmp.Or(cmp.Compare(a.Job, b.Job), cmp.Compare(a.Peer, b.Peer), cmp.Compare(a.Dataset.Path, b.Dataset.Path), cmp.Compare(a.Dataset.ID, b.Dataset.ID))
	})
	if err := durable.WriteJSON(f.path, all); err != nil {
		return fmt.Errorf("remember which first copies were asked for: %w", err)
	}
	f.want = next
	return nil
}

func (f *FirstCopies) has(w FirstCopy) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.want[w]
}

// ToPeer is what the courier of one job and peer sees of the wishes.
type ToPeer struct {
	all       *FirstCopies
	job, peer string
}

// To is what a job wishes of one peer.
func (f *FirstCopies) To(job, peer string) ToPeer { return ToPeer{f, job, peer} }

// Asked reports whether a first copy was asked for (replicate.FirstCopies).
func (t ToPeer) Asked(d dataset.Dataset) bool { return t.all.has(FirstCopy{t.job, t.peer, d}) }

// Seeded notes that the peer has a point of the dataset.
func (t ToPeer) Seeded(path dataset.Path) {
	t.all.end(func(w FirstCopy) bool { return w.Job == t.job && w.Peer == t.peer && w.Dataset.Path == path })
}

// GiveUp forgets the wishes for what somebody aborts or abandons: of a job, to a peer
// if one is named, of a dataset if one is.
func (f *FirstCopies) GiveUp(job, peer string, path dataset.Path) {
	f.end(func(w FirstCopy) bool {
		return w.Job == job && (peer == "" || w.Peer == peer) && (path.IsZero() || w.Dataset.Path == path)
	})
}

// Retain forgets the wishes of jobs and peers that are not named any more.
func (f *FirstCopies) Retain(named func(job, peer string) bool) {
	f.end(func(w FirstCopy) bool { return !named(w.Job, w.Peer) })
}
