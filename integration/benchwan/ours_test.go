package benchwan

import (
	"fmt"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"antipode/daemon/status"
	"antipode/integration/node"
	"antipode/integration/wan"
)

// pair is two daemons with the source's dataset and an empty target.
type pair struct {
	near, far *node.Node
}

// newPair sets two daemons up at the ends of the link; section is [transport].
func (s *stage) newPair(b *testing.B, l *wan.WAN, section string) *pair {
	b.Helper()
	binary, err := node.FindBinary(b.TempDir())
	node.Must(b, err)
	p := &pair{
		near: node.New(b, binary, "near", l.A.Address.String()+":8771"),
		far:  node.New(b, binary, "far", l.B.Address.String()+":8771"),
	}
	p.near.Prefix, p.far.Prefix = l.A.Prefix(), l.B.Prefix()
	target := s.target(b)
	p.far.IsChild = isReceive(target)
	p.near.Knows("far", key(p.far), p.far.Address)
	p.far.Knows("near", key(p.near), "")
	p.near.Configure(fmt.Sprintf("[[job]]\nid = \"wan\"\ndriver = \"btrfs\"\ndatasets = [%q]\nreplicate_to = [\"far\"]\n%s", s.dataset, section))
	p.far.Configure(fmt.Sprintf("[[accept]]\nfrom = \"near\"\ndriver = \"btrfs\"\ninto = %q\n", filepath.Join(target, "into")))
	p.far.Start()
	p.near.Start()
	return p
}

// key is what pins the node.
func key(n *node.Node) string {
	var v struct{ Key string }
	n.Ask(&v, "identity")
	return v.Key
}

// received is how many bytes of the stream the target has taken in; false while
// there is no transfer.
func (p *pair) received() (int64, bool) {
	var s status.Status
	p.far.Ask(&s, "status")
	if len(s.Replicas) == 0 || s.Replicas[0].Receiving == nil {
		return 0, false
	}
	return s.Replicas[0].Receiving.Bytes, true
}

// goodput runs a first copy for as long as it takes to measure.
func (s *stage) goodput(b *testing.B, l *wan.WAN, section string) float64 {
	b.Helper()
	p := s.newPair(b, l, section)
	p.near.Ask(nil, "trigger", "wan")
	p.near.Eventually("the transfer begins", func() bool { _, ok := p.received(); return ok })
	before := cpu(b, p)
	idle, total := processors(b)
	rate := measure(b, func() int64 {
		n, ok := p.received()
		if !ok {
			b.Fatal("the transfer ended before it was measured")
		}
		return n
	})
	nowIdle, nowTotal := processors(b)
	s.idle = (nowIdle - idle) / (nowTotal - total)
	var v status.Status
	p.near.Ask(&v, "status")
	pair := v.Jobs[0].Datasets[0].Peers[0]
	if pair.Moving != nil {
		b.Logf("%d lanes, %s", pair.Moving.Lanes, v.Peers[0].CongestionControl)
	}
	s.cores = (cpu(b, p) - before).Seconds() / (settle + window).Seconds()
	b.Logf("CPU of both daemons and their children: %.2f of %d cores, of which %.2f had nothing to do", s.cores, runtime.NumCPU(), s.idle*float64(runtime.NumCPU()))
	b.Logf("peak memory: source %d MiB, target %d MiB", peak(b, p.near)>>20, peak(b, p.far)>>20)
	p.near.Kill()
	p.far.Kill()
	p.far.EndChildren()
	return rate
}

// far200 is 200 Mbit/s at 200 ms.
func far200(loss float64) wan.Shape {
	return wan.Shape{Rate: wan.Mbit(200), Delay: 100 * time.Millisecond, Loss: loss}
}

// BenchmarkLoss is the share of the link that we fill.
func BenchmarkLoss(b *testing.B) {
	for _, f := range []struct {
		name, section string
		loss          float64
	}{
		{"wan_200ms_loss0", "", 0},
		{"wan_200ms_loss01", "", 0.001},
		{"wan_200ms_loss1", "", 0.01},
		{"wan_cubic_loss01", "[transport]\ncongestion = \"cubic\"\n", 0.001},
	} {
		b.Run(f.name, func(b *testing.B) {
			s := newStage(b, 1<<30)
			l := link(b, far200(f.loss))
			figure(f.name, s.goodput(b, l, f.section)/float64(far200(0).Rate), "of-the-link")
		})
	}
}

// BenchmarkGbit is a link that a machine of few cores may not fill: beside it stands
// what of the machine the daemons had, and how much nobody had. The rest went to the
// emulated link, to Btrfs, and to whatever else ran.
func BenchmarkGbit(b *testing.B) {
	shape := wan.Shape{Rate: wan.Mbit(1000), Delay: 75 * time.Millisecond}
	s := newStage(b, 4<<30)
	figure("wan_1gbit", s.goodput(b, link(b, shape), "")/float64(shape.Rate), "of-the-link")
	figure("wan_1gbit_cpu", s.cores/float64(runtime.NumCPU()), "of-the-machine")
	figure("wan_1gbit_idle", s.idle, "of-the-machine")
}
