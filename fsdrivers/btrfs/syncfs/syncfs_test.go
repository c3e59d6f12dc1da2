package syncfs

import (
	"os"
	"sync"
	"testing"
	"testing/synctest"

	"antipode/fsdrivers/btrfs/btrfstest"
	"antipode/integration/loopfs"
)

// Those who ask while one syncfs runs share the next one.
func TestWhoAsksWhileOneRunsSharesTheNext(t *testing.T) {
	dir, err := os.Open(loopfs.New(t, 256<<20))
	btrfstest.Must(t, err)
	defer dir.Close()
	var all Syncs
	synctest.Test(t, func(t *testing.T) {
		g, err := all.Join(dir)
		btrfstest.Must(t, err)
		defer g.Leave()
		g.turn.Lock() // one runs
		rounds := make(map[*round]int)
		var mu sync.Mutex
		var asking sync.WaitGroup
		for range 50 {
			asking.Go(func() {
				r, leads := g.enter()
				mu.Lock()
				rounds[r]++
				mu.Unlock()
				if leads {
					go g.run(r)
				}
				<-r.done
			})
		}
		for { // until all have asked
			mu.Lock()
			n := 0
			for _, asked := range rounds {
				n += asked
			}
			mu.Unlock()
			if n == 50 {
				break
			}
		}
		g.turn.Unlock()
		asking.Wait()
		if len(rounds) != 1 {
			t.Errorf("50 asked while one ran, and %d more were made, want 1", len(rounds))
		}
	})
}

// Linux reports a failure once to each descriptor: who was not in that round has
// lost data too. Whoever joins afterwards has not.
func TestAFailedSyncFailsAllWhoHadWritten(t *testing.T) {
	dir, err := os.Open(loopfs.New(t, 256<<20))
	btrfstest.Must(t, err)
	defer dir.Close()
	var all Syncs
	one, err := all.Join(dir)
	btrfstest.Must(t, err)
	two, err := all.Join(dir)
	btrfstest.Must(t, err)
	if one != two {
		t.Fatal("two members at once are not in one group")
	}
	btrfstest.Must(t, one.Sync())
	btrfstest.Must(t, one.file.Close()) // every syncfs fails from here on
	if one.Sync() == nil {
		t.Fatal("a syncfs on a closed descriptor succeeded: nothing is tested")
	}
	if two.Sync() == nil {
		t.Error("a member that had written before the failure was told that its data are durable")
	}
	three, err := all.Join(dir)
	btrfstest.Must(t, err)
	if err := three.Sync(); err != nil {
		t.Errorf("who joined after the failure: %v", err)
	}
	for _, g := range []*Group{one, two, three} {
		g.Leave()
	}
	if all.group != nil {
		t.Error("a group without members is kept: its descriptor keeps the file system busy")
	}
}
