package cli

import (
	"testing"
)

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

func FuzzParseVersions(f *testing.F) {
	f.Add("zfs-2.4.4-1\nzfs-kmod-2.4.4-1\n")
	f.Fuzz(func(t *testing.T, out string) {
		if tools, module, err := parseVersions(out); err == nil && (tools.less(version{}) || module.less(version{})) {
			t.Errorf("%q is of version %v and %v", out, tools, module)
		}
	})
}
