package pool

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/naming"
)

// Entry is a dataset, snapshot or bookmark in a fast list.
type Entry struct {
	Name string // full
	GUID uint64
	TXG  uint64 // createtxg: orders them inside one pool
}

// listColumns are those for which zfs list opens nothing (FIELD-NOTES A.8).
const listColumns = "name,guid,createtxg"

// ID is the identity.
func (e Entry) ID() dataset.ID { return naming.IDOf(e.GUID) }

// IsSnapshot reports whether it is one.
func (e Entry) IsSnapshot() bool { return strings.Contains(e.Name, "@") }

// IsBookmark reports whether it is one.
func (e Entry) IsBookmark() bool { return strings.Contains(e.Name, "#") }

// Short is the name behind "@" or "#".
func (e Entry) Short() string { return e.Name[strings.LastIndexAny(e.Name, "@#")+1:] }

// dataset is the name before "@" or "#".
func (e Entry) dataset() string {
	if at := strings.LastIndexAny(e.Name, "@#"); at >= 0 {
		return e.Name[:at]
	}
	return e.Name
}

// IsOurs reports whether the name is that of a snapshot or bookmark of ours.
func (e Entry) IsOurs() bool { return naming.Own(e.Short()) == nil }

// parseList reads `zfs list -Hp -o name,guid,createtxg`.
func parseList(out string) ([]Entry, error) {
	var all []Entry
	for line := range strings.Lines(out) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) != 3 || f[0] == "" {
			return nil, fmt.Errorf("cannot read the line %.200q of zfs list", line)
		}
		guid, err1 := strconv.ParseUint(f[1], 10, 64)
		txg, err2 := strconv.ParseUint(f[2], 10, 64)
		if err1 != nil || err2 != nil {
			return nil, fmt.Errorf("cannot read the line %.200q of zfs list", line)
		}
		all = append(all, Entry{Name: f[0], GUID: guid, TXG: txg})
	}
	return all, nil
}

// Names are the full names of entries.
func Names(all []Entry) []string {
	list := make([]string, len(all))
	for i, e := range all {
		list[i] = e.Name
	}
	return list
}

// Ours keeps snapshots of ours, and bookmarks that stand for one that is gone.
func Ours(all []Entry, bookmarks bool) []Entry { return Including(all, bookmarks, nil) }

// Including is ours and, of what others made, the snapshots that include names; nil names
// none. A bookmark of one that it does not name stays.
func Including(all []Entry, bookmarks bool, include func(name string) bool) []Entry {
	isWanted := func(e Entry) bool {
		if e.IsOurs() {
			return e.IsSnapshot() || bookmarks
		}
		return include != nil && e.IsSnapshot() && naming.Foreign(e.Short()) == nil && include(e.Short())
	}
	have := make(map[uint64]bool)
	for _, e := range all {
		have[e.GUID] = have[e.GUID] || e.IsSnapshot() && isWanted(e)
	}
	return slices.DeleteFunc(slices.Clone(all), func(e Entry) bool { return !isWanted(e) || e.IsBookmark() && have[e.GUID] })
}
