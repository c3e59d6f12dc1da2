package benchwan

import (
	"fmt"
	mrand "math/rand/v2"
	"testing"
	"time"

	"antipode/integration/wan"
)

// accessLog is what a web server writes, without end.
type accessLog struct {
	random *mrand.Rand
	at     time.Time
	line   []byte // what was not read of the last line
}

func newAccessLog() *accessLog {
	return &accessLog{random: mrand.New(mrand.NewPCG(1, 2)), at: time.Unix(1_700_000_000, 0).UTC()}
}

// Read implements io.Reader.
func (a *accessLog) Read(p []byte) (int, error) {
	for n := 0; ; {
		done := copy(p[n:], a.line)
		a.line, n = a.line[done:], n+done
		if n == len(p) {
			return n, nil
		}
		a.next()
	}
}

func (a *accessLog) next() {
	r := a.random
	a.at = a.at.Add(time.Duration(r.IntN(1000)) * time.Millisecond)
	a.line = fmt.Appendf(a.line[:0], "10.%d.%d.%d - - [%s] \"GET /articles/%06d/%s HTTP/1.1\" %d %d \"-\" \"Mozilla/5.0\" %016x\n",
		r.IntN(4), r.IntN(256), r.IntN(256), a.at.Format("02/Jan/2006:15:04:05.000"), r.IntN(1_000_000),
		[]string{"", "edit", "comments", "images/cover.jpg"}[r.IntN(4)], []int{200, 200, 200, 304, 404}[r.IntN(5)], r.IntN(1<<17), r.Uint64())
}

// BenchmarkPack is what packing makes of a slow link: the stream's bytes over what
// the link could carry of them unpacked.
func BenchmarkPack(b *testing.B) {
	shape := wan.Shape{Rate: wan.Mbit(50), Delay: 100 * time.Millisecond, Loss: 0.001}
	s := newStageOf(b, newAccessLog(), 1<<30)
	figure("wan_pack_50mbit", s.goodput(b, link(b, shape), "")/float64(shape.Rate), "of-the-link")
}
