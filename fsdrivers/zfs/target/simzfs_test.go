package target

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/naming"
	"antipode/fsdrivers/zfs/pool"
	"antipode/fsdrivers/zfs/prop"
	"antipode/fsdrivers/zfs/standby/standbytest"
	"antipode/fsdrivers/zfs/zfstest"
)

// simPool is a pool in a file: what a zfs does that works on datasets and their
// properties, and dies after so many changes. It knows what the cases need.
type simPool struct {
	// Props are those of datasets and snapshots by name; guid and createtxg among them.
	Props map[string]map[string]string
	Next  int
	Left  int // changes until it dies; below zero is never
}

func poolFile(dir string) string { return filepath.Join(dir, "pool") }

func loadPool(dir string) (p *simPool, err error) {
	text, err := os.ReadFile(poolFile(dir))
	if err == nil {
		err = json.Unmarshal(text, &p)
	}
	return p, err
}

func (p *simPool) save(dir string) error {
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return os.WriteFile(poolFile(dir), text, 0o600)
}

// simulate is zfs on the pool in dir.
func simulate(dir string, args []string) int {
	zfstest.Note(dir, "0\t"+strings.Join(args, " ")+"\n")
	p, err := loadPool(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 99
	}
	out, err := p.run(args[0], args[1:])
	fmt.Print(out)
	if err == nil && !slices.Contains(reading, args[0]) { // one that reads may run beside others
		err = p.save(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// reading are the commands that change nothing.
var reading = []string{"version", "get", "list", "holds", "send"}

func (p *simPool) run(verb string, args []string) (string, error) {
	opts, rest := parseArgs(args)
	switch verb {
	case "version":
		return "zfs-2.4.4-1\nzfs-kmod-2.4.4-1\n", nil
	case "get":
		return p.get(opts, rest)
	case "list":
		return p.list(rest[0]), nil
	case "holds":
		return "", nil
	case "send": // its stream tells how it was made
		return "size\t5\n" + strings.Join(args, " "), nil
	}
	if p.Left == 0 {
		return "", fmt.Errorf("cannot do it: I/O error")
	}
	p.Left--
	switch verb {
	case "set":
		target := rest[len(rest)-1]
		for _, kv := range rest[:len(rest)-1] {
			k, v, _ := strings.Cut(kv, "=")
			p.Props[target][k] = v
		}
		return "", nil
	case "inherit":
		delete(p.Props[rest[1]], rest[0])
		return "", nil
	case "create":
		return "", p.create(rest[0], opts["-o"])
	case "rename":
		return "", p.rename(rest[0], rest[1])
	case "destroy":
		return "", p.destroy(rest[0])
	}
	return "", fmt.Errorf("simulated zfs has no %s", verb)
}

// parseArgs tells options, of which -o, -t, -d and -s have a value, from the rest.
func parseArgs(args []string) (opts map[string][]string, rest []string) {
	opts = map[string][]string{}
	for i := 0; i < len(args); i++ {
		a := args[i]
		switch {
		case a == "-o" || a == "-t" || a == "-d" || a == "-s":
			i++
			opts[a] = append(opts[a], args[i])
		case strings.HasPrefix(a, "-"):
			opts[a] = []string{}
		default:
			rest = append(rest, a)
		}
	}
	return opts, rest
}

func (p *simPool) get(opts map[string][]string, rest []string) (out string, err error) {
	depth := 0
	if d := opts["-d"]; len(d) > 0 {
		depth, _ = strconv.Atoi(d[0])
	}
	if opts["-r"] != nil {
		depth = 99
	}
	for _, root := range rest[1:] {
		if p.Props[root] == nil {
			err = fmt.Errorf("cannot open '%s': dataset does not exist", root)
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(p.Props)) {
			deeper := strings.Count(strings.TrimPrefix(name, root), "/")
			if name != root && (!strings.HasPrefix(name, root+"/") || deeper > depth || strings.Contains(name, "@")) {
				continue
			}
			for property := range strings.SplitSeq(rest[0], ",") {
				value, source := "-", "-"
				if v, set := p.Props[name][property]; set {
					value = v
					if strings.Contains(property, ":") {
						source = "local"
					}
				}
				out += fmt.Sprintf("%s\t%s\t%s\t%s\n", name, property, source, value)
			}
		}
	}
	return out, err
}

func (p *simPool) list(ds string) (out string) {
	for _, name := range slices.Sorted(maps.Keys(p.Props)) {
		if strings.HasPrefix(name, ds+"@") {
			out += fmt.Sprintf("%s\t%s\t%s\n", name, p.Props[name]["guid"], p.Props[name]["createtxg"])
		}
	}
	return out
}

func (p *simPool) create(name string, props []string) error {
	switch {
	case p.Props[name] != nil:
		return fmt.Errorf("cannot create '%s': dataset already exists", name)
	case p.Props[naming.ParentOf(name)] == nil && naming.ParentOf(name) != "":
		return fmt.Errorf("cannot create '%s': parent does not exist", name)
	}
	p.Next++
	p.Props[name] = map[string]string{"guid": strconv.Itoa(p.Next), "createtxg": strconv.Itoa(p.Next), "type": "filesystem", "inconsistent": "0", "written": "0"}
	for _, kv := range props {
		k, v, _ := strings.Cut(kv, "=")
		p.Props[name][k] = v
	}
	return nil
}

func (p *simPool) rename(from, to string) error {
	switch {
	case p.Props[from] == nil:
		return fmt.Errorf("cannot open '%s': dataset does not exist", from)
	case p.Props[to] != nil:
		return fmt.Errorf("cannot rename '%s': dataset already exists", from)
	case p.Props[naming.ParentOf(to)] == nil:
		return fmt.Errorf("cannot rename '%s': parent does not exist", from)
	}
	for _, name := range slices.Collect(maps.Keys(p.Props)) {
		if rest, below := strings.CutPrefix(name, from); below && (rest == "" || strings.ContainsAny(rest[:1], "/@")) {
			p.Props[to+rest] = p.Props[name]
			delete(p.Props, name)
		}
	}
	return nil
}

func (p *simPool) destroy(name string) error {
	for other := range p.Props {
		if strings.HasPrefix(other, name+"/") || strings.HasPrefix(other, name+"@") {
			return fmt.Errorf("cannot destroy '%s': filesystem has children", name)
		}
	}
	delete(p.Props, name)
	return nil
}

// simTarget is a target on a simulated pool, with a replica of each path that holds
// one point.
func simTarget(t *testing.T, paths ...string) (*scripted, *Target) {
	t.Helper()
	s := script(t)
	p := &simPool{Props: map[string]map[string]string{}, Left: -1}
	for _, name := range []string{"dst", "dst/into"} {
		if err := p.create(name, []string{prop.Into + "=" + prop.On}); err != nil {
			t.Fatal(err)
		}
	}
	delete(p.Props["dst"], prop.Into)
	s.pool(p)
	tg := s.simTarget()
	s.addReplicas(paths...)
	return s, tg
}

// addReplicas puts a replica of each path, that holds one point, below Into.
func (s *scripted) addReplicas(paths ...string) {
	s.t.Helper()
	p := s.readPool()
	for i, path := range paths {
		home := "dst/into/" + path
		for _, up := range []string{naming.ParentOf(naming.ParentOf(home)), naming.ParentOf(home)} {
			if p.Props[up] == nil && up != "" {
				if err := p.create(up, []string{prop.Placeholder + "=" + prop.On}); err != nil {
					s.t.Fatal(err)
				}
			}
		}
		guid := 1000 + i
		if err := p.create(home, []string{prop.Path + "=" + path, prop.Source + "=" + string(naming.IDOf(uint64(guid)))}); err != nil {
			s.t.Fatal(err)
		}
		if err := p.create(home+"@antipode_a", nil); err != nil {
			s.t.Fatal(err)
		}
		maps.Copy(p.Props[home+"@antipode_a"], map[string]string{
			"guid": strconv.Itoa(2000 + i), "userrefs": "0", "creation": "5", prop.Created: prop.TextOf(standbytest.Now()), prop.Received: prop.TextOf(standbytest.Now()), prop.Retain: prop.TextOf(standbytest.Now()),
		})
	}
	s.pool(p)
}

// simTarget makes a new driver on the pool, as a daemon that starts does.
func (s *scripted) simTarget() *Target {
	s.t.Helper()
	tg, err := s.stripped("")
	if err != nil {
		s.t.Fatal(err)
	}
	return tg
}

// stripped makes one that leaves something out of its source's paths.
func (s *scripted) stripped(strip dataset.Path) (*Target, error) {
	return New(Options{
		Into: "dst/into", Strip: strip, Locks: s.t.TempDir(), Now: standbytest.Now, Log: zerolog.Nop(), Host: pool.NewHost(s.Binary(), 20*time.Second),
	})
}

func (s *scripted) pool(p *simPool) {
	s.t.Helper()
	if err := p.save(s.Dir); err != nil {
		s.t.Fatal(err)
	}
}

func (s *scripted) readPool() *simPool {
	s.t.Helper()
	p, err := loadPool(s.Dir)
	if err != nil {
		s.t.Fatal(err)
	}
	return p
}
