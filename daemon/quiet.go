package daemon

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

	"antipode/daemon/durable"
	"antipode/daemon/ledger"
	"antipode/daemon/policy"
	"antipode/daemon/status"
	"antipode/fsdrivers/dataset"
)

// quietPrefix starts the names of files in the state directory that say that a
// job's before hook was started and its after hook has not ended: a daemon that
// dies in between leaves somebody's database quiet, and the next one makes it loud.
const quietPrefix = "quiet-"

// quiet runs the hooks of a job around one snapshot (snapshot.Quiet).
type quiet struct {
	d     *Daemon
	job   policy.Job
	began time.Time     // when before was started; zero: never
	held  time.Duration // from there to the end of after
}

// quietFile is what is written down.
type quietFile struct {
	Datasets []dataset.Path `json:"datasets"`
	Since    time.Time      `json:"since"`
	After    []string       `json:"after"` // the command, should it leave the configuration
	Timeout  time.Duration  `json:"timeout_ns"`
}

func (d *Daemon) quietPath(job string) string {
	return filepath.Join(d.Config.StateDir, quietPrefix+job)
}

// Before makes quiet. The file comes first.
func (q *quiet) Before(ctx context.Context, ds []dataset.Path) (goOn bool, err error) {
	goOn = q.job.Hooks.OnFail == policy.OnFailContinue
	if len(q.job.Hooks.Before) == 0 {
		return true, nil
	}
	q.began = q.d.Now()
	text, err := json.Marshal(quietFile{ds, q.began, q.job.Hooks.After, q.job.Hooks.Timeout})
	if err == nil {
		err = durable.WriteFile(q.d.quietPath(q.job.ID), text, 0o600)
	}
	if err != nil {
		return goOn, fmt.Errorf("remember that the after hook of job %s has to run: %w", q.job.ID, err)
	}
	env := q.d.hookEnv("before-snapshot", q.job.ID, ds)
	if err := q.d.Hook(ctx, q.job.Hooks.Before, q.job.Hooks.Timeout, env); err != nil {
		return goOn, fmt.Errorf("before hook of job %s: %w", q.job.ID, err)
	}
	return true, nil
}

// After makes loud again, also when ctx has ended meanwhile: its own time limit
// bounds it.
func (q *quiet) After(ctx context.Context, ds []dataset.Path, name string, result error) error {
	env := q.d.hookEnv("after-snapshot", q.job.ID, ds)
	env["SNAPSHOT"], env["RESULT"] = name, "ok"
	if result != nil {
		env["RESULT"], env["ERROR"] = "failed", result.Error()
	}
	err := q.d.loud(ctx, q.job.ID, q.job.Hooks.After, q.job.Hooks.Timeout, env)
	if !q.began.IsZero() {
		q.held = q.d.Now().Sub(q.began)
		q.d.Log.Info().Str("job", q.job.ID).Dur("held", q.held).Str("snapshot", name).Msg("datasets were held quiet for a snapshot")
		q.d.Board.Job(q.job.ID, func(j *status.Job) { j.Held = q.held })
	}
	return err
}

// loud runs an after hook and removes the file, also when the hook fails: it is
// told of, and to run it at the next start would help nobody.
func (d *Daemon) loud(ctx context.Context, job string, argv []string, timeout time.Duration, env map[string]string) error {
	var err error
	if len(argv) > 0 {
		if err = d.Hook(context.WithoutCancel(ctx), argv, timeout, env); err != nil {
			err = fmt.Errorf("after hook of job %s, so that something may still be quiet: %w", job, err)
		}
	}
	if rerr := os.Remove(d.quietPath(job)); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
		err = errors.Join(err, fmt.Errorf("forget that the after hook of job %s had to run: %w", job, rerr))
	}
	return err
}

func (d *Daemon) hookEnv(event, job string, ds []dataset.Path) map[string]string {
	names := make([]string, len(ds))
	for i, path := range ds {
		names[i] = string(path)
	}
	return map[string]string{"EVENT": event, "NODE": d.node(), "JOB": job, "DATASETS": strings.Join(names, "\n")}
}

// makeLoud runs the after hooks that the daemon before this one did not come to.
func (d *Daemon) makeLoud(ctx context.Context) {
	files, err := filepath.Glob(filepath.Join(d.Config.StateDir, quietPrefix+"*"))
	if err != nil {
		return // only for a bad pattern
	}
	for _, file := range files {
		job := strings.TrimPrefix(filepath.Base(file), quietPrefix)
		if _, err := policy.ParseID(job); err != nil {
			continue // a temporary file
		}
		if err := d.makeJobLoud(ctx, job, file); err != nil {
			d.Log.Error().Err(err).Str("job", job).Msg("an interrupted snapshot may have left something quiet")
			d.Board.Job(job, func(j *status.Job) { j.Problem = d.problem(err) })
		}
	}
}

func (d *Daemon) makeJobLoud(ctx context.Context, job, file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var left quietFile
	if err := json.Unmarshal(text, &left); err != nil {
		return fmt.Errorf("%s: %w; run the after hook of job %s by hand and remove the file", file, err, job)
	}
	env := d.hookEnv("after-snapshot", job, left.Datasets)
	env["SNAPSHOT"], env["RESULT"] = "", "interrupted"
	err = d.loud(ctx, job, left.After, left.Timeout, env)
	held := d.Now().Sub(left.Since)
	d.Log.Warn().Str("job", job).Dur("held", held).Msg("the daemon ended during a snapshot; its after hook was run now")
	d.ledger.Record(ledger.Batch{Events: []ledger.Event{{
		At: d.Now(), Kind: "made-loud", Object: job,
		Text: fmt.Sprintf("the daemon ended during a snapshot; its after hook was run %s later", policy.FormatDuration(held.Round(time.Second))),
	}}})
	return err
}
