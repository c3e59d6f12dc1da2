package zfs

import (
	"fmt"
	"strconv"
	"strings"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/prop"
)

// entry is a dataset, snapshot or bookmark in a fast list.
type entry struct {
	name string // full
	guid uint64
	txg  uint64 // createtxg: orders them inside one pool
}

// listColumns are those for which zfs list opens nothing (FIELD-NOTES A.8).
const listColumns = "name,guid,createtxg"

func (e entry) id() dataset.ID { return idOf(e.guid) }

func (e entry) isSnapshot() bool { return strings.Contains(e.name, "@") }

func (e entry) isBookmark() bool { return strings.Contains(e.name, "#") }

// short is the name behind "@" or "#".
func (e entry) short() string { return e.name[strings.LastIndexAny(e.name, "@#")+1:] }

// dataset is the name before "@" or "#".
func (e entry) dataset() string {
	if at := strings.LastIndexAny(e.name, "@#"); at >= 0 {
		return e.name[:at]
	}
	return e.name
}

// isOurs reports whether the name is that of a snapshot or bookmark of ours.
func (e entry) isOurs() bool { return ownName(e.short()) == nil }

func idOf(guid uint64) dataset.ID { return dataset.ID(fmt.Sprintf("%016x", guid)) }

// guidOf is the number that an identity stands for.
func guidOf(id dataset.ID) (uint64, error) {
	guid, err := strconv.ParseUint(string(id), 16, 64)
	if err != nil || idOf(guid) != id || guid == 0 {
		return 0, fmt.Errorf("%q is not the identity of a ZFS dataset or snapshot: want 16 hexadecimal digits", id)
	}
	return guid, nil
}

// parseList reads `zfs list -Hp -o name,guid,createtxg`.
func parseList(out string) ([]entry, error) {
	var all []entry
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
		all = append(all, entry{name: f[0], guid: guid, txg: txg})
	}
	return all, nil
}

// facts are properties by object and name. Of ours only local ones are there:
// they are inherited by what lies below, and a sender may have sent some.
type facts map[string]map[string]string

// factColumns put the value last: it alone may hold a tab.
const factColumns = "name,property,source,value"

// parseFacts reads `zfs get -Hp -o name,property,source,value`.
func parseFacts(out string) (facts, error) {
	all := make(facts)
	for line := range strings.Lines(out) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), "\t", 4)
		if len(f) != 4 || f[0] == "" || f[1] == "" {
			return nil, fmt.Errorf("cannot read the line %.200q of zfs get", line)
		}
		name, property, source, value := f[0], f[1], f[2], f[3]
		if all[name] == nil {
			all[name] = make(map[string]string)
		}
		if value == "-" || strings.Contains(property, ":") && source != "local" {
			continue
		}
		all[name][property] = value
	}
	return all, nil
}

func (f facts) number(name, property string) uint64 {
	n, _ := strconv.ParseUint(f[name][property], 10, 64)
	return n
}

// parseHolds reads `zfs holds -Hp` and returns our tags by snapshot.
func parseHolds(out string) (map[string][]dataset.Tag, error) {
	all := make(map[string][]dataset.Tag)
	for line := range strings.Lines(out) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) < 2 || f[0] == "" {
			return nil, fmt.Errorf("cannot read the line %.200q of zfs holds", line)
		}
		bare, ours := strings.CutPrefix(f[1], prop.Namespace)
		if tag, err := dataset.ParseTag(bare); ours && err == nil {
			all[f[0]] = append(all[f[0]], tag)
		}
	}
	return all, nil
}

// parseSize reads `zfs send -nP`: the last line is "size", a tab, and bytes.
func parseSize(out string) (int64, error) {
	for line := range strings.Lines(out) {
		if size, found := strings.CutPrefix(line, "size\t"); found {
			n, err := strconv.ParseInt(strings.TrimSpace(size), 10, 63)
			if err != nil || n < 0 {
				return 0, fmt.Errorf("cannot read the size %.80q of zfs send", size)
			}
			return n, nil
		}
	}
	return 0, fmt.Errorf("zfs send -nP printed no size: %.200q", out)
}
