// Package quiet runs the operator's hooks around a snapshot, and remembers on the disk that
// something is quiet, so that a daemon that dies in between leaves nothing so. It does not
// know what a snapshot is.
package quiet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"antipode/daemon/durable"
	"antipode/daemon/ledger"
	"antipode/daemon/policy"
	"antipode/fsdrivers/dataset"
)

// prefix starts the names of files in the state directory that say that a
// job's before hook was started and its after hook has not ended: a daemon that
// dies in between leaves somebody's database quiet, and the next one makes it loud.
const prefix = "quiet-"

// Keeper makes jobs quiet, and loud again. Every field is needed.
type Keeper struct {
	StateDir string
	Node     func() string
	Hook     func(ctx context.Context, argv []string, timeout time.Duration, env map[string]string) error
	Held     func(job string, held time.Duration) // shows for how long it was quiet
	Failed   func(job string, err error)          // shows that something may still be
	Record   func(ledger.Batch)
	Now      func() time.Time
	Log      zerolog.Logger
}

// Snapshot runs the hooks of a job around one snapshot (snapshot.Quiet).
type Snapshot struct {
	// Held is from the start of the before hook to the end of the after hook; 0 if there is none.
	Held time.Duration

	k     *Keeper
	job   policy.Job
	began time.Time // when before was started; zero: never
}

// Around makes one for the next snapshot of a job.
func (k *Keeper) Around(job policy.Job) *Snapshot { return &Snapshot{k: k, job: job} }

// note is what is written down.
type note struct {
	Datasets []dataset.Path `json:"datasets"`
	Since    time.Time      `json:"since"`
	After    []string       `json:"after"` // the command, should it leave the configuration
	Timeout  time.Duration  `json:"timeout_ns"`
}

func (k *Keeper) path(job string) string {
	return filepath.Join(k.StateDir, prefix+job)
}

// Before makes quiet. The file comes first.
func (q *Snapshot) Before(ctx context.Context, ds []dataset.Path) (goOn bool, err error) {
	goOn = q.job.Hooks.OnFail == policy.OnFailContinue
	if len(q.job.Hooks.Before) == 0 {
		return true, nil
	}
	q.began = q.k.Now()
	if err := durable.WriteJSON(q.k.path(q.job.ID), note{ds, q.began, q.job.Hooks.After, q.job.Hooks.Timeout}); err != nil {
		return goOn, fmt.Errorf("remember that the after hook of job %s has to run: %w", q.job.ID, err)
	}
	env := q.k.hookEnv("before-snapshot", q.job.ID, ds)
	if err := q.k.Hook(ctx, q.job.Hooks.Before, q.job.Hooks.Timeout, env); err != nil {
		return goOn, &HookError{Job: q.job.ID, Skips: !goOn, Err: err}
	}
	return true, nil
}

// After makes loud again, also when ctx has ended meanwhile: its own time limit
// bounds it.
func (q *Snapshot) After(ctx context.Context, ds []dataset.Path, name string, result error) error {
	env := q.k.hookEnv("after-snapshot", q.job.ID, ds)
	env["SNAPSHOT"], env["RESULT"] = name, "ok"
	if result != nil {
		env["RESULT"], env["ERROR"] = "failed", result.Error()
	}
	err := q.k.loud(ctx, q.job.ID, q.job.Hooks.After, q.job.Hooks.Timeout, env)
	if !q.began.IsZero() {
		q.Held = q.k.Now().Sub(q.began)
		q.k.Log.Info().Str("job", q.job.ID).Dur("held", q.Held).Str("snapshot", name).Msg("datasets were held quiet for a snapshot")
		q.k.Held(q.job.ID, q.Held)
	}
	return err
}

// loud runs an after hook and removes the file, also when the hook fails: it is
// told of, and to run it at the next start would help nobody.
func (k *Keeper) loud(ctx context.Context, job string, argv []string, timeout time.Duration, env map[string]string) error {
	var err error
	if len(argv) > 0 {
		if err = k.Hook(context.WithoutCancel(ctx), argv, timeout, env); err != nil {
			err = &HookError{Job: job, After: true, Err: err}
		}
	}
	if rerr := os.Remove(k.path(job)); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
		err = errors.Join(err, fmt.Errorf("forget that the after hook of job %s had to run: %w", job, rerr))
	}
	return err
}

func (k *Keeper) hookEnv(event, job string, ds []dataset.Path) map[string]string {
	names := make([]string, len(ds))
	for i, path := range ds {
		names[i] = string(path)
	}
	return map[string]string{"EVENT": event, "NODE": k.Node(), "JOB": job, "DATASETS": strings.Join(names, "\n")}
}

// MakeLoud runs the after hooks that the daemon before this one did not come to.
func (k *Keeper) MakeLoud(ctx context.Context) {
	files, err := filepath.Glob(filepath.Join(k.StateDir, prefix+"*"))
	if err != nil {
		return // only for a bad pattern
	}
	for _, file := range files {
		job := strings.TrimPrefix(filepath.Base(file), prefix)
		if _, err := policy.ParseID(job); err != nil {
			continue // a temporary file
		}
		if err := k.makeJobLoud(ctx, job, file); err != nil {
			k.Log.Error().Err(err).Str("job", job).Msg("an interrupted snapshot may have left something quiet")
			k.Failed(job, err)
		}
	}
}

func (k *Keeper) makeJobLoud(ctx context.Context, job, file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var left note
	if err := json.Unmarshal(text, &left); err != nil {
		return fmt.Errorf("%s: %w; run the after hook of job %s by hand and remove the file", file, err, job)
	}
	env := k.hookEnv("after-snapshot", job, left.Datasets)
	env["SNAPSHOT"], env["RESULT"] = "", "interrupted"
	err = k.loud(ctx, job, left.After, left.Timeout, env)
	held := k.Now().Sub(left.Since)
	k.Log.Warn().Str("job", job).Dur("held", held).Msg("the daemon ended during a snapshot; its after hook was run now")
	k.Record(ledger.Batch{Events: []ledger.Event{{
		At: k.Now(), Kind: "made-loud", Job: job,
		Text: fmt.Sprintf("the daemon ended during a snapshot; its after hook was run %s later", policy.FormatDuration(held.Round(time.Second))),
	}}})
	return err
}
