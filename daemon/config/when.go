package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"antipode/daemon/policy"
)

// maxHook bounds how long a hook may take: a database is quiet meanwhile.
const maxHook = time.Hour

// decodeSchedule reads when a job snapshots. A key that was refused does not count
// as left out.
func decodeSchedule(t *table, loc *time.Location) policy.Schedule {
	s := decodeWhen(t, loc, "")
	if t.has("jitter") && !slices.ContainsFunc([]string{"every", "cron", "replicate_every", "replicate_cron"}, t.has) {
		t.wrong("jitter", "jitter means nothing without every, cron, replicate_every or replicate_cron")
	}
	if pulled, _ := t.values["pulled"].(bool); !pulled && !t.has("forward") && !t.has("every") && !t.has("cron") {
		id, _ := t.values["id"].(string)
		t.warn("", "job %q has neither every nor cron, so that it runs only when triggered", id)
	}
	return s
}

// decodeReplicate reads when a job replicates, where that is not after each
// snapshot.
func decodeReplicate(t *table, loc *time.Location) policy.Schedule {
	return decodeWhen(t, loc, "replicate_")
}

// leastPull is how often a target may ask: a source heeds no more.
const leastPull = time.Minute

// decodePull reads when a target asks its source to send.
func decodePull(t *table, loc *time.Location) policy.Schedule {
	s := decodeWhen(t, loc, "pull_")
	if s.Every > 0 && s.Every < leastPull {
		t.wrong("pull_every", "pull_every = %q is too often; want at least %q", policy.FormatDuration(s.Every), policy.FormatDuration(leastPull))
	}
	return s
}

// decodeWhen reads every, cron and window with a prefix, and the jitter of both.
func decodeWhen(t *table, loc *time.Location, prefix string) policy.Schedule {
	every, cron := prefix+"every", prefix+"cron"
	s := policy.Schedule{
		Every:  parsed(t, every, "1h", policy.ParseDuration),
		Cron:   t.text(cron, ""),
		Window: decodeWindow(t, prefix+"window"),
	}
	if jitter := decodeJitter(t, prefix == ""); t.has(every) || t.has(cron) {
		s.Jitter = jitter
	}
	key := cron
	switch {
	case s.Cron == "" && t.has(every):
		key = every
	case s.IsZero():
		key = prefix + "window"
	}
	if t.has(cron) && strings.TrimSpace(s.Cron) == "" {
		t.wrong(cron, `%s is empty; want for example "0 * * * *", or leave it out`, cron)
		return policy.Schedule{}
	}
	if s.Every != 0 && s.Cron != "" {
		t.wrong(cron, "both %s and %s are set; keep one of them", every, cron)
		return policy.Schedule{}
	}
	if s.IsZero() && (t.has(every) || t.has(cron)) {
		return policy.Schedule{} // said already
	}
	if err := s.Validate(prefix, loc); err != nil {
		t.wrong(key, "%v", err)
		return policy.Schedule{}
	}
	return s
}

// decodeJitter reads the jitter, which both schedules share: only the first that
// asks tells what is wrong with it.
func decodeJitter(t *table, tell bool) time.Duration {
	if s, ok := t.values["jitter"].(string); ok && !tell {
		d, _ := policy.ParseDuration(s)
		return d
	}
	if !tell {
		return 0
	}
	return parsed(t, "jitter", "2m", policy.ParseDuration)
}

func decodeWindow(t *table, key string) (w policy.Opening) {
	if !t.has(key) {
		t.get(key)
		return w
	}
	sub := t.sub(key)
	defer sub.done()
	w.Days = parsed(sub, "days", "mon-fri", policy.ParseWeekdays)
	w.From = parsed(sub, "from", "22:00", policy.ParseClock)
	w.To = parsed(sub, "to", "06:00", policy.ParseClock)
	if !sub.has("to") {
		w.To = policy.DayEnd
	}
	if _, isTable := t.values[key].(map[string]any); !isTable {
		return policy.Opening{} // said already
	}
	if !sub.has("days") && !sub.has("from") && !sub.has("to") {
		t.wrong(key, `%s says nothing; want for example %s = { days = "sat,sun", from = "22:00", to = "06:00" }`, key, key)
		return policy.Opening{}
	}
	return w
}

// decodeHooks reads the commands around a snapshot.
func decodeHooks(t *table) (h policy.Hooks) {
	defer t.done()
	h.Before, h.After = decodeArgv(t, "before"), decodeArgv(t, "after")
	h.Timeout = parsed(t, "timeout", "30s", policy.ParseDuration)
	h.OnFail = policy.OnFail(t.oneOf("on_fail", string(policy.OnFailSkip), string(policy.OnFailContinue)))
	if h.IsZero() {
		if t.has("timeout") || t.has("on_fail") {
			t.wrong("", `hooks has neither before nor after; want for example before = ["/usr/local/bin/quiesce"]`)
		}
		return policy.Hooks{}
	}
	if h.Timeout == 0 {
		h.Timeout = DefaultHookWait
	}
	if h.Timeout > maxHook {
		t.wrong("timeout", "timeout is longer than an hour; want for example %q", "30s")
	}
	if len(h.Before) > 0 && len(h.After) == 0 {
		t.warn("before", "hooks has before and no after, so that nothing makes loud again what was made quiet")
	}
	return h
}

func isList(v any) bool {
	_, ok := v.([]any)
	return ok
}

// decodeArgv reads a command that is run without a shell.
func decodeArgv(t *table, key string) []string {
	argv := t.texts(key)
	switch {
	case t.has(key) && len(argv) == 0 && isList(t.values[key]):
		t.wrong(key, `%s is empty; want for example ["/usr/local/bin/quiesce"], or leave it out`, key)
	case len(argv) > 0 && !filepath.IsAbs(argv[0]):
		t.wrong(key, "%s", fmt.Sprintf(`%s starts with %q, which is no absolute path; want for example ["/usr/local/bin/quiesce"] (no shell reads it)`, key, argv[0]))
		return nil
	}
	return argv
}
