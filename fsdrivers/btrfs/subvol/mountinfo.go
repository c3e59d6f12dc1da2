package subvol

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"antipode/fsdrivers/dataset"
)

// Mount is one line of /proc/self/mountinfo (proc(5)).
type Mount struct {
	id     int
	point  string
	kind   string
	Device string
}

// MountOf finds the mount that f was opened through, by its mount ID: device
// numbers do not help, since each Btrfs subvolume has its own.
func MountOf(f *os.File) (Mount, error) {
	var st unix.Statx_t
	err := unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &st)
	if err != nil {
		return Mount{}, fmt.Errorf("statx %s: %w", f.Name(), err)
	}
	table, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return Mount{}, err
	}
	defer table.Close()
	mounts, err := parseMounts(table)
	if err != nil {
		return Mount{}, err
	}
	for _, m := range mounts {
		if uint64(m.id) == st.Mnt_id {
			return m, nil
		}
	}
	return Mount{}, fmt.Errorf("%s is on no mount of /proc/self/mountinfo: %w", f.Name(), dataset.ErrNotFound)
}

// parseMounts reads a mountinfo table.
func parseMounts(r io.Reader) ([]Mount, error) {
	var mounts []Mount
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20) // overlay options can be long
	for lines.Scan() {
		m, err := parseMount(lines.Text())
		if err != nil {
			return nil, err
		}
		mounts = append(mounts, m)
	}
	return mounts, lines.Err()
}

func parseMount(line string) (Mount, error) {
	left, right, found := strings.Cut(line, " - ")
	before, after := strings.Fields(left), strings.Fields(right)
	if !found || len(before) < 6 || len(after) < 2 {
		return Mount{}, fmt.Errorf("mountinfo: cannot read %q", line)
	}
	id, err := strconv.Atoi(before[0])
	if err != nil {
		return Mount{}, fmt.Errorf("mountinfo: cannot read %q: %w", line, err)
	}
	return Mount{id: id, point: unescapeMount(before[4]), kind: after[0], Device: unescapeMount(after[1])}, nil
}

// unescapeMount undoes the \ooo that the kernel writes for space, tab, newline,
// backslash and "#".
func unescapeMount(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+4 <= len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
