package daemon

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"antipode/daemon/policy"
	"antipode/daemon/schedule"
	"antipode/daemon/status"
	"antipode/fsdrivers/dataset"
	"antipode/transport/client"
	"antipode/transport/wire"
)

// A target that pulls says when; what is sent, and whether at all, stays with the
// source: it runs the jobs that name the target in replicate_to and are pulled.

const (
	// causePulled is the cause of a run that a target asked for.
	causePulled = "pulled"
	// pullLeast is how often a target may set a job going: what it asks in between
	// is what runs already.
	pullLeast = 30 * time.Second
	// pullFirst and pullMost bound the pause after a question that reached nobody.
	pullFirst, pullMost = 30 * time.Second, 10 * time.Minute
	// maxAskers is how many sources are asked at once: one that is away holds up none.
	maxAskers = 1 << 10
)

// pullKey names a job and the target that pulls it.
type pullKey struct{ job, peer string }

// pullNote is what is remembered of a pull, on either side.
type pullNote struct {
	last    time.Time // that was asked for and begun
	when    string    // as the target says
	problem string    // why the last was not
}

// Pull sets going what a target may ask for (server.Puller).
func (t target) Pull(_ context.Context, from string, q wire.PullRequest) (wire.PullAnswer, error) {
	t.d.heard(from)
	answer := wire.PullAnswer{Jobs: []string{}}
	var why []string
	for id, w := range t.d.site().jobs {
		switch {
		case string(w.job.Driver) != q.Driver || w.couriers[from] == nil:
		case !w.job.Pulled:
			why = append(why, fmt.Sprintf("job %s is not pulled (set pulled = true)", id))
		case t.d.pauses.Has(id):
			why = append(why, fmt.Sprintf("job %s is paused", id))
		default:
			answer.Jobs = append(answer.Jobs, id)
			t.d.pulled(w, from, q.When)
		}
	}
	if len(answer.Jobs) > 0 {
		slices.Sort(answer.Jobs)
		return answer, nil
	}
	if why == nil {
		why = append(why, fmt.Sprintf("no job here replicates %s datasets to %s", q.Driver, from))
	}
	slices.Sort(why)
	return answer, fmt.Errorf("%w: %s", dataset.ErrRefused, strings.Join(why, "; "))
}

// pulled runs a job for one target, unless it has just begun to.
func (d *Daemon) pulled(w *work, from, when string) {
	key := pullKey{w.job.ID, from}
	d.mu.Lock()
	note, now := d.pulls[key], d.Now()
	begin := now.Sub(note.last).Abs() >= pullLeast
	if note.when = when; begin {
		note.last = now
	}
	d.pulls[key] = note
	d.mu.Unlock()
	if begin {
		d.background(func(ctx context.Context) { d.runPulled(ctx, w, from) })
	}
}

// runPulled takes snapshots, where the job has no times of its own for them, and
// sends what there is. What fails is on the board.
func (d *Daemon) runPulled(ctx context.Context, w *work, from string) {
	if w.job.Schedule.IsZero() {
		_, _ = d.snapshotJob(ctx, w, causePulled)
	}
	d.visit(ctx, w, causePulled, from)
}

// askFor has a source send what the room of that name is for. It asks until it is
// heard: the next time may be a day away. What the source refuses is not asked
// again before.
func (d *Daemon) askFor(ctx context.Context, id, _ string) error {
	for wait := pullFirst; ; wait = min(2*wait, pullMost) {
		key, a, call := d.site().puller(id)
		if call == nil {
			return nil // a reload took it out
		}
		answer, err := call.Pull(ctx, wire.PullRequest{Driver: key.driver, When: a.Pull.String()})
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the daemon ends
		}
		d.noteAsked(key, err)
		if err == nil {
			d.Log.Debug().Str("peer", a.From).Strs("jobs", answer.Jobs).Msg("the source sends")
			return nil
		}
		if errors.Is(err, dataset.ErrRefused) || errors.Is(err, wire.ErrUnknown) {
			return err
		}
		d.Log.Warn().Err(err).Str("peer", a.From).Dur("again_in", wait).Msg("cannot pull")
		t := time.NewTimer(wait/2 + rand.N(wait/2))
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-t.C:
		}
	}
}

func (d *Daemon) noteAsked(key roomKey, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	note := d.asked[key]
	if note.problem = ""; err != nil {
		note.problem = err.Error()
	} else {
		note.last = d.Now()
	}
	d.asked[key] = note
}

// askers is what the schedule of pulls has for each room that pulls.
func askers(accepts []policy.Accept) []policy.Job {
	var all []policy.Job
	for _, a := range accepts {
		if !a.Pull.IsZero() {
			all = append(all, policy.Job{ID: roomOf(a).asker(), Schedule: a.Pull, Location: a.Location})
		}
	}
	return all
}

// asker is the name of a room in the schedule of pulls.
func (k roomKey) asker() string { return k.from + "/" + k.driver }

// puller finds the room that a name of askers is of, and its source; nil if there is
// none.
func (s *site) puller(id string) (roomKey, policy.Accept, *client.Client) {
	for key, r := range s.rooms {
		if a := r.Accept(); key.asker() == id && !a.Pull.IsZero() {
			return key, a, s.calls[a.From]
		}
	}
	return roomKey{}, policy.Accept{}, nil
}

// lastAsked is when each room was last pulled into, as far as this run of the
// daemon knows: one that it does not know pulls at once.
func (d *Daemon) lastAsked() map[string]time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	last := map[string]time.Time{}
	for key, note := range d.asked {
		last[key.asker()] = note.last
	}
	return last
}

// showPulls puts both sides of pulls into the status.
func (d *Daemon) showPulls(s *status.Status) {
	site := d.site()
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range s.Jobs {
		w := site.jobs[s.Jobs[i].ID]
		if w == nil || !w.job.Pulled {
			continue
		}
		for _, name := range w.job.ReplicateTo {
			note := d.pulls[pullKey{w.job.ID, name}]
			s.Jobs[i].PulledBy = append(s.Jobs[i].PulledBy, status.Pull{Peer: name, When: note.when, Last: note.last})
		}
	}
	for _, a := range site.cfg.Accepts {
		if a.Pull.IsZero() {
			continue
		}
		key := roomOf(a)
		note := d.asked[key]
		s.Pulls = append(s.Pulls, status.Pull{
			Peer: a.From, Driver: string(a.Driver), When: a.Pull.String(), Last: note.last, Next: d.asking.Next(key.asker()), Problem: note.problem,
		})
	}
}

// pulledHow tells whether a target pulls a job, and how often as it said last.
func (d *Daemon) pulledHow(w *work, name string) (pulls bool, when string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return w.job.Pulled, d.pulls[pullKey{w.job.ID, name}].when
}

// pulledBy tells a peer which jobs it may ask for.
func (s *site) pulledBy(from string) []wire.Pulled {
	var all []wire.Pulled
	for id, w := range s.jobs {
		if w.job.Pulled && w.couriers[from] != nil && len(all) < wire.MaxPulled {
			all = append(all, wire.Pulled{Job: id, Driver: string(w.job.Driver)})
		}
	}
	slices.SortFunc(all, func(a, b wire.Pulled) int { return strings.Compare(a.Job, b.Job) })
	return all
}

// isQuietRun holds for runs of which there may be thousands in which nothing
// happened.
func isQuietRun(cause string) bool { return cause == schedule.CauseDue || cause == causePulled }
