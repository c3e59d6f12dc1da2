package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"antipode/daemon/activate"
	"antipode/daemon/board"
	"antipode/daemon/control"
	"antipode/daemon/ledger"
	"antipode/fsdrivers/dataset"
	"antipode/transport/wire"
)

// primaryPatience is how long the old primary has to answer before it counts as
// lost.
const primaryPatience = 2 * time.Second

// primaryForgotten is how long an old primary that did not answer is taken for
// lost without being asked again.
const primaryForgotten = 30 * time.Second

// primarySilent is from when a primary that sends to us has fallen silent: on a link
// that is there something comes every 5 s.
const primarySilent = 7 * time.Second

var errPromoted = errors.New("the dataset is being promoted on the target")

// promotion is one request to make a replica live.
type promotion struct {
	key    board.ReplicaKey
	room   *room
	mark   dataset.Mark
	points []dataset.Snapshot // oldest first
	role   activate.Role
}

// Promote makes this node primary of a dataset that it holds for a peer. It is
// answered when the dataset is live; see activate.Execute for what a crash leaves.
func (d *Daemon) Promote(ctx context.Context, r control.PromoteRequest) (control.PromoteResponse, error) {
	p, err := d.lookUpReplica(ctx, r)
	if err != nil {
		return control.PromoteResponse{}, err
	}
	answer, err := d.previewPromotion(ctx, p, r)
	if err != nil || r.Preview {
		return answer, err
	}
	if answer.PrimaryReachable && !r.Force && p.role != activate.Primary {
		return answer, &control.Error{
			Kind: control.KindRefused, Object: string(p.key.Dataset), Text: "its primary " + p.key.From + " answers",
			Next: "stop what writes there and let the last snapshot arrive; then promote with --force, and " + p.key.From + " steps down if its job says may_promote",
		}
	}
	lister := activate.Lister(p.room.driver)
	if r.Snapshot != "" {
		lister = upTo{p.room.driver, r.Snapshot}
	}
	facts, err := d.execute(ctx, p, lister, manner{force: r.Force, inPlace: r.InPlace})
	if err != nil {
		return answer, err
	}
	answer.Generation, answer.Point, answer.PointTime = facts.State.Mark.Generation, facts.Point.Name, facts.Point.Retain
	answer.Age, answer.Live, answer.SetAside, answer.Took = facts.Age, facts.Live, facts.SetAside, facts.Took
	answer.InPlace = facts.State.Mark.InPlace
	text := fmt.Sprintf("generation %d from %s, %s old; live at %s%s; reason: %s",
		answer.Generation, answer.Point, answer.Age.Round(time.Second), answer.Live, itself(answer.InPlace), r.Reason)
	d.ledger.Record(ledger.Batch{Events: []ledger.Event{{At: d.Now(), Kind: "promoted", Dataset: p.key.Dataset, Peer: p.key.From, Text: text}}})
	d.Log.Warn().Stringer("dataset", p.key.Dataset).Str("from", p.key.From).Msg("promoted: " + text)
	d.background(func(ctx context.Context) { d.tendReplica(ctx, p.key.From, p.key.Dataset, p.room) })
	return answer, nil
}

// waitForRetention takes the room's turn, for the caller to give back.
func (p promotion) waitForRetention(ctx context.Context) error {
	if err := p.room.tending.take(ctx); err != nil {
		return fmt.Errorf("wait for retention of %s: %w", p.key.Dataset, err)
	}
	return nil
}

func itself(inPlace bool) string {
	if inPlace {
		return ", the replica itself"
	}
	return ""
}

// manner is how an operator wants it promoted.
type manner struct{ force, inPlace bool }

// execute runs the promotion while no receive into the replica can begin and no
// retention runs that does not know of it.
func (d *Daemon) execute(ctx context.Context, p promotion, lister activate.Lister, w manner) (activate.Facts, error) {
	d.closeReplica(p.key, true)
	defer d.closeReplica(p.key, false)
	p.room.promoting.Add(1)
	defer p.room.promoting.Add(-1)
	if err := p.waitForRetention(ctx); err != nil {
		return activate.Facts{}, err
	}
	defer p.room.tending.give()
	d.mu.Lock()
	rival := d.rivals[p.key]
	d.mu.Unlock()
	return activate.Execute(ctx, activate.Promotion{
		Dataset: p.key.Dataset,
		State:   activate.State{Role: p.role, Node: d.node(), Mark: p.mark, Rival: rival, RivalPeer: p.key.From},
		ID:      dataset.NewActivationID(), Force: w.force, InPlace: w.inPlace,
	}, activate.Parts{
		Lister: lister, Marker: p.room.driver, Activator: p.room.driver, InPlacer: p.room.inPlacer(), Now: d.Now,
		EndReceives: func(ctx context.Context, path dataset.Path) error {
			return d.server.EndTransfers(ctx, errPromoted, func(from string, open wire.Open) bool {
				return from == p.key.From && open.Step.Dataset.Path == path
			})
		},
	})
}

// finishPromotions completes what a crash cut off between the mark and the live
// copy; one that is complete stays as it is.
func (d *Daemon) finishPromotions(ctx context.Context) {
	for key, r := range d.site().rooms {
		held, err := r.driver.Find(ctx, "/", true)
		if err != nil {
			continue // told by tendReplicas
		}
		for _, h := range held {
			p, err := d.readReplica(ctx, board.ReplicaKey{From: key.from, Dataset: h.Path}, r)
			if err != nil || p.role != activate.Primary {
				continue
			}
			if _, err := d.execute(ctx, p, r.driver, manner{}); err != nil {
				d.Log.Error().Err(err).Stringer("dataset", h.Path).Msg("a promotion that was cut off could not be finished")
				d.receiveFailed(key.from, h.Path, err)
			}
		}
	}
}

// lookUpReplica finds the replica that the request names, on the disk.
func (d *Daemon) lookUpReplica(ctx context.Context, r control.PromoteRequest) (promotion, error) {
	var found []promotion
	var held []string
	for key, rm := range d.site().rooms {
		list, err := rm.driver.Find(ctx, "/", true)
		if err != nil {
			return promotion{}, fmt.Errorf("list replicas of %s: %w", key.from, err)
		}
		for _, h := range list {
			held = append(held, key.from+":"+string(h.Path))
			if h.Path == r.Dataset && (r.From == "" || r.From == key.from) {
				p, err := d.readReplica(ctx, board.ReplicaKey{From: key.from, Dataset: h.Path}, rm)
				if err != nil {
					return promotion{}, err
				}
				found = append(found, p)
			}
		}
	}
	slices.Sort(held)
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) == 0:
		next := "this node holds no replicas at all; ask the node that it is sent to"
		if len(held) > 0 {
			next = "the replicas here are: " + strings.Join(held, ", ")
		}
		return promotion{}, &control.Error{Kind: control.KindNotFound, Object: string(r.Dataset), Text: "no replica of it is held here", Next: next}
	}
	return promotion{}, &control.Error{
		Kind: control.KindUsage, Object: string(r.Dataset), Text: "more than one peer sends a dataset of this name",
		Next: "say which with --from",
	}
}

func (d *Daemon) readReplica(ctx context.Context, key board.ReplicaKey, r *room) (promotion, error) {
	mark, err := r.driver.Mark(ctx, key.Dataset)
	if err != nil {
		return promotion{}, fmt.Errorf("read mark of %s: %w", key.Dataset, err)
	}
	points, err := r.driver.Snapshots(ctx, key.Dataset)
	if err != nil {
		return promotion{}, fmt.Errorf("list points of %s: %w", key.Dataset, err)
	}
	return promotion{key: key, room: r, mark: mark, points: points, role: activate.TargetRole(mark, d.node(), len(points) > 0)}, nil
}

// previewPromotion says what a promotion would take and leave.
func (d *Daemon) previewPromotion(ctx context.Context, p promotion, r control.PromoteRequest) (control.PromoteResponse, error) {
	answer := control.PromoteResponse{
		Dataset: p.key.Dataset, From: p.key.From, Role: p.role.String(), Generation: p.mark.Generation,
		InPlace:          r.InPlace || p.role == activate.Primary && p.mark.InPlace,
		PrimaryReachable: d.answers(ctx, p.key.From),
	}
	for _, t := range d.server.Transfers() {
		if t.Peer == p.key.From && t.Open.Step.Dataset.Path == p.key.Dataset {
			answer.Receiving = true
		}
		// It is speaking to us, whether we can call it or not. A link that went dark
		// leaves the lanes as they were for long.
		if t.Peer == p.key.From && t.Lanes > 0 && d.Now().Sub(t.Spoke) < primarySilent {
			answer.PrimaryReachable = true
		}
	}
	at := len(p.points) - 1
	if r.Snapshot != "" {
		at = slices.IndexFunc(p.points, func(s dataset.Snapshot) bool { return s.Name == r.Snapshot })
		if at < 0 {
			return answer, &control.Error{
				Kind: control.KindNotFound, Object: string(p.key.Dataset), Text: "it has no recovery point " + r.Snapshot,
				Next: "leave --snapshot out for the newest",
			}
		}
	}
	if at >= 0 {
		point := p.points[at]
		answer.Point, answer.PointTime, answer.Age = point.Name, point.Retain, max(0, d.Now().Sub(point.Retain))
		for _, newer := range p.points[at+1:] {
			answer.Newer = append(answer.Newer, newer.Name)
		}
	}
	return answer, p.mayGoThatWay(ctx, r, at)
}

// answers reports whether a peer can be reached now. One that did not answer a
// moment ago is not asked again: a promotion follows its preview, and each
// question to a link that swallows it costs all of primaryPatience.
func (d *Daemon) answers(ctx context.Context, name string) bool {
	c := d.site().calls[name]
	d.mu.Lock()
	silent := d.Now().Sub(d.silentSince[name]) < primaryForgotten
	d.mu.Unlock()
	if c == nil || silent {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, primaryPatience)
	defer cancel()
	if _, err := c.Reach(ctx); err != nil {
		d.mu.Lock()
		d.silentSince[name] = d.Now()
		d.mu.Unlock()
		return false
	}
	return true
}

// closeReplica keeps receives into a replica from beginning, or lets them.
func (d *Daemon) closeReplica(key board.ReplicaKey, closed bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if closed {
		d.closed[key] = true
	} else {
		delete(d.closed, key)
	}
}

func (d *Daemon) isClosed(key board.ReplicaKey) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.closed[key]
}

// upTo lists points up to the one that an operator named, so that it is the
// newest that a promotion sees.
type upTo struct {
	activate.Lister
	name string
}

// Snapshots returns the points up to the named one, oldest first.
func (u upTo) Snapshots(ctx context.Context, path dataset.Path) ([]dataset.Snapshot, error) {
	points, err := u.Lister.Snapshots(ctx, path)
	at := slices.IndexFunc(points, func(s dataset.Snapshot) bool { return s.Name == u.name })
	return points[:at+1], err
}
