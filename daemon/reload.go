package daemon

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"antipode/daemon/config"
	"antipode/daemon/control"
	"antipode/daemon/ledger"
	"antipode/daemon/policy"
)

// ReloadConfig reads the configuration anew and puts it in force, without
// dropping a transfer that it still names. One with any fault is refused whole,
// and the old one goes on.
func (d *Daemon) ReloadConfig() (control.ReloadResponse, error) {
	d.reloading.Lock() // or an older reading of the file could be put in force last
	defer d.reloading.Unlock()
	cfg, err := d.Reload()
	if err != nil {
		return control.ReloadResponse{}, d.refuseReload(err)
	}
	old := d.site().cfg
	if err := fixed(old, cfg); err != nil {
		return control.ReloadResponse{}, d.refuseReload(err)
	}
	if err := d.install(cfg); err != nil {
		return control.ReloadResponse{}, d.refuseReload(err)
	}
	answer := control.ReloadResponse{Changes: append(changes(old, cfg), d.heldByCommand()...)}
	d.Log.Info().Strs("changes", answer.Changes).Msg("configuration is in force")
	d.ledger.Record(ledger.Batch{Events: []ledger.Event{{At: d.Now(), Kind: "reloaded", Text: strings.Join(answer.Changes, "; ")}}})
	return answer, nil
}

// ReloadBeside does so beside its caller: what a reload has to end may take its time,
// and a stop must not wait for that. The log has what comes of it.
func (d *Daemon) ReloadBeside() {
	d.background(func(context.Context) { _, _ = d.ReloadConfig() })
}

func (d *Daemon) refuseReload(err error) error {
	d.Log.Error().Err(err).Msg("the new configuration is refused; the old one goes on")
	return &control.Error{Kind: control.KindRefused, Object: "configuration", Text: err.Error(), Next: "mend the file and reload again; the old configuration goes on"}
}

// fixed refuses what cannot change under a running daemon.
func fixed(old, next *config.Config) error {
	for _, f := range []struct{ key, was, is string }{
		{"node", old.Node, next.Node},
		{"state_dir", old.StateDir, next.StateDir},
		{"control_socket", old.SocketPath, next.SocketPath},
		{"listen.address", old.Listen, next.Listen},
	} {
		if f.was != f.is {
			return fmt.Errorf("%s changed from %q to %q, which takes a restart of the daemon", f.key, f.was, f.is)
		}
	}
	return nil
}

// changes says in sentences what differs.
func changes(old, next *config.Config) []string {
	out := []string{}
	out = compare(out, "peer", named(old.Peers, func(p policy.Peer) string { return p.Name }), named(next.Peers, func(p policy.Peer) string { return p.Name }))
	out = compare(out, "job", named(old.Jobs, func(j policy.Job) string { return j.ID }), named(next.Jobs, func(j policy.Job) string { return j.ID }))
	accept := func(a policy.Accept) string { return a.From + " (" + string(a.Driver) + ")" }
	out = compare(out, "accept from", named(old.Accepts, accept), named(next.Accepts, accept))
	if !reflect.DeepEqual(old.RateLimit, next.RateLimit) {
		out = append(out, "the host's rate limit changed")
	}
	if !reflect.DeepEqual(old.Alert, next.Alert) {
		out = append(out, "the alert command changed")
	}
	return out
}

func named[T any](list []T, name func(T) string) map[string]T {
	m := make(map[string]T, len(list))
	for _, v := range list {
		m[name(v)] = v
	}
	return m
}

func compare[T any](out []string, what string, old, next map[string]T) []string {
	for _, name := range slices.Sorted(maps.Keys(next)) {
		was, ok := old[name]
		switch {
		case !ok:
			out = append(out, what+" "+name+" is new")
		case !reflect.DeepEqual(was, next[name]):
			out = append(out, what+" "+name+" changed")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(old)) {
		if _, ok := next[name]; !ok {
			out = append(out, what+" "+name+" is gone")
		}
	}
	return out
}
