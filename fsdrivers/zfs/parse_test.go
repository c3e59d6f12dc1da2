package zfs

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/internal/command"
	"antipode/fsdrivers/zfs/prop"
	"antipode/fsdrivers/zfs/stream"
)

// TestEveryTextHasItsErrorAndItsCure: every row of the table is there for a text
// that zfs prints, and none is hidden by a row before it.
func TestEveryTextHasItsErrorAndItsCure(t *testing.T) {
	met := make(map[string]bool)
	for stderr, want := range map[string]error{
		"cannot open 'tank/none': dataset does not exist\n":                                                                      dataset.ErrNotFound,
		"cannot open 'tnk': no such pool 'tnk'\n":                                                                                dataset.ErrNotFound,
		"cannot create snapshot 'tank/a@x': dataset already exists\nno snapshots were created\n":                                 dataset.ErrExists,
		"cannot destroy snapshot tank/a@x: it's being held. Run 'zfs holds -r tank/a@x' to see holders.\n":                       dataset.ErrHeld,
		"cannot destroy snapshot tank/a@x: dataset is busy\n":                                                                    dataset.ErrBusy,
		"cannot destroy 'tank/a@x': snapshot has dependent clones\nuse '-R' to destroy the following datasets:\ntank/b\n":        dataset.ErrHeld,
		"cannot destroy 'tank/a': filesystem has children\nuse '-r' to destroy the following datasets:\n":                        dataset.ErrHeld,
		"cannot destroy snapshot tank/a@x: snapshot is cloned\n":                                                                 dataset.ErrHeld,
		"cannot create bookmark 'tank/a#x': bookmark exists\n":                                                                   dataset.ErrExists,
		"cannot create bookmark 'tank/a#x': bookmark feature not enabled\n":                                                      dataset.ErrRefused,
		"cannot hold snapshot 'tank/a@x': tag already exists on this dataset\n":                                                  errNothing,
		"cannot release hold from snapshot 'tank/a@x': no such tag on this dataset\n":                                            errNothing,
		"'tank/a' does not have any resumable receive state to abort\n":                                                          errNothing,
		"could not find any snapshots to destroy; check snapshot names.\n":                                                       errNothing,
		"cannot receive incremental stream: most recent snapshot of dst/a does not\nmatch incremental source\n":                  dataset.ErrBaseMissing,
		"cannot receive incremental stream: destination dst/a has been modified\nsince most recent snapshot\n":                   dataset.ErrDiverged,
		"cannot receive new filesystem stream: destination 'dst/a' exists\nmust specify -F to overwrite it\n":                    dataset.ErrExists,
		"cannot receive new filesystem stream: destination dst/a contains partially-complete state from \"zfs receive -s\".\n":   dataset.ErrBusy,
		"cannot receive incremental stream: destination dst/a space quota exceeded.\n":                                           dataset.ErrNoSpace,
		"cannot receive new filesystem stream: out of space\n":                                                                   dataset.ErrNoSpace,
		"cannot receive incremental stream: IV set guid mismatch. See the 'zfs receive' man page\n":                              dataset.ErrDiverged,
		"cannot receive incremental stream: incremental send stream requires -L (--large-block), to match previous receive.\n":   dataset.ErrRefused,
		"cannot receive new filesystem stream: inherited key must be loaded\n":                                                   dataset.ErrRefused,
		"cannot mount 'dst/a': encryption key not loaded\n":                                                                      errKey,
		"cannot receive stream: encryption key does not match existing key\n":                                                    dataset.ErrRefused,
		"cannot receive stream: pool must be upgraded to receive this stream.\n":                                                 dataset.ErrRefused,
		"cannot receive new filesystem stream: checksum mismatch or incomplete stream.\nPartially received snapshot is saved.\n": dataset.ErrCut,
		"cannot receive: failed to read from stream\n":                                                                           dataset.ErrCut,
		"cannot resume send: 'tank/a@x' used in the initial send no longer exists\n":                                             dataset.ErrStaleCheckpoint,
		"cannot resume send: 'tank/a@x' is no longer the same snapshot used in the initial send\n":                               dataset.ErrStaleCheckpoint,
		"cannot resume send: incremental source 0x1234 no longer exists\n":                                                       dataset.ErrStaleCheckpoint,
		"incremental source (tank/a@x) does not exist\n":                                                                         dataset.ErrBaseMissing,
		"warning: cannot send 'tank/a@y': not an earlier snapshot from the same fs\n":                                            dataset.ErrBaseMissing,
		"cannot open 'tank': pool I/O is currently suspended\n":                                                                  dataset.ErrStuck,
		"The ZFS modules are not loaded.\nTry running 'modprobe zfs' as root to load them.\n":                                    dataset.ErrToolMissing,
		"cannot set mount attributes for 'tank/a': mount failed\nproperty may be set but unable to remount filesystem\n":         dataset.ErrRefused,
		"cannot create 'tank/x': permission denied\n":                                                                            dataset.ErrRefused,
		"cannot create snapshots : permission denied\n":                                                                          dataset.ErrRefused,
		"cannot mount 'tank/a': filesystem already mounted\n":                                                                    errNothing,
		"cannot resume send: 'tank/a@x' is no longer the same snapshot\n":                                                        dataset.ErrStaleCheckpoint,
		"cannot resume send: resume token is corrupt (invalid checksum)\n":                                                       dataset.ErrStaleCheckpoint,
		"warning: cannot send 'tank/a@x': No such file or directory\n":                                                           dataset.ErrStaleCheckpoint,
		"cannot unmount 'tank/a': not currently mounted\n":                                                                       errNothing,
		"cannot receive new filesystem stream: destination is busy\n":                                                            dataset.ErrBusy,
		"cannot create 'tank/a': Disk quota exceeded\n":                                                                          dataset.ErrNoSpace,
		"cannot create snapshot 'tank/a@x': out of space\n":                                                                      dataset.ErrNoSpace,
		"internal error: No space left on device\n":                                                                              dataset.ErrNoSpace,
		"cannot send 'tank/a@x': dataset key must be loaded\n":                                                                   errKey,
		"Key must be loaded: tank/a\n":                                                                                           errKey,
		"cannot receive: stream has unsupported feature, feature flags = 24\n":                                                   dataset.ErrRefused,
		"cannot unmount 'dst/a': pool or dataset is busy\n":                                                                      dataset.ErrBusy,
		"cannot export 'dst': pool is busy\n":                                                                                    dataset.ErrBusy,
		"cannot receive new filesystem stream: incomplete stream\n":                                                              dataset.ErrCut,
		"cannot receive: invalid stream (bad magic number)\n":                                                                    dataset.ErrRefused,
		"cannot receive new filesystem stream: invalid backup stream\n":                                                          dataset.ErrRefused,
		"warning: cannot send 'tank/a@x': Broken pipe\n":                                                                         dataset.ErrCut,
		"warning: cannot send 'tank/a@x': I/O error\n":                                                                           errDevice,
		"cannot open 'tank/a': dataset not found\n":                                                                              dataset.ErrNotFound,
		"cannot create 'dst/a': pool is read-only\n":                                                                             errDevice,
		"The /dev/zfs device is missing and must be created.\nTry running 'udevadm trigger' as root to create it.\n":             dataset.ErrToolMissing,
	} {
		cause := &command.ExitError{Args: []string{"zfs"}, Code: 1, Stderr: stderr}
		got := explain("tank/a", cause, "")
		if !errors.Is(got, want) {
			t.Errorf("%q: got %v, want %v", stderr, got, want)
		}
		if !strings.Contains(got.Error(), strings.TrimSpace(strings.SplitN(stderr, "\n", 2)[0])) || !strings.Contains(got.Error(), "tank/a") {
			t.Errorf("%q: got %v, which does not say it, or of what", stderr, got)
		}
		d, _ := diagnose("tank/a", stderr)
		met[d.text] = true
		if !errors.Is(d.err, errNothing) && (d.cure == "" || !strings.Contains(got.Error(), d.cure)) {
			t.Errorf("%q: got %v, which does not say what to do", stderr, got)
		}
	}
	for _, d := range diagnoses {
		if !met[d.text] {
			t.Errorf("no text has come to the row %q", d.text)
		}
	}
}

// TestNamesAreNoDiagnosis: spaces are legal in names.
func TestNamesAreNoDiagnosis(t *testing.T) {
	on := "dst/into/tank/has been modified"
	err := explain(on, &command.ExitError{Stderr: "cannot receive incremental stream: destination " + on + " space quota exceeded.\n"}, "")
	if !errors.Is(err, dataset.ErrNoSpace) || errors.Is(err, dataset.ErrDiverged) {
		t.Errorf("got %v, want no space", err)
	}
	err = explain(on, &command.ExitError{Stderr: "cannot receive incremental stream: destination " + on + " has been modified\nsince most recent snapshot\n"}, "")
	if !errors.Is(err, dataset.ErrDiverged) {
		t.Errorf("got %v, want diverged", err)
	}
}

func TestExplainKeepsItsEvidence(t *testing.T) {
	err := explain("dst/a", &command.ExitError{Stderr: "out of space"}, "")
	var space *dataset.SpaceError
	if !errors.As(err, &space) || space.Where != "dst/a" {
		t.Errorf("got %v, want a space error on dst/a", err)
	}
	if err := explain("dst", fmt.Errorf("zfs: %w", command.ErrMissing), ""); !errors.Is(err, dataset.ErrToolMissing) {
		t.Errorf("missing: got %v", err)
	}
	if err := explain("dst/a", command.ErrStuck, "out of space"); !errors.Is(err, dataset.ErrStuck) || !strings.Contains(err.Error(), "zpool status dst") {
		t.Errorf("stuck: got %v", err)
	}
	if err := explain("dst", syscall.EIO, "something new"); !errors.Is(err, syscall.EIO) {
		t.Errorf("unknown text: got %v", err)
	}
}

func TestNames(t *testing.T) {
	for name, ok := range map[string]bool{
		"tank": true, "tank/db": true, "tank/with space/a:b.c_d-e": true, "tank/-dash": true, "tank/" + strings.Repeat("n", 200): true,
		"": false, "/tank": false, "tank/": false, "tank//db": false, "tank/..": false, "tank/a@b": false, "tank/a#b": false,
		"tank/100%": false, "tank/ü": false, "1tank": false, "-tank": false, "tank/a\nb": false, "tank/" + strings.Repeat("n", 250): false,
		"tank/ a": false, "tank/\xff": false,
	} {
		if what := checkName(name); (what == "") != ok {
			t.Errorf("%.40q: got %q, want ok %v", name, what, ok)
		}
	}
	for name, ok := range map[string]bool{
		"antipode_a": true, "antipode_2026-01-01T00:00:00Z": true,
		"daily": false, "antipode_a/b": false, "antipode_ü": false, "antipode_a%b": false, "": false,
	} {
		if err := ownName(name); (err == nil) != ok {
			t.Errorf("snapshot %q: got %v, want ok %v", name, err, ok)
		}
	}
}

func TestParse(t *testing.T) {
	list, err := parseList("tank/a b@x\t18446744073709551615\t7\ntank/a b#y\t2\t9\n")
	want := []entry{{name: "tank/a b@x", guid: 1<<64 - 1, txg: 7}, {name: "tank/a b#y", guid: 2, txg: 9}}
	if err != nil || !reflect.DeepEqual(list, want) {
		t.Errorf("list: got %v, %v, want %v", list, err, want)
	}
	if list[0].id() != "ffffffffffffffff" || list[0].dataset() != "tank/a b" || list[0].short() != "x" || !list[1].isBookmark() {
		t.Errorf("got %v", list[0])
	}
	f, err := parseFacts("tank\torg.antipode:mark\tinherited from x\tforeign\ntank\tguid\t-\t5\ntank\torg.antipode:path\treceived\tevil\n" +
		"tank\torg.antipode:into\tlocal\ta\tb\ntank\treadonly\tinherited from x\ton\ntank\torigin\t-\t-\n")
	if err != nil || !reflect.DeepEqual(f, facts{"tank": {"guid": "5", prop.Into: "a\tb", "readonly": "on"}}) {
		t.Errorf("facts: got %v, %v", f, err)
	}
	holds, err := parseHolds("tank@a\torg.antipode:base.x\tThu Jan  1\ntank@a\tmine\tThu\ntank@b\torg.antipode:BAD\tThu\n")
	if err != nil || !reflect.DeepEqual(holds, map[string][]dataset.Tag{"tank@a": {"base.x"}}) {
		t.Errorf("holds: got %v, %v", holds, err)
	}
	for _, bad := range []string{"a\tb\n", "a\t1\tx\n", "\t1\t2\n", "a\t1\t2\t3\n"} {
		if l, err := parseList(bad); err == nil {
			t.Errorf("list %q: got %v, want an error", bad, l)
		}
	}
}

func TestParseSize(t *testing.T) {
	if n, err := parseSize("full\ttank@a\t1000\nsize\t1000\n"); n != 1000 || err != nil {
		t.Errorf("size: got %d, %v", n, err)
	}
	for _, bad := range []string{"size\t-1\n", "size\t18446744073709551615\n", "", "size\tx\n"} {
		if n, err := parseSize(bad); err == nil {
			t.Errorf("size %q: got %d, want an error", bad, n)
		}
	}
}

func TestVersions(t *testing.T) {
	for out, want := range map[string][2]version{
		"zfs-2.4.4-1\nzfs-kmod-2.4.4-1\n":            {{2, 4, 4}, {2, 4, 4}},
		"zfs-2.3.9-0+deb13u1\nzfs-kmod-2.2.7-pve1\n": {{2, 3, 9}, {2, 2, 7}},
		"zfs-2.4.99-12_gabc\n":                       {{2, 4, 99}, {}},
	} {
		tools, module, err := parseVersions(out)
		if err != nil || tools != want[0] || module != want[1] {
			t.Errorf("%q: got %v, %v, %v", out, tools, module, err)
		}
	}
	for v, safe := range map[version]bool{
		{2, 2, 7}: false, {2, 2, 8}: true, {2, 3, 2}: false, {2, 3, 3}: true, {2, 4, 0}: true, {3, 0, 0}: true, {2, 1, 15}: false,
	} {
		if v.safeCrypt() != safe {
			t.Errorf("%v: got %v", v, v.safeCrypt())
		}
	}
	if _, _, err := parseVersions("hello\n"); err == nil {
		t.Error("no version: got no error")
	}
}

// markOf is of the n-th promotion, and remembers those before.
func markOf(n int, node string) dataset.Mark {
	var all []dataset.Activation
	for g := n; g > 0; g-- {
		all = append(all, dataset.Activation{Generation: uint64(g), ID: dataset.NewActivationID(), Node: node, Base: idOf(uint64(g))})
	}
	return dataset.Mark{Activation: all[0], History: all[1:]}
}

func TestACheckpointIsOfTheStepThatWasWrittenDown(t *testing.T) {
	in := incoming{Step: "0123456789abcdef0123456789abcdef", To: idOf(3), From: idOf(4), Name: "antipode_x"}
	token := stream.Token{Position: stream.Position{Object: 1}, Bytes: 99, ToGUID: 3, FromGUID: 4, ToName: "tank@x"}
	with := func(change func(*stream.Token)) string {
		tok := token
		change(&tok)
		return tok.String()
	}
	for name, c := range map[string]struct {
		token string
		want  bool
	}{
		"its own":            {token.String(), true},
		"another snapshot's": {with(func(t *stream.Token) { t.ToGUID = 5 }), false},
		"another base's":     {with(func(t *stream.Token) { t.FromGUID = 5 }), false},
		"of a full copy":     {with(func(t *stream.Token) { t.FromGUID = 0 }), false},
		"damaged":            {token.String() + "0", false},
		"none":               {"", false},
	} {
		l := &lineage{name: "dst/a", facts: facts{"dst/a": {prop.Incoming: in.text(), "receive_resume_token": c.token}}}
		got := l.checkpoint()
		if !got.IsZero() != c.want {
			t.Errorf("%s: got %+v", name, got)
		}
		if c.want && (got.Step != in.Step || got.Done != 99 || got.Kind != CheckpointKind) {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("tank/a@x\t5\t7\n")
	f.Add("tank\torg.antipode:mark\tlocal\tx\n")
	f.Add("tank@a\torg.antipode:base.x\tThu Jan  1\n")
	f.Fuzz(func(t *testing.T, out string) {
		if list, err := parseList(out); err == nil {
			for _, e := range list {
				if _, gerr := guidOf(e.id()); gerr != nil && e.guid != 0 {
					t.Errorf("%v: %v", e, gerr)
				}
				_, _, _ = e.short(), e.dataset(), e.isOurs()
			}
		}
		if all, err := parseFacts(out); err == nil {
			for name := range all {
				_, _ = all.mark(name)
			}
		}
		if all, err := parseHolds(out); err == nil {
			for _, tags := range all {
				for _, tag := range tags {
					if _, err := dataset.ParseTag(string(tag)); err != nil {
						t.Error(err)
					}
				}
			}
		}
	})
}

func FuzzParseVersions(f *testing.F) {
	f.Add("zfs-2.4.4-1\nzfs-kmod-2.4.4-1\n")
	f.Fuzz(func(t *testing.T, out string) {
		if tools, module, err := parseVersions(out); err == nil && (tools.less(version{}) || module.less(version{})) {
			t.Errorf("%q is of version %v and %v", out, tools, module)
		}
	})
}

func FuzzParseSize(f *testing.F) {
	f.Add("size\t1000\n")
	f.Fuzz(func(t *testing.T, out string) {
		if n, err := parseSize(out); err == nil && n < 0 {
			t.Errorf("size %d", n)
		}
	})
}

func FuzzCheckName(f *testing.F) {
	f.Add("tank/a@x")
	f.Fuzz(func(t *testing.T, name string) {
		if checkName(name) == "" && (len(name) > maxName || strings.ContainsAny(name, "@#%\n\t")) {
			t.Errorf("%q passes for a name", name)
		}
	})
}

func TestAMarkIsSwappedOnlyForAllOfIt(t *testing.T) {
	have := markOf(2, "fra1")
	text, err := prop.EncodeMark(have)
	if err != nil {
		t.Fatal(err)
	}
	s := script(t, rule{Args: "get", Out: props("tank/db", prop.Mark, text)}, rule{Args: "set"})
	src := s.source(time.Now)
	rival, forgetful := have, have
	rival.Node = "sin1"
	forgetful.History = nil
	for name, old := range map[string]dataset.Mark{"of another node": rival, "without its history": forgetful} {
		if err := src.SwapMark(t.Context(), "tank/db", old, markOf(3, "sin1")); !errors.Is(err, dataset.ErrChanged) {
			t.Errorf("swap for one %s: got %v, want changed", name, err)
		}
	}
	if err := src.SwapMark(t.Context(), "tank/db", have, have); err != nil {
		t.Errorf("swap for the one that is there: %v", err)
	}
}
