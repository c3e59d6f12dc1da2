package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	gozfs "github.com/mistifyio/go-zfs/v3"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
)

// version is one of OpenZFS.
type version struct{ major, minor, patch int }

func (v version) String() string { return fmt.Sprintf("%d.%d.%d", v.major, v.minor, v.patch) }

func (v version) less(w version) bool {
	return slices.Compare([]int{v.major, v.minor, v.patch}, []int{w.major, w.minor, w.patch}) < 0
}

// oldest is the first in which lists are fast and snapshots_changed is there.
func oldest() version { return version{2, 2, 0} }

// safeCrypt tells whether a version sends and receives encrypted datasets without
// damage (openzfs issue 12014, fixed in 2.2.8, 2.3.3 and 2.4.0).
func (v version) safeCrypt() bool {
	for _, first := range []version{{2, 2, 8}, {2, 3, 3}} {
		if v.major == first.major && v.minor == first.minor {
			return !v.less(first)
		}
	}
	return !v.less(version{2, 4, 0})
}

// parseVersions reads `zfs version`: "zfs-2.4.4-1" and "zfs-kmod-2.4.4-1".
func parseVersions(out string) (tools, module version, err error) {
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		if v, is := strings.CutPrefix(line, "zfs-kmod-"); is {
			module, err = parseVersion(v)
		} else if v, is := strings.CutPrefix(line, "zfs-"); is {
			tools, err = parseVersion(v)
		}
		if err != nil {
			return version{}, version{}, err
		}
	}
	if tools == (version{}) {
		return tools, module, fmt.Errorf("cannot tell the version of zfs from %.80q", out)
	}
	return tools, module, nil
}

func parseVersion(s string) (version, error) {
	s, _, _ = strings.Cut(s, "-")
	parts := strings.Split(s, ".")
	var n [3]int
	for i := range min(len(parts), len(n)) {
		var err error
		if n[i], err = strconv.Atoi(parts[i]); err != nil || n[i] < 0 {
			return version{}, fmt.Errorf("cannot tell the version of zfs from %.80q", s)
		}
	}
	if len(parts) < 2 {
		return version{}, fmt.Errorf("cannot tell the version of zfs from %.80q", s)
	}
	return version{n[0], n[1], n[2]}, nil
}

// versions asks zfs for its own version and its module's.
func (t *Tool) versions(ctx context.Context) (tools, module version, err error) {
	out, err := t.Run(ctx, "", "version")
	if tools, module, perr := parseVersions(out); perr == nil {
		return tools, module, err
	}
	if err == nil {
		_, _, err = parseVersions(out)
	}
	return version{}, version{}, err
}

// MustCrypt refuses encrypted datasets on versions that damage them.
func (t *Tool) MustCrypt(ctx context.Context) error {
	tools, module, err := t.versions(ctx)
	if err != nil {
		return err
	}
	if module == (version{}) {
		module = tools
	}
	if !module.safeCrypt() {
		return fmt.Errorf("OpenZFS %v damages encrypted datasets when it sends or receives them (openzfs issue 12014); "+
			"upgrade to 2.2.8, 2.3.3, 2.4.0 or later: %w", module, dataset.ErrRefused)
	}
	return nil
}

// Probe finds what is wrong with zfs and its module.
func (t *Tool) Probe(ctx context.Context) []fsdrivers.Finding {
	tools, module, err := t.versions(ctx)
	switch {
	case err != nil:
		cure := "install zfsutils-linux and the zfs module for this kernel, then `modprobe zfs`"
		if errors.Is(err, dataset.ErrStuck) {
			cure = "look at `zpool status` and `dmesg`"
		}
		return []fsdrivers.Finding{{Fatal: true, Object: t.binary, What: err.Error(), Cure: cure}}
	case module == (version{}):
		return []fsdrivers.Finding{{Fatal: true, Object: "kernel", What: "the zfs module is not loaded", Cure: "`modprobe zfs`"}}
	}
	var found []fsdrivers.Finding
	for name, v := range map[string]version{t.binary: tools, "zfs module": module} {
		if v.less(oldest()) {
			found = append(found, fsdrivers.Finding{
				Fatal: true, Object: name, What: fmt.Sprintf("it is version %v, older than %v", v, oldest()),
				Cure: fmt.Sprintf("install OpenZFS %v or later", oldest()),
			})
		}
	}
	if tools.major != module.major || tools.minor != module.minor {
		found = append(found, fsdrivers.Finding{
			Object: "zfs module", What: fmt.Sprintf("it is version %v, and %s is %v", module, t.binary, tools),
			Cure: "reboot, or unload the old module: tools and module should be of one series",
		})
	}
	if !module.safeCrypt() {
		found = append(found, fsdrivers.Finding{
			Object: "zfs module", What: fmt.Sprintf("version %v damages encrypted datasets when it sends or receives them; they are refused", module),
			Cure: "upgrade to 2.2.8, 2.3.3, 2.4.0 or later",
		})
	}
	return found
}

// ProbePools finds what is wrong with pools.
func (t *Tool) ProbePools(ctx context.Context, pools []string) []fsdrivers.Finding {
	var found []fsdrivers.Finding
	for _, name := range pools {
		pool, err := t.pool(ctx, name)
		look := fsdrivers.Finding{Object: name, Cure: "look at `zpool status " + name + "`"}
		switch {
		case err != nil:
			look.Fatal, look.What = true, err.Error()
		case pool.Health == suspended || pool.Health == gozfs.ZpoolFaulted || pool.Health == gozfs.ZpoolUnavail:
			look.Fatal, look.What = true, "the pool is "+pool.Health
		case pool.ReadOnly:
			look.Fatal, look.What = true, "the pool was imported read-only"
		case pool.Health != gozfs.ZpoolOnline:
			look.What = "the pool is " + pool.Health
		default:
			continue
		}
		found = append(found, look)
	}
	return found
}

// pool tells the facts of a pool, within the time of a short command, unless a child hangs
// there.
func (t *Tool) pool(ctx context.Context, name string) (*gozfs.Zpool, error) {
	if err := t.mayStart(name); err != nil {
		return nil, err
	}
	ctx, stop := context.WithTimeoutCause(ctx, t.giveUp, ErrSlow)
	defer stop()
	return t.look(ctx, name)
}

// look is one question to go-zfs about a pool.
type look struct {
	done chan struct{} // closed when what follows is final
	pool *gozfs.Zpool
	err  error
}

// look asks go-zfs for the facts of a pool. It knows no context and may hang, so it is waited
// for as long as ctx lasts, and not asked again until it has answered.
func (t *Tool) look(ctx context.Context, name string) (*gozfs.Zpool, error) {
	t.mu.Lock()
	l := t.looks[name]
	if l == nil {
		l = &look{done: make(chan struct{})}
		t.looks[name] = l
		go func() {
			l.pool, l.err = gozfs.GetZpool(name)
			t.mu.Lock()
			delete(t.looks, name)
			t.mu.Unlock()
			close(l.done)
		}()
	}
	t.mu.Unlock()
	var err error
	select {
	case <-l.done:
		err = l.err
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("look at pool %s: %w", name, err)
	}
	return l.pool, nil
}
