package replicate

import (
	"testing"
	"time"

	"antipode/daemon/status"
	"antipode/transport/client"
)

// 9.8 TB at 100 MB/s: what is shown while the source reads again, and that the link's
// rate begins anew when it is over.
func TestRereadingIsShownWithItsEnd(t *testing.T) {
	const mb = 1_000_000
	now := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	m := newMeter(now, 9_800_000*mb)
	line := &status.Moving{}
	for done := int64(0); done <= 3_100_000; done += 100 {
		m.again(now.Add(time.Duration(done/100)*time.Second), done*mb, 9_800_000*mb, line)
	}
	want := status.Reread{Done: 3_100_000 * mb, Of: 9_800_000 * mb, Rate: 100 * mb, ETA: 67_000 * time.Second}
	if line.Reread == nil || *line.Reread != want {
		t.Errorf("shown %+v, want %+v", line.Reread, want)
	}
	m.again(now, 5*mb, 2_000_000*mb, line) // it went back to an earlier place
	if got := *line.Reread; got.Of != 2_000_000*mb || got.Rate != 0 || got.ETA != 0 {
		t.Errorf("after it went back: shown %+v, want no rate yet", got)
	}
	m.begin(now, 2_000_000*mb, line)
	if line.Reread != nil || line.Bytes != 2_000_000*mb {
		t.Errorf("when the step goes on: %+v, want nothing to be read again, and what the target has", line)
	}
	m.show(now.Add(time.Second), client.Progress{Acked: 10 * mb}, line)
	m.show(now.Add(2*time.Second), client.Progress{Acked: 20 * mb}, line)
	if line.Rate < 9*mb || line.Rate > 11*mb || line.Bytes != 2_000_020*mb || m.bytes() != 20*mb {
		t.Errorf("shown %+v, %d bytes moved, want 10 MB/s and 20 MB", line, m.bytes())
	}
}
