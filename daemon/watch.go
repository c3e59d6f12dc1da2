package daemon

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"antipode/daemon/config"
	"antipode/daemon/ledger"
	"antipode/daemon/policy"
	"antipode/daemon/status"
)

const (
	// watchEvery is how often objectives are judged. An alert is due within 10 s of
	// the miss.
	watchEvery = time.Second
	// maxQueued bounds the alerts that wait for a slow command.
	maxQueued = 1024
)

// watch judges every objective by this node's own clock, on both sides, and runs
// the operator's command at each crossing. It needs nothing from the peers: a
// target speaks up when its source is silent.
type watch struct {
	d *Daemon

	mu     sync.Mutex // guards below
	alert  config.Alert
	seen   map[string]*sighting
	stands map[string]status.Alert // by object
	queue  []note
	wake   chan struct{}
}

// sighting is what the watch remembers of one objective.
type sighting struct {
	standing policy.Standing
	moved    time.Time // when its first copy last moved, or the watch began
	bytes    int64
}

// note is one alert on its way to the operator.
type note struct {
	kind, object, text string
	env                map[string]string
}

// subject is one objective as the status shows it.
type subject struct {
	side       ledger.Side
	job        string
	dataset    string
	peer       string
	rpo        time.Duration
	point      status.Point
	moving     *status.Moving
	lastError  *status.Problem
	key        ledger.FactKey
	fenced     bool // no objective holds while another node is primary
	descriptor string
}

func newWatch(d *Daemon) *watch {
	return &watch{d: d, seen: map[string]*sighting{}, stands: map[string]status.Alert{}, wake: make(chan struct{}, 1)}
}

func (w *watch) configure(c *config.Config) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.alert = c.Alert
}

// serve judges until ctx ends; alerts that wait then are told first, within
// their own bounds.
func (w *watch) serve(ctx context.Context) error {
	var teller sync.WaitGroup
	defer teller.Wait()
	teller.Go(func() { w.tell(ctx) })
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			w.judge(w.d.Now(), append(subjectsOf(w.d.Status()), w.d.silent()...))
		}
	}
}

// judge looks at every objective once.
func (w *watch) judge(now time.Time, subjects []subject) {
	w.mu.Lock()
	defer w.mu.Unlock()
	known := make(map[string]bool, len(subjects))
	for _, sub := range subjects {
		known[sub.descriptor] = true
		w.judgeOne(now, sub)
	}
	maps.DeleteFunc(w.seen, func(k string, _ *sighting) bool { return !known[k] })
	standing := slices.SortedFunc(maps.Values(w.stands), func(a, b status.Alert) int {
		return cmp.Or(b.At.Compare(a.At), cmp.Compare(a.Object, b.Object))
	})
	w.d.Board.SetAlerts(standing)
}

func (w *watch) judgeOne(now time.Time, sub subject) {
	was, ok := w.seen[sub.descriptor]
	if !ok {
		was = &sighting{moved: now, standing: w.remembered(sub.key)}
		w.seen[sub.descriptor] = was
	}
	if sub.moving != nil && sub.moving.Bytes != was.bytes {
		was.bytes, was.moved = sub.moving.Bytes, now
	}
	objective := policy.Objective{RPO: sub.rpo}
	if sub.fenced {
		objective = policy.Objective{}
	}
	var event policy.Event
	was.standing, event = objective.Turn(was.standing, now, policy.Evidence{Point: sub.point.Time, Alive: was.moved})
	if event == policy.EventNone {
		return
	}
	kind, text := "rpo-met", fmt.Sprintf("%s is within its rpo of %s again: the newest recovery point is %s",
		sub.descriptor, policy.FormatDuration(sub.rpo), sub.point.Name)
	state := status.StateOK
	delete(w.stands, sub.descriptor)
	if event == policy.EventMissed {
		kind, text, state = "rpo-missed", missedText(now, sub), status.StateMissed
		w.stands[sub.descriptor] = status.Alert{At: now, Kind: kind, Object: sub.descriptor, Text: text}
	}
	w.d.ledger.Record(ledger.Batch{Facts: []ledger.Fact{{
		FactKey: sub.key, At: now, RPO: sub.rpo, State: string(state),
		Point: ledger.Point{Name: sub.point.Name, Created: sub.point.Time},
	}}})
	w.enqueue(note{kind: kind, object: sub.descriptor, text: text, env: map[string]string{
		"SIDE": string(sub.side), "JOB": sub.job, "DATASET": sub.dataset, "PEER": sub.peer,
		"RPO_SECONDS": strconv.FormatInt(int64(sub.rpo/time.Second), 10), "POINT": sub.point.Name,
	}})
}

func missedText(now time.Time, sub subject) string {
	text := fmt.Sprintf("%s has missed its rpo of %s: ", sub.descriptor, policy.FormatDuration(sub.rpo))
	if sub.point.IsZero() {
		text += "there is no recovery point yet, and the first copy does not move"
	} else {
		text += fmt.Sprintf("the newest recovery point is %s, %s old", sub.point.Name, policy.FormatDuration(now.Sub(sub.point.Time).Round(time.Second)))
	}
	if sub.lastError != nil {
		text += "; last error: " + sub.lastError.Text
	}
	return text
}

// remembered is the standing before a restart, so that a restart does not tell
// what was told.
func (w *watch) remembered(key ledger.FactKey) policy.Standing {
	if w.d.facts[key].State == string(status.StateMissed) {
		return policy.StandingMissed
	}
	return policy.StandingNone
}

func subjectsOf(s status.Status) []subject {
	var all []subject
	for _, j := range s.Jobs {
		for _, d := range j.Datasets {
			for _, p := range d.Peers {
				all = append(all, subject{
					side: ledger.Source, job: j.ID, dataset: string(d.Path), peer: p.Peer, rpo: p.RPO, point: p.LastPoint,
					moving: p.Moving, lastError: p.LastError, fenced: p.State == status.StateFenced,
					key:        ledger.FactKey{Side: ledger.Source, Job: j.ID, Dataset: d.Path, Peer: p.Peer},
					descriptor: fmt.Sprintf("%s of job %s to %s", d.Path, j.ID, p.Peer),
				})
			}
		}
	}
	for _, r := range s.Replicas {
		all = append(all, subject{
			side: ledger.Target, dataset: string(r.Path), peer: r.From, rpo: r.RPO, point: r.LastPoint,
			moving: r.Receiving, lastError: r.LastError, fenced: r.Role == "primary",
			key:        ledger.FactKey{Side: ledger.Target, Dataset: r.Path, Peer: r.From},
			descriptor: fmt.Sprintf("replica of %s from %s", r.Path, r.From),
		})
	}
	return all
}

// silent are the objectives of which no status line speaks, because there is
// nothing yet that could be late: a job that finds no dataset, an [[accept]] into
// which nothing ever came.
func (d *Daemon) silent() []subject {
	var all []subject
	s := d.site()
	for id, w := range s.jobs {
		if len(d.Board.Datasets(id)) > 0 {
			continue
		}
		for name := range w.couriers {
			all = append(all, subject{
				side: ledger.Source, job: id, peer: name, rpo: w.job.RPO, key: ledger.FactKey{Side: ledger.Source, Job: id, Peer: name},
				descriptor: fmt.Sprintf("job %s, which finds no dataset, to %s", id, name),
			})
		}
	}
	held := map[string]bool{}
	for _, r := range d.Board.Read().Replicas {
		held[r.From] = true
	}
	for key, r := range s.rooms {
		if !held[key.from] {
			all = append(all, subject{
				side: ledger.Target, peer: key.from, rpo: r.Accept.RPO, key: ledger.FactKey{Side: ledger.Target, Peer: key.from},
				descriptor: fmt.Sprintf("accept from %s, into which nothing came yet", key.from),
			})
		}
	}
	return all
}

// alarm tells of what no clock sees: a refused mark, a split brain, a demotion.
// The same alarm is told once.
func (d *Daemon) alarm(kind, object, text string) {
	w := d.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	key := kind + " " + object
	text = strings.TrimPrefix(text, object+": ")
	if w.stands[key].Text == text {
		return
	}
	w.stands[key] = status.Alert{At: d.Now(), Kind: kind, Object: object, Text: text}
	w.enqueue(note{kind: kind, object: object, text: text, env: map[string]string{"DATASET": object}})
}

// enqueue hands a note to the teller; w.mu is held. The oldest gives way when the
// command is too slow for all.
func (w *watch) enqueue(n note) {
	w.d.Log.Warn().Str("event", n.kind).Str("object", n.object).Msg(n.text)
	w.queue = append(w.queue, n)
	if len(w.queue) > maxQueued {
		w.queue = w.queue[1:]
	}
	select {
	case w.wake <- struct{}{}:
	default: // it is awake
	}
}

// tell runs the operator's command for one note after the other.
func (w *watch) tell(ctx context.Context) {
	for {
		w.mu.Lock()
		var next note
		waiting := len(w.queue) > 0
		if waiting {
			next, w.queue = w.queue[0], w.queue[1:]
		}
		command := w.alert
		w.mu.Unlock()
		if waiting {
			w.tellOne(ctx, command, next)
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
		}
	}
}

func (w *watch) tellOne(ctx context.Context, command config.Alert, n note) {
	record := ledger.Alert{At: w.d.Now(), Kind: n.kind, Object: n.object, Text: n.text}
	if len(command.Exec) > 0 {
		env := map[string]string{"EVENT": n.kind, "NODE": w.d.node(), "OBJECT": n.object, "TEXT": n.text}
		maps.Copy(env, n.env)
		// A daemon that is told to stop tells what it knows first.
		err := w.d.Tell(context.WithoutCancel(ctx), command.Exec, command.Timeout, env)
		record.Delivered = err == nil
		if err != nil {
			record.Error = err.Error()
			w.d.Log.Error().Err(err).Str("event", n.kind).Msg("the alert command failed; somebody may not know")
		}
	}
	w.d.ledger.Record(ledger.Batch{Alerts: []ledger.Alert{record}})
}
