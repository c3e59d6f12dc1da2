package pool

import (
	"fmt"
	"strconv"
	"strings"

	"antipode/fsdrivers/zfs/prop"
)

// Facts are properties by object and name. Of ours only local ones are there:
// they are inherited by what lies below, and a sender may have sent some.
type Facts map[string]map[string]string

// factColumns put the value last: it alone may hold a tab.
const factColumns = "name,property,source,value"

// parseFacts reads `zfs get -Hp -o name,property,source,value`.
func parseFacts(out string) (Facts, error) {
	all := make(Facts)
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

// Number is a property that is one; 0 where there is none.
func (f Facts) Number(name, property string) uint64 {
	n, _ := strconv.ParseUint(f[name][property], 10, 64)
	return n
}

// IsEncrypted reports whether a dataset is, on the disk; encryption was read.
func (f Facts) IsEncrypted(name string) bool {
	return f[name]["encryption"] != "" && f[name]["encryption"] != "off"
}

// IsPlaceholder reports whether a dataset only holds others, and Antipode made it for that.
func (f Facts) IsPlaceholder(name string) bool { return f[name][prop.Placeholder] == prop.On }
