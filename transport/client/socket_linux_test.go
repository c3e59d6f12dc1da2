package client

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestQuietIsOfWhatIsOnItsWay(t *testing.T) {
	if got := pathOf(&unix.TCPInfo{Unacked: 3, Last_ack_recv: 70}, "bbr").Quiet; got != 70*time.Millisecond {
		t.Errorf("with packets on their way: %s, want 70ms", got)
	}
	if got := pathOf(&unix.TCPInfo{Last_ack_recv: 70}, "bbr").Quiet; got != 0 {
		t.Errorf("with nothing on its way: %s, want 0", got)
	}
}
