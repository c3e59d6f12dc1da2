package stage

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const releaseWithin = 30 * time.Second // the last users of a volume

// Volume is a Btrfs file system in a sparse file.
type Volume struct {
	Image, Dir string
}

// Volume makes and mounts one of so many bytes; what is not written takes no room.
// Its loop device is detached at once, which means: as soon as it is unmounted.
func (s *Stage) Volume(ctx context.Context, name string, bytes int64) (*Volume, error) {
	v := &Volume{Image: filepath.Join(s.Dir, name+".img"), Dir: filepath.Join(s.Dir, name)}
	if err := os.WriteFile(v.Image, nil, 0o600); err != nil {
		return nil, err
	}
	s.Later(func(context.Context) error { return errors.Join(os.Remove(v.Image), os.Remove(v.Dir)) })
	if err := errors.Join(os.Truncate(v.Image, bytes), os.Mkdir(v.Dir, 0o755)); err != nil {
		return nil, err
	}
	if _, err := Tool(ctx, "mkfs.btrfs", "--quiet", v.Image); err != nil {
		return nil, err
	}
	device, err := Tool(ctx, "losetup", "--find", "--show", v.Image)
	if err != nil {
		return nil, err
	}
	s.Later(v.Unmount)
	_, err = Tool(ctx, "mount", "-t", "btrfs", device, v.Dir)
	_, detach := Tool(context.WithoutCancel(ctx), "losetup", "--detach", device)
	return v, errors.Join(err, detach)
}

// Unmount waits a little for the last users. What does not let go is unmounted
// lazily: it vanishes with its last user.
func (v *Volume) Unmount(ctx context.Context) error {
	if !isMounted(v.Dir) {
		return nil
	}
	patient, cancel := context.WithTimeout(ctx, releaseWithin)
	defer cancel()
	err := Until(patient, func() (bool, error) {
		_, err := Tool(ctx, "umount", v.Dir)
		return err == nil, nil
	})
	if err != nil {
		_, err = Tool(ctx, "umount", "--lazy", v.Dir)
	}
	return err
}

func isMounted(dir string) bool {
	mounts, err := os.ReadFile("/proc/self/mounts")
	return err == nil && strings.Contains(string(mounts), " "+dir+" ")
}

// IsAttached reports whether a loop device still uses the image.
func (v *Volume) IsAttached(ctx context.Context) bool {
	out, err := Tool(ctx, "losetup", "--associated", v.Image)
	return err != nil || out != ""
}
