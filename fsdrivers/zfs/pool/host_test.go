package pool

import (
	"testing"

	"antipode/fsdrivers/zfs/zfstest"
)

func TestAVolumeIsRenamedWithoutTheOptionOfFilesystems(t *testing.T) {
	for kind, want := range map[string]string{"volume": "rename dst/a dst/b", "filesystem": "rename -u dst/a dst/b"} {
		s := zfstest.New(t, zfstest.Rule{Args: "get", Out: zfstest.Props("dst/a", "type", kind)}, zfstest.Rule{Args: "rename"})
		if err := NewHost(s.Binary(), 0).Rename(t.Context(), "dst/a", "dst/b"); err != nil {
			t.Fatal(err)
		}
		if calls := s.Calls(); calls[len(calls)-1] != want {
			t.Errorf("a %s: ran %q, want %q", kind, calls[len(calls)-1], want)
		}
	}
}
