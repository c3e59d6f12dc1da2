package main

import (
	"context"
	"os"
	"path/filepath"

	"antipode/daemon/status"
	"antipode/integration/stage"
)

// ground is what the story stands on: a file system for each machine. fra1 has the
// dataset, sin1 the replica.
type ground interface {
	// raise makes both file systems.
	raise(ctx context.Context) error
	// makeDataset makes the one that is replicated.
	makeDataset(ctx context.Context) error
	describe(host string) string // "Btrfs, 3 GiB"
	driver() string              // as configurations name it
	dataset() string             // as the job names it
	root() string                // where users work on it
	into() string                // of sin1's accept
	live() string                // below which activated datasets are
	// made and received list the snapshots on either side, oldest first.
	made(ctx context.Context) ([]string, error)
	received(ctx context.Context) ([]string, error)
	// look shows what is in a snapshot of fra1 until done is called.
	look(ctx context.Context, snapshot string) (dir string, done func() error, err error)
	// liveDir is the directory of what a promotion made live.
	liveDir(live string) string
	// lose takes fra1's file system away and says how.
	lose(ctx context.Context) (string, error)
	sizes() sizes
}

// sizes are how much of everything there is: an emulated machine is slow.
type sizes struct {
	letters    int   // small files of 1 to 15 KiB
	tableBytes int64 // of each of the big ones
	videoBytes int64 // cloned once where the file system clones
	diskBytes  int64 // sparse
	lastWords  int64 // a file whose way takes longer than killing a daemon
	killAfter  int64 // of its increment have arrived
	clones     bool  // sends take clones for what they are
	rate       string
	every      string
	protect    string
}

const volumeBytes = 3 << 30 // sparse; what is not written takes no room

// btrfs stands on two sparse files with loop devices.
type btrfs struct {
	stage    *stage.Stage
	fra, sin *stage.Volume
}

func (b *btrfs) raise(ctx context.Context) (err error) {
	if b.fra, err = b.stage.Volume(ctx, "fra1", volumeBytes); err != nil {
		return err
	}
	if b.sin, err = b.stage.Volume(ctx, "sin1", volumeBytes); err != nil {
		return err
	}
	return os.Mkdir(b.live(), 0o755)
}

func (b *btrfs) makeDataset(ctx context.Context) error {
	_, err := stage.Tool(ctx, "btrfs", "subvolume", "create", b.root())
	return err
}

func (b *btrfs) describe(string) string     { return "Btrfs, " + status.Bytes(volumeBytes) }
func (b *btrfs) driver() string             { return "btrfs" }
func (b *btrfs) root() string               { return filepath.Join(b.fra.Dir, "srv") }
func (b *btrfs) dataset() string            { return b.root() }
func (b *btrfs) into() string               { return filepath.Join(b.sin.Dir, "replicas") }
func (b *btrfs) live() string               { return filepath.Join(b.sin.Dir, "live") }
func (b *btrfs) liveDir(live string) string { return live }

func (b *btrfs) made(context.Context) ([]string, error) {
	return points(filepath.Join(b.root(), ".antipode"))
}

func (b *btrfs) received(context.Context) ([]string, error) {
	return points(filepath.Join(b.into(), b.dataset()))
}

func (b *btrfs) look(_ context.Context, snapshot string) (string, func() error, error) {
	return filepath.Join(b.root(), ".antipode", snapshot), func() error { return nil }, nil
}

// lose unmounts the file system. Its loop device then goes, unless others hold it: a
// receive of sin1 has a mount namespace of its own, which names it too, and so may
// any service of this machine that was started in the meantime.
func (b *btrfs) lose(ctx context.Context) (string, error) {
	if err := b.fra.Unmount(ctx); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, detachTimeout)
	defer cancel()
	if stage.Until(ctx, func() (bool, error) { return !b.fra.IsAttached(ctx), nil }) == nil {
		return "Its file system is unmounted, and the loop device is detached.", nil
	}
	return "Its file system is unmounted; other programs' mount namespaces still hold the loop device.", nil
}

func (b *btrfs) sizes() sizes {
	return sizes{
		letters: 2000, tableBytes: 40 << 20, videoBytes: 64 << 20, diskBytes: 1 << 30,
		lastWords: 120 << 20, killAfter: 8 << 20, clones: true, rate: "400Mbit/s", every: "3s", protect: "8s",
	}
}
