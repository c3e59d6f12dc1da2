// Package watch judges every objective by this node's own clock and tells the
// operator at each crossing, by the operator's own command. It needs nothing from
// the peers: a target speaks up when its source is silent. It does not know where
// the facts come from.
package watch

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

	"github.com/rs/zerolog"

	"antipode/daemon/config"
	"antipode/daemon/ledger"
	"antipode/daemon/policy"
	"antipode/daemon/status"
	"antipode/fsdrivers/dataset"
)

const (
	// watchEvery is how often objectives are judged. An alert is due within 10 s of
	// the miss.
	watchEvery = time.Second
	// maxQueued bounds the alerts that wait for a slow command.
	maxQueued = 1024
	// alarmAgain is how long an alarm that stands is not told again.
	alarmAgain = 6 * time.Hour
	// primary is the role of a replica that was promoted here.
	primary = "primary"
)

// The kinds of alarm, as the operator's command gets them in ANTIPODE_EVENT.
const (
	Demoted     = "demoted"      // another node was made primary; this side stepped down
	SplitBrain  = "split-brain"  // one generation was activated twice
	MarkRefused = "mark-refused" // a peer shows a mark that cannot be believed
	rpoMissed   = "rpo-missed"
	rpoMet      = "rpo-met"
	rpoDropped  = "rpo-dropped" // missed, and no objective any more
)

// Options of a Watch. All fields are needed.
type Options struct {
	Node string
	Now  func() time.Time
	Log  zerolog.Logger
	// Subjects are all objectives as they stand now.
	Subjects func() []Subject
	// Before is what was known of an objective before a restart.
	Before func(ledger.FactKey) ledger.Fact
	// History remembers crossings and what was told.
	History interface{ Record(ledger.Batch) }
	// Stand shows the alerts that stand, newest first.
	Stand func([]status.Alert)
	// Tell runs the operator's command.
	Tell func(ctx context.Context, argv []string, timeout time.Duration, env map[string]string) error
}

// Watch is safe for concurrent use.
type Watch struct {
	Options

	mu     sync.Mutex // guards below
	alert  config.Alert
	seen   map[string]*sighting
	stands map[string]status.Alert // by object
	queue  []note
	wake   chan struct{}
}

// sighting is what the watch remembers of one objective.
type sighting struct {
	key      ledger.FactKey
	standing policy.Standing
	moved    time.Time // when its first copy last moved, or the watch began
	bytes    int64
	point    string    // the newest recovery point
	arrived  time.Time // when that was first seen
}

// note is one alert on its way to the operator.
type note struct {
	kind, object, text string
	about              ledger.FactKey
	env                map[string]string
}

// Subject is one objective with the facts that it is judged by.
type Subject struct {
	Key       ledger.FactKey
	Name      string        // for people; no two are alike
	RPO       time.Duration // 0: no objective
	Point     status.Point  // newest complete on the target
	Moving    *status.Moving
	LastError *status.Problem
	// Suspended: another node is primary, so nothing is late here.
	Suspended bool
}

// New returns a watch; Serve runs it.
func New(o Options) *Watch {
	return &Watch{Options: o, seen: map[string]*sighting{}, stands: map[string]status.Alert{}, wake: make(chan struct{}, 1)}
}

// Configure takes over the operator's command.
func (w *Watch) Configure(a config.Alert) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.alert = a
}

// Serve judges until ctx ends; alerts that wait then are told first, within
// their own bounds.
func (w *Watch) Serve(ctx context.Context) error {
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
			w.judge(w.Now(), w.Subjects())
		}
	}
}

// judge looks at every objective once.
func (w *Watch) judge(now time.Time, subjects []Subject) {
	w.mu.Lock()
	defer w.mu.Unlock()
	known := make(map[string]bool, len(subjects))
	for _, sub := range subjects {
		known[sub.Name] = true
		w.judgeOne(now, sub)
	}
	for name, was := range w.seen {
		if !known[name] {
			w.drop(name, was.key)
			delete(w.seen, name)
		}
	}
	standing := slices.SortedFunc(maps.Values(w.stands), func(a, b status.Alert) int {
		return cmp.Or(b.At.Compare(a.At), cmp.Compare(a.Object, b.Object))
	})
	w.Stand(standing)
}

func (w *Watch) judgeOne(now time.Time, sub Subject) {
	was, ok := w.seen[sub.Name]
	if !ok {
		was = &sighting{key: sub.Key, moved: now, standing: w.remembered(sub.Key)}
		w.seen[sub.Name] = was
		if was.standing == policy.StandingMissed { // it was told, and stands
			w.stands[sub.Name] = status.Alert{At: now, Kind: rpoMissed, Object: sub.Name, Text: missedText(now, sub)}
		}
	}
	if sub.Moving != nil && sub.Moving.Bytes != was.bytes {
		was.bytes, was.moved = sub.Moving.Bytes, now
	}
	if sub.Point.Name != was.point {
		was.point, was.arrived = sub.Point.Name, now
	}
	point := sub.Point.Time
	if point.After(was.arrived) {
		point = was.arrived // made by a clock that was ahead: it would hide a miss until that day
	}
	if sub.Point.Confirmed.After(point) {
		point = sub.Point.Confirmed // by this node's clock
	}
	objective := policy.Objective{RPO: sub.RPO}
	if sub.Suspended {
		objective = policy.Objective{}
	}
	if objective.IsZero() {
		w.drop(sub.Name, sub.Key)
	}
	var event policy.Event
	was.standing, event = objective.Turn(was.standing, now, policy.Evidence{Point: point, Alive: was.moved})
	if event == policy.EventNone {
		return
	}
	kind, text := rpoMet, fmt.Sprintf("%s is within its rpo of %s again: the newest recovery point is %s",
		sub.Name, policy.FormatDuration(sub.RPO), sub.Point.Name)
	state := status.StateOK
	delete(w.stands, sub.Name)
	if event == policy.EventMissed {
		kind, text, state = rpoMissed, missedText(now, sub), status.StateMissed
		w.stands[sub.Name] = status.Alert{At: now, Kind: kind, Object: sub.Name, Text: text}
	}
	w.History.Record(ledger.Batch{Facts: []ledger.Fact{{
		FactKey: sub.Key, At: now, RPO: sub.RPO, State: string(state),
		Point: ledger.Point{Name: sub.Point.Name, Created: sub.Point.Time, Confirmed: sub.Point.Confirmed},
	}}})
	w.enqueue(note{kind: kind, object: sub.Name, text: text, about: sub.Key, env: map[string]string{
		"SIDE": string(sub.Key.Side), "JOB": sub.Key.Job, "DATASET": string(sub.Key.Dataset), "PEER": sub.Key.Peer,
		"RPO_SECONDS": strconv.FormatInt(int64(sub.RPO/time.Second), 10), "POINT": sub.Point.Name,
	}})
}

// drop takes back the alert of an objective that is none any more: its job is gone,
// or another node is primary. Whoever was told of the miss is told that too;
// w.mu is held.
func (w *Watch) drop(name string, key ledger.FactKey) {
	if w.stands[name].Kind != rpoMissed {
		return
	}
	delete(w.stands, name)
	w.enqueue(note{kind: rpoDropped, object: name, about: key, text: name + " is no objective of this node any more, so its miss is not followed"})
}

func missedText(now time.Time, sub Subject) string {
	text := fmt.Sprintf("%s has missed its rpo of %s: ", sub.Name, policy.FormatDuration(sub.RPO))
	if sub.Point.IsZero() {
		text += "there is no recovery point yet, and the first copy does not move"
	} else if !sub.Point.Confirmed.IsZero() {
		text += fmt.Sprintf("the newest recovery point is %s; that nothing was written since was confirmed last %s ago",
			sub.Point.Name, policy.FormatDuration(now.Sub(sub.Point.Confirmed).Round(time.Second)))
	} else if age := now.Sub(sub.Point.Time).Round(time.Second); age < 0 {
		text += fmt.Sprintf("the newest recovery point is %s, made by a clock that was %s ahead of this one, and none came since", sub.Point.Name, policy.FormatDuration(-age))
	} else {
		text += fmt.Sprintf("the newest recovery point is %s, %s old", sub.Point.Name, policy.FormatDuration(age))
	}
	if sub.LastError != nil {
		text += "; last error: " + sub.LastError.Text
	}
	return text
}

// remembered is the standing before a restart, so that a restart does not tell
// what was told.
func (w *Watch) remembered(key ledger.FactKey) policy.Standing {
	if w.Before(key).State == string(status.StateMissed) {
		return policy.StandingMissed
	}
	return policy.StandingNone
}

// Subjects are the objectives of a status.
func Subjects(s status.Status) []Subject {
	var all []Subject
	for _, j := range s.Jobs {
		for _, d := range j.Datasets {
			for _, p := range d.Peers {
				all = append(all, Subject{
					Key:  ledger.FactKey{Side: ledger.Source, Job: j.ID, Dataset: d.Path, Peer: p.Peer},
					Name: fmt.Sprintf("%s of job %s to %s", d.Path, j.ID, p.Peer), RPO: p.RPO, Point: p.LastPoint,
					Moving: p.Moving, LastError: p.LastError, Suspended: p.State == status.StateFenced,
				})
			}
		}
	}
	for _, r := range s.Replicas {
		all = append(all, Subject{
			Key:  ledger.FactKey{Side: ledger.Target, Dataset: r.Path, Peer: r.From},
			Name: fmt.Sprintf("replica of %s from %s", r.Path, r.From), RPO: r.RPO, Point: r.LastPoint,
			Moving: r.Receiving, LastError: r.LastError, Suspended: r.Role == primary,
		})
	}
	return all
}

// Alarm tells of what no clock sees: a refused mark, a split brain, a demotion. It
// stands until Clear; the same kind of alarm about the same object is told again
// after alarmAgain at the earliest, whatever its text, so that no peer can have
// the operator's command run as often as it likes.
func (w *Watch) Alarm(kind, object, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	key, now := kind+" "+object, w.Now()
	if last, stands := w.stands[key]; stands && now.Sub(last.At) < alarmAgain {
		return
	}
	text = strings.TrimPrefix(text, object+": ")
	w.stands[key] = status.Alert{At: now, Kind: kind, Object: object, Text: text}
	w.enqueue(note{kind: kind, object: object, text: text, about: about(kind, object)})
}

// about is what an alarm concerns, as history is asked for it. Its object is a
// dataset, "job ID", something "of job ID", or something else.
func about(kind, object string) (key ledger.FactKey) {
	switch kind {
	case Demoted, SplitBrain, MarkRefused:
		key.Dataset = dataset.Path(object)
	default:
		const of = " of job "
		if i := strings.LastIndex(" of "+object, of); i >= 0 {
			key.Job = object[i+len(of)-len(" of "):]
		}
	}
	return key
}

// Settle ends an alarm of one kind about an object.
func (w *Watch) Settle(kind, object string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.stands, kind+" "+object)
}

// Forget ends every alarm about an owner, a job as a whole for example, and about what
// is named as something of it: it is none of this node's any more.
func (w *Watch) Forget(owner string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	maps.DeleteFunc(w.stands, func(key string, a status.Alert) bool {
		return key == a.Kind+" "+a.Object && (a.Object == owner || strings.HasSuffix(a.Object, " of "+owner))
	})
}

// Clear ends every alarm about an object: both sides agree again.
func (w *Watch) Clear(object string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, kind := range []string{Demoted, SplitBrain, MarkRefused} {
		delete(w.stands, kind+" "+object)
	}
}

// enqueue hands a note to the teller; w.mu is held. The oldest gives way when the
// command is too slow for all.
func (w *Watch) enqueue(n note) {
	w.Log.Warn().Str("event", n.kind).Str("object", n.object).Msg(n.text)
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
func (w *Watch) tell(ctx context.Context) {
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

func (w *Watch) tellOne(ctx context.Context, command config.Alert, n note) {
	record := ledger.Alert{FactKey: n.about, At: w.Now(), Kind: n.kind, Object: n.object, Text: n.text}
	if len(command.Exec) > 0 {
		env := map[string]string{"EVENT": n.kind, "NODE": w.Node, "OBJECT": n.object, "TEXT": n.text}
		maps.Copy(env, n.env)
		// A daemon that is told to stop tells what it knows first.
		err := w.Tell(context.WithoutCancel(ctx), command.Exec, command.Timeout, env)
		record.Delivered = err == nil
		if err != nil {
			record.Error = err.Error()
			w.Log.Error().Err(err).Str("event", n.kind).Msg("the alert command failed; somebody may not know")
		}
	}
	w.History.Record(ledger.Batch{Alerts: []ledger.Alert{record}})
}
