package manifest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// tree makes one of each kind of file, and returns its root.
func tree(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	at := func(name string) string { return filepath.Join(root, name) }
	must(os.Mkdir(at("dir"), 0o751))
	must(os.WriteFile(at("dir/a"), []byte("content"), 0o640))
	must(os.Link(at("dir/a"), at("dir/b")))
	must(os.Symlink("dir/a", at("link")))
	must(unix.Mkfifo(at("fifo"), 0o600))
	f, err := os.Create(at("sparse"))
	must(err)
	_, err = f.WriteAt([]byte("end"), 4<<20)
	must(err)
	must(f.Close())
	when := time.Unix(1_700_000_000, 123)
	for _, name := range []string{"dir/a", "fifo", "sparse", "dir", "."} {
		must(os.Chtimes(at(name), when, when))
	}
	ts := []unix.Timeval{unix.NsecToTimeval(when.UnixNano()), unix.NsecToTimeval(when.UnixNano())}
	must(unix.Lutimes(at("link"), ts))
	return root
}

func of(t *testing.T, root string, ignore ...func(string) bool) []Entry {
	t.Helper()
	entries, err := Of(root, ignore...)
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

func TestOfSeesEachKind(t *testing.T) {
	got := byPath(of(t, tree(t)))
	for path, want := range map[string]string{
		".": "dir", "dir": "dir", "dir/a": "file", "dir/b": "file", "link": "symlink", "fifo": "fifo", "sparse": "file",
	} {
		if got[path].Type != want {
			t.Errorf("%s: got type %q, want %q", path, got[path].Type, want)
		}
	}
	if len(got) != 7 {
		t.Errorf("got %d entries, want 7", len(got))
	}
	if got["dir/a"].Link != "dir/a" || got["dir/b"].Link != "dir/a" {
		t.Errorf("hard links: got %q and %q, want both dir/a", got["dir/a"].Link, got["dir/b"].Link)
	}
	if got["dir/a"].MTimeNS != 1_700_000_000_000_000_123 {
		t.Errorf("mtime: got %d, want nanoseconds", got["dir/a"].MTimeNS)
	}
	if d := got["sparse"].Data; len(d) != 1 || d[0].From == 0 {
		t.Errorf("sparse file: got data %v, want one range that does not start at 0", d)
	}
	if got["link"].Target != "dir/a" {
		t.Errorf("symlink: got target %q, want dir/a", got["link"].Target)
	}
}

func TestDiffFindsEachChange(t *testing.T) {
	cases := []struct {
		name   string
		change func(root string) error
		want   string
	}{
		{"nothing", func(string) error { return nil }, ""},
		{"content of the same size and time", func(r string) error {
			if err := os.WriteFile(r+"/dir/a", []byte("CONTENT"), 0); err != nil {
				return err
			}
			return os.Chtimes(r+"/dir/a", time.Time{}, time.Unix(1_700_000_000, 123))
		}, "dir/a: sha256"},
		{"mode", func(r string) error { return os.Chmod(r+"/dir", 0o700) }, "dir: mode 751, then 700"},
		{"setuid", func(r string) error { return os.Chmod(r+"/dir/a", os.ModeSetuid|0o640) }, "dir/a: mode 640, then 4640"},
		{"time of the root", func(r string) error { return os.Chtimes(r, time.Time{}, time.Unix(1, 0)) }, ".: mtime_ns"},
		{"a nanosecond", func(r string) error { return os.Chtimes(r+"/fifo", time.Time{}, time.Unix(1_700_000_000, 124)) }, "fifo: mtime_ns"},
		{"missing", func(r string) error { return os.Remove(r + "/fifo") }, "fifo: only in the first (fifo)"},
		{"extra", func(r string) error { return os.Mkdir(r+"/new", 0o700) }, "new: only in the second (dir)"},
		{"symlink", func(r string) error {
			os.Remove(r + "/link")
			return os.Symlink("dir/b", r+"/link")
		}, "link: target dir/a, then dir/b"},
		{"hard link broken", func(r string) error {
			os.Remove(r + "/dir/b")
			return os.WriteFile(r+"/dir/b", []byte("content"), 0o640)
		}, "dir/b: hard link of dir/a, then "},
		{"hole filled", func(r string) error {
			f, err := os.OpenFile(r+"/sparse", os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = f.Write(make([]byte, 1<<20))
			return err
		}, "sparse: data"},
		{"truncated", func(r string) error { return os.Truncate(r+"/sparse", 9) }, "sparse: size"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			root := tree(t)
			before := of(t, root)
			if err := c.change(root); err != nil {
				t.Fatal(err)
			}
			got := strings.Join(Diff(before, of(t, root)), "\n")
			if c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("got %q, want a line with %q", got, c.want)
			}
		})
	}
}

func TestXattrsAndDevices(t *testing.T) {
	a := []Entry{{Path: "f", Type: "file", Xattrs: map[string][]byte{"user.a": []byte("1"), "user.b": {}}, Device: "1:3", UID: 1, GID: 2}}
	b := []Entry{{Path: "f", Type: "file", Xattrs: map[string][]byte{"user.a": []byte("2"), "user.c": {0}}, Device: "1:5"}}
	want := []string{
		`f: uid 1, then 0`, `f: gid 2, then 0`, `f: device 1:3, then 1:5`,
		`f: xattr user.a "1", then "2"`, `f: xattr user.b "", then none`, `f: xattr user.c none, then "\x00"`,
	}
	if got := Diff(a, b); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestXattrsAreRead(t *testing.T) {
	root := tree(t)
	if err := unix.Lsetxattr(root+"/dir", "user.note", []byte("kept\x00"), 0); err != nil {
		t.Skipf("this file system has no user xattrs: %v", err)
	}
	if got := string(byPath(of(t, root))["dir"].Xattrs["user.note"]); got != "kept\x00" {
		t.Errorf("got %q, want \"kept\\x00\"", got)
	}
}

func TestIgnore(t *testing.T) {
	got := of(t, tree(t), func(p string) bool { return p == "dir" || p == "fifo" })
	var paths []string
	for _, e := range got {
		paths = append(paths, e.Path)
	}
	if want := []string{".", "link", "sparse"}; !slices.Equal(paths, want) {
		t.Errorf("got %q, want %q", paths, want)
	}
}

func TestJSONRoundTrip(t *testing.T) {
	root := tree(t)
	if err := os.WriteFile(root+"/not \xff UTF-8", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	want := of(t, root)
	want[1].Xattrs = map[string][]byte{"user.x": {0, 255}}
	name := filepath.Join(t.TempDir(), "manifest.json")
	if err := WriteFile(name, want); err != nil {
		t.Fatal(err)
	}
	got, err := ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if d := Diff(want, got); len(d) != 0 || len(got) != len(want) {
		t.Errorf("got %d entries, differing in %q; want %d", len(got), d, len(want))
	}
}

func TestReadRefusesWhatItDoesNotKnow(t *testing.T) {
	for _, text := range []string{`{"path":"a","color":"red"}`, `{"path":`, `[]`} {
		if _, err := Read(strings.NewReader(text)); err == nil {
			t.Errorf("Read(%q): got no error", text)
		}
	}
}

func TestOfMissingRoot(t *testing.T) {
	if _, err := Of(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("got no error for a root that does not exist")
	}
}
