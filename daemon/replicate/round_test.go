package replicate_test

import (
	"testing"

	"antipode/daemon/policy"
	"antipode/daemon/replicate"
	"antipode/fsdrivers/dataset"
)

// How encrypted datasets are sent is part of the step: another wish is another
// step, so that nothing goes on half raw, half plain.
func TestEncryptionIsAFlagOfTheStep(t *testing.T) {
	seen := map[dataset.StepID]policy.Encryption{}
	for _, e := range []policy.Encryption{policy.EncryptionAuto, policy.EncryptionRaw, policy.EncryptionPlain} {
		job := policy.Job{ID: "db", Driver: policy.ZFS, Encryption: e}
		p, err := replicate.Decide(t.Context(), nil, replicate.Facts{
			Job: job, Dataset: dataset.Dataset{Path: "tank/db", ID: "1"}, Snapshots: []dataset.Snapshot{{Name: "antipode_1", ID: "2"}},
		})
		if err != nil || len(p.Steps) != 1 || p.Steps[0].Flags != string(e) {
			t.Fatalf("%q: got %+v, %v, want one step with that flag", e, p.Steps, err)
		}
		if other, same := seen[p.Steps[0].ID()]; same {
			t.Errorf("%q and %q are the same step", e, other)
		}
		seen[p.Steps[0].ID()] = e
	}
}
