package pool

import (
	"reflect"
	"testing"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/naming"
	"antipode/fsdrivers/zfs/prop"
)

func TestParse(t *testing.T) {
	list, err := parseList("tank/a b@x\t18446744073709551615\t7\ntank/a b#y\t2\t9\n")
	want := []Entry{{Name: "tank/a b@x", GUID: 1<<64 - 1, TXG: 7}, {Name: "tank/a b#y", GUID: 2, TXG: 9}}
	if err != nil || !reflect.DeepEqual(list, want) {
		t.Errorf("list: got %v, %v, want %v", list, err, want)
	}
	if list[0].ID() != "ffffffffffffffff" || list[0].dataset() != "tank/a b" || list[0].Short() != "x" || !list[1].IsBookmark() {
		t.Errorf("got %v", list[0])
	}
	f, err := parseFacts("tank\torg.antipode:mark\tinherited from x\tforeign\ntank\tguid\t-\t5\ntank\torg.antipode:path\treceived\tevil\n" +
		"tank\torg.antipode:into\tlocal\ta\tb\ntank\treadonly\tinherited from x\ton\ntank\torigin\t-\t-\n")
	if err != nil || !reflect.DeepEqual(f, Facts{"tank": {"guid": "5", prop.Into: "a\tb", "readonly": "on"}}) {
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

func FuzzParse(f *testing.F) {
	f.Add("tank/a@x\t5\t7\n")
	f.Add("tank\torg.antipode:mark\tlocal\tx\n")
	f.Add("tank@a\torg.antipode:base.x\tThu Jan  1\n")
	f.Fuzz(func(t *testing.T, out string) {
		if list, err := parseList(out); err == nil {
			for _, e := range list {
				if _, gerr := naming.GUIDOf(e.ID()); gerr != nil && e.GUID != 0 {
					t.Errorf("%v: %v", e, gerr)
				}
				_, _, _ = e.Short(), e.dataset(), e.IsOurs()
			}
		}
		if all, err := parseFacts(out); err == nil {
			for name := range all {
				_, _ = all.Mark(name)
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
