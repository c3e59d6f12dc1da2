package stripe

import (
	"context"
	"math"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"antipode/transport/wire"
)

// A lossy path in arithmetic, on virtual time: each lane is a connection of CUBIC
// (RFC 9438) that loses packets by chance, all share the path's rate. What is sent
// behind a lost packet arrives with its repetition. It is a model of what decides
// how long a chunk is on its way, no more.
const (
	simTick    = 5 * time.Millisecond
	packetSize = 1448
	unsent     = 64 << 10 // what the kernel takes of the next chunk
)

type tcp struct {
	chance  *rand.Rand
	w, top  float64 // window and the one before the last loss, in packets
	epoch   time.Time
	slow    bool // slow start
	lossy   time.Time
	arrives time.Time // nothing arrives before: a loss is being mended
}

// send moves n bytes, and tells when they arrive.
func (c *tcp) send(n float64, now time.Time, rtt time.Duration, loss float64) time.Time {
	packets := n / packetSize
	if c.chance.Float64() < 1-math.Pow(1-loss, packets) {
		c.arrives = later(c.arrives, now.Add(rtt*3/2))
		if now.Sub(c.lossy) > rtt {
			c.lossy, c.top, c.slow, c.epoch = now, c.w, false, now
			c.w = max(2, c.w*0.7)
		}
	}
	return later(now.Add(rtt/2), c.arrives)
}

func (c *tcp) grow(now time.Time, rtt time.Duration) {
	switch {
	case c.slow:
		c.w *= math.Pow(2, simTick.Seconds()/rtt.Seconds())
	default:
		k := math.Cbrt(c.top * 0.3 / 0.4)
		c.w = max(c.w, 0.4*math.Pow(now.Sub(c.epoch).Seconds()-k, 3)+c.top)
	}
	c.w = min(c.w, 4000)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// simLane is a lane and its connection.
type simLane struct {
	tcp
	lane *Lane
	out  []simFrame // given to the kernel and not all sent
	left float64    // bytes of out
	way  []simFrame // sent
}

type simFrame struct {
	onWay
	left    float64
	arrives time.Time
}

type simLine struct {
	wire.Progress
	arrives time.Time
}

// road runs a sender and a receiver.
type road struct {
	now      time.Time
	rtt      time.Duration
	capacity float64
	loss     float64
	tx       *Sender
	rx       *Receiver
	lanes    []*simLane
	lines    []simLine
	got      int64 // bytes delivered
	ticks    int
	order    *rand.Rand
}

func newRoad(t *testing.T, lanes, chunk int, window func() int) *road {
	r := &road{now: time.Unix(1000, 0), rtt: 200 * time.Millisecond, capacity: 25e6, loss: 0.001, order: rand.New(rand.NewPCG(2, 2))}
	pool := NewPool(64 << 20)
	r.tx = NewSender(SenderOptions{Pool: pool, ChunkBytes: chunk, Window: window, Now: func() time.Time { return r.now }})
	r.rx = NewReceiver(ReceiverOptions{Pool: pool, ChunkBytes: chunk, Window: window})
	for i := range lanes {
		r.lanes = append(r.lanes, &simLane{tcp: tcp{chance: rand.New(rand.NewPCG(1, uint64(i))), w: 10, slow: true}, lane: r.tx.Lane()})
	}
	ctx, cancel := context.WithCancel(context.Background())
	cut := make(chan error, 1)
	go func() { cut <- r.tx.Run(ctx, zeros{}) }()
	t.Cleanup(func() { cancel(); <-cut })
	return r
}

func (r *road) run(d time.Duration) {
	for range d / simTick {
		r.awaitCut()
		r.step()
	}
}

// awaitCut waits until Run has cut all that there is room for: the source is no limit.
func (r *road) awaitCut() {
	for {
		r.tx.mu.Lock()
		isFull := r.tx.isFull
		r.tx.mu.Unlock()
		if isFull {
			return
		}
		runtime.Gosched()
	}
}

// poll asks a lane for what it could write at once.
func poll(l *Lane) (Frame, bool) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	f, err := l.Next(ctx)
	return f, err == nil
}

func (r *road) step() {
	r.now = r.now.Add(simTick)
	total := 0.0
	for _, l := range r.lanes {
		total += l.w * packetSize / r.rtt.Seconds()
	}
	share := min(1, r.capacity/total)
	for _, i := range r.order.Perm(len(r.lanes)) {
		l := r.lanes[i]
		r.fill(l)
		r.move(l, share*l.w*packetSize/r.rtt.Seconds()*simTick.Seconds())
	}
	for _, l := range r.lanes {
		for len(l.way) > 0 && !l.way[0].arrives.After(r.now) {
			r.deliver(l.way[0].onWay)
			l.way = l.way[1:]
		}
	}
	if r.ticks++; r.ticks%40 == 0 {
		r.tx.Hurry()
	}
	p, _ := r.rx.Progress()
	r.lines = append(r.lines, simLine{p, r.now.Add(r.rtt / 2)})
	for len(r.lines) > 0 && !r.lines[0].arrives.After(r.now) {
		if err := r.tx.Acknowledge(r.lines[0].Progress); err != nil {
			panic(err)
		}
		r.lines = r.lines[1:]
	}
}

func (r *road) fill(l *simLane) {
	for l.left < unsent {
		f, ok := poll(l.lane)
		if !ok {
			return
		}
		n := float64(len(f.Payload) + wire.HeaderBytes)
		l.out = append(l.out, simFrame{onWay: onWay{f.Header, append([]byte(nil), f.Payload...)}, left: n})
		l.left += n
	}
}

func (r *road) move(l *simLane, n float64) {
	n = min(n, l.left)
	if n <= 0 {
		return
	}
	l.left -= n
	arrives := l.send(n, r.now, r.rtt, r.loss)
	l.grow(r.now, r.rtt)
	for n > 0 && len(l.out) > 0 {
		k := min(n, l.out[0].left)
		l.out[0].left -= k
		n -= k
		if l.out[0].left < 1 {
			l.out[0].arrives = arrives
			l.way = append(l.way, l.out[0])
			l.out = l.out[1:]
		}
	}
}

func (r *road) deliver(f onWay) {
	isNew, err := r.rx.Admit(f.h)
	if err != nil {
		panic(err)
	}
	if !isNew {
		_ = r.rx.Repeat(f.h)
	} else if err := r.rx.Put(f.h, f.payload); err != nil {
		panic(err)
	}
	for {
		r.rx.mu.Lock()
		_, there := r.rx.slots[r.rx.head]
		r.rx.mu.Unlock()
		if !there {
			return
		}
		n, _ := r.rx.Read(make([]byte, wire.MaxChunk))
		r.got += int64(n)
	}
}

// Sixty-four lanes that lose a packet in a thousand: some are always slow, and a
// chunk on one of them must not hold back what the others bring.
func TestSlowLanesDoNotHoldBackTheOthers(t *testing.T) {
	r := newRoad(t, 64, wire.MinChunk, window(64<<20/wire.MinChunk))
	r.run(5 * time.Second)
	before := r.got
	r.run(20 * time.Second)
	if share := float64(r.got-before) / 20 / r.capacity; share < 0.9 {
		t.Errorf("goodput is %.2f of the path, want at least 0.9", share)
	}
	if share := float64(r.tx.again) / float64(r.got); share == 0 || share > 0.02 {
		t.Errorf("%.4f of it were sent again, want some and at most 0.02", share)
	}
}
