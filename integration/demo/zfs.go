package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"antipode/integration/stage"
)

// poolBytes is the size of a pool's file; what is not written takes no room.
const poolBytes = 1 << 30

// zfs stands on two pools, each on a sparse file.
type zfs struct {
	stage    *stage.Stage
	fra, sin string // names of the pools
	version  string
}

// missingZFS says in a few words what ZFS would need here; "" for nothing.
func missingZFS() string {
	for _, name := range []string{"zfs", "zpool"} {
		if _, err := exec.LookPath(name); err != nil {
			return name + " is not installed; `make demo FS=zfs` brings a machine that has it"
		}
	}
	if _, err := os.Stat("/dev/zfs"); err != nil {
		return "the zfs module is not loaded"
	}
	if os.Geteuid() != 0 {
		return "only root makes pools"
	}
	return ""
}

func (z *zfs) raise(ctx context.Context) error {
	out, err := stage.Tool(ctx, "zfs", "version")
	if err != nil {
		return err
	}
	z.version, _, _ = strings.Cut(strings.TrimPrefix(out, "zfs-"), "-")
	for _, p := range []struct {
		name *string
		host string
	}{{&z.fra, "fra1"}, {&z.sin, "sin1"}} {
		*p.name = poolName(p.host)
		if err := z.pool(ctx, *p.name, p.host); err != nil {
			return err
		}
	}
	// Where it is there, the driver leaves it its mount point, which is in our directory.
	_, err = stage.Tool(ctx, "zfs", "create", "-o", "canmount=off", z.live())
	return err
}

// poolName is that of a machine's pool, which no other demo has.
func poolName(host string) string { return fmt.Sprintf("antipode-%s-%d", host, os.Getpid()) }

// pool makes one, mounted in the stage's directory.
func (z *zfs) pool(ctx context.Context, name, host string) error {
	image := filepath.Join(z.stage.Dir, host+".img")
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, poolBytes)); err != nil {
		return err
	}
	_, err := stage.Tool(ctx, "zpool", "create", "-o", "cachefile=none", "-O", "compression=on", "-m", filepath.Join(z.stage.Dir, host), name, image)
	if err == nil {
		z.stage.Later(func(ctx context.Context) error { return z.destroy(ctx, name) })
	}
	return err
}

// destroy destroys a pool that is there; it waits a little for its last users.
func (z *zfs) destroy(ctx context.Context, name string) error {
	return stage.Until(ctx, func() (bool, error) {
		if _, err := stage.Tool(ctx, "zpool", "list", name); err != nil {
			return true, nil
		}
		_, err := stage.Tool(ctx, "zpool", "destroy", "-f", name)
		return err == nil, nil
	})
}

func (z *zfs) makeDataset(ctx context.Context) error {
	_, err := stage.Tool(ctx, "zfs", "create", z.dataset())
	return err
}

func (z *zfs) driver() string  { return "zfs" }
func (z *zfs) dataset() string { return z.fra + "/srv" }
func (z *zfs) root() string    { return filepath.Join(z.stage.Dir, "fra1/srv") }
func (z *zfs) into() string    { return z.sin + "/replicas" }
func (z *zfs) live() string    { return z.sin + "/live" }
func (z *zfs) liveDir(live string) string {
	return filepath.Join(z.stage.Dir, "sin1", strings.TrimPrefix(live, z.sin))
}

func (z *zfs) describe(host string) string {
	return fmt.Sprintf("ZFS %s, pool %s", z.version, poolName(host))
}

func (z *zfs) made(ctx context.Context) ([]string, error) { return z.snapshots(ctx, z.dataset()) }

func (z *zfs) received(ctx context.Context) ([]string, error) {
	return z.snapshots(ctx, z.into()+"/"+z.dataset())
}

func (z *zfs) snapshots(ctx context.Context, dataset string) ([]string, error) {
	out, err := stage.Tool(ctx, "zfs", "list", "-H", "-d", "1", "-t", "snapshot", "-o", "name", "-s", "createtxg", dataset)
	var names []string
	for line := range strings.Lines(out) {
		if _, name, _ := strings.Cut(strings.TrimSpace(line), "@"); strings.HasPrefix(name, "antipode_"+job+"_") {
			names = append(names, name)
		}
	}
	return names, err
}

// look mounts the snapshot.
func (z *zfs) look(_ context.Context, snapshot string) (string, func() error, error) {
	dir := filepath.Join(z.stage.Dir, "look")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", nil, err
	}
	if err := unix.Mount(z.dataset()+"@"+snapshot, dir, "zfs", unix.MS_RDONLY, ""); err != nil {
		return "", nil, fmt.Errorf("mount %s of %s: %w", snapshot, z.dataset(), err)
	}
	return dir, func() error { return unix.Unmount(dir, 0) }, nil
}

// lose exports the pool, once the send that its daemon left has ended.
func (z *zfs) lose(ctx context.Context) (string, error) {
	err := stage.Until(ctx, func() (bool, error) {
		_, err := stage.Tool(ctx, "zpool", "export", "-f", z.fra)
		return err == nil, nil
	})
	return "Its pool is exported.", err
}

func (z *zfs) sizes() sizes {
	return sizes{
		letters: 200, tableBytes: 5 << 20, videoBytes: 8 << 20, diskBytes: 256 << 20,
		lastWords: 16 << 20, killAfter: 2 << 20, rate: "40Mbit/s", every: "10s", protect: "30s",
	}
}
