package listing

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"antipode/fsdrivers/dataset"
)

// A version is a digest of the answers themselves. What they are made of is read with
// one process for each root of many datasets; of a dataset in which nothing happened
// the list is known, and costs none. Holds that somebody else sets under our names are
// seen only when something else changed too: snapshots_changed does not tell of them.

// Digest is a version: of what is listed of a dataset and of its facts.
func Digest(list []dataset.Snapshot, facts ...string) string {
	h := sha256.New()
	e := json.NewEncoder(h)
	_ = e.Encode(facts) // of texts, times and numbers into memory: it cannot fail
	_ = e.Encode(list)
	return hex.EncodeToString(h.Sum(nil)[:16])
}
