package stream_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"antipode/fsdrivers/btrfs/stream"
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/internal/command"
)

// run runs a tool to its end and returns what it says.
func run(t *testing.T, stdin *os.File, args ...string) string {
	t.Helper()
	out, err := command.Run(context.Background(), command.Spec{Args: args, Stdin: stdin})
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// mountBtrfs makes a file system that goes away with the test.
func mountBtrfs(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		missing(t, "it needs root to mount Btrfs")
	}
	dir := t.TempDir()
	image, mnt := filepath.Join(dir, "image"), filepath.Join(dir, "mnt")
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, 256<<20), os.Mkdir(mnt, 0o700)); err != nil {
		t.Fatal(err)
	}
	if _, err := command.Run(t.Context(), command.Spec{Args: []string{"mkfs.btrfs", "-q", image}}); err != nil {
		missing(t, err.Error())
	}
	loop := strings.TrimSpace(run(t, nil, "losetup", "--find", "--show", image))
	t.Cleanup(func() { run(t, nil, "losetup", "--detach", loop) })
	if err := unix.Mount(loop, mnt, "btrfs", 0, ""); err != nil {
		missing(t, "mount: "+err.Error())
	}
	t.Cleanup(func() {
		if err := unix.Unmount(mnt, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return mnt
}

func missing(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// fill makes a tree with one of everything that a stream can carry.
func fill(t *testing.T, dir string) {
	t.Helper()
	random := make([]byte, 700_000)
	rand.Read(random)
	f := func(name string) string { return filepath.Join(dir, name) }
	must(t, os.Mkdir(f("dé"), 0o750), os.WriteFile(f("dé/random"), random, 0o640),
		os.WriteFile(f("zeros"), bytes.Repeat([]byte("abcd"), 100_000), 0o4755),
		os.Link(f("dé/random"), f("hard")), os.Symlink("../../etc/passwd", f("soft")),
		unix.Mkfifo(f("fifo"), 0o600), unix.Mknod(f("sock"), unix.S_IFSOCK|0o600, 0),
		unix.Setxattr(f("dé"), "user.one", []byte("1"), 0), unix.Setxattr(dir, "user.root", nil, 0),
		os.WriteFile(f("sparse"), []byte("end"), 0o600), os.Truncate(f("sparse"), 10<<20))
	run(t, nil, "cp", "--reflink=always", f("dé/random"), f("reflink"))
}

func change(t *testing.T, dir string) {
	t.Helper()
	f := func(name string) string { return filepath.Join(dir, name) }
	must(t, os.Rename(f("dé"), f("moved")), os.Remove(f("zeros")), os.Remove(f("soft")),
		os.WriteFile(f("-new"), []byte("new"), 0o600), os.Truncate(f("sparse"), 5<<20),
		unix.Removexattr(f("moved"), "user.one"))
	run(t, nil, "cp", "--reflink=always", f("moved/random"), f("reflink of the base"))
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func dump(t *testing.T, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "stream")
	must(t, os.WriteFile(path, b, 0o600))
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	return run(t, f, "btrfs", "receive", "--dump")
}

// TestRealStreamsPass sends real snapshots, and compares what btrfs itself reads
// in the original and in the rewritten stream.
func TestRealStreamsPass(t *testing.T) {
	mnt := mountBtrfs(t)
	live, s1, s2 := filepath.Join(mnt, "live"), filepath.Join(mnt, "s1"), filepath.Join(mnt, "s2")
	run(t, nil, "btrfs", "subvolume", "create", live)
	fill(t, live)
	run(t, nil, "btrfs", "subvolume", "snapshot", "-r", live, s1)
	change(t, live)
	run(t, nil, "btrfs", "subvolume", "snapshot", "-r", live, s2)
	for name, args := range map[string][]string{
		"full":                   {s1},
		"full, version 2":        {"--proto", "2", s1},
		"full, compressed":       {"--proto", "2", "--compressed-data", s1},
		"incremental":            {"-p", s1, s2},
		"incremental, version 2": {"--proto", "2", "-p", s1, s2},
	} {
		t.Run(name, func(t *testing.T) {
			in := run(t, nil, append([]string{"btrfs", "send", "-q"}, args...)...)
			if !strings.Contains(dump(t, []byte(in)), "\nclone ") {
				t.Error("the stream clones nothing: it does not test what is rewritten")
			}
			comparePassed(t, []byte(in))
		})
	}
	whole := run(t, nil, "btrfs", "send", "-q", s1)
	size, err := stream.Size(strings.NewReader(run(t, nil, "btrfs", "send", "-q", "--no-data", s1)))
	if off := size - int64(len(whole)); err != nil || off > int64(len(whole)/50) || off < -int64(len(whole)/50) {
		t.Errorf("Size = %d, %v, the stream has %d bytes", size, err, len(whole))
	}
}

func comparePassed(t *testing.T, in []byte) {
	t.Helper()
	r := stream.NewReader(bytes.NewReader(in))
	first, err := stream.Head(r)
	must(t, err)
	plan := stream.Plan{UUID: first.UUID, ParentUUID: first.CloneUUID}
	segment := stream.Segment{Name: "segment", UUID: stream.NewUUID()}
	if !first.IsFull() {
		plan.MintedParent = stream.NewUUID()
	}
	var out bytes.Buffer
	st, err := stream.Copy(&out, r, plan, segment)
	if err != nil || st.Done != int64(len(in)-10) {
		t.Fatalf("Copy = %+v, %v, want all of %d bytes before END", st, err, len(in)-10)
	}
	want := strings.NewReplacer("./"+first.Name, "./segment", first.UUID.String(), segment.UUID.String(),
		first.CloneUUID.String(), plan.MintedParent.String()).Replace(dump(t, in))
	got := dump(t, out.Bytes())
	if want, got = squeeze(want), squeeze(got); got != want {
		t.Errorf("btrfs reads\n%.2000s\nwant\n%.2000s", got, want)
	}
	cut := boundaryBefore(in)
	if _, err := stream.Copy(&bytes.Buffer{}, stream.NewReader(bytes.NewReader(in[:cut])), plan, segment); !errors.Is(err, dataset.ErrCut) {
		t.Errorf("without its END: error = %v, want ErrCut", err)
	}
}

// squeeze drops the columns, whose width depends on the name.
func squeeze(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = strings.Join(strings.Fields(lines[i]), " ")
	}
	return strings.Join(lines, "\n")
}

// boundaryBefore is where the END, ten bytes, begins.
func boundaryBefore(in []byte) int { return len(in) - 10 }
