package wire

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"
)

const (
	// TipBytes is how long a Tip is.
	TipBytes = 8
	// MaxTipDatasets is how many datasets one exchange of tips may be about.
	MaxTipDatasets = 16 << 10
	sumDigits      = 32 // of a digest over a list
)

// Tip is a digest of what a source must know of one replica to go on from it:
// which dataset it is a copy of, its newest point, its mark and its unfinished
// receive. A source that expects the Tip that the target has needs no lists. The
// zero Tip is that of a replica that cannot be read: nobody expects it.
type Tip [TipBytes]byte

// Tip is computed by both sides: from the disk by the target, and by the source
// from what it expects there.
func (r Replica) Tip() Tip {
	if r.Problem != nil {
		return Tip{}
	}
	var newest string
	if n := len(r.Snapshots); n > 0 {
		newest = string(r.Snapshots[n-1].ID)
	}
	parts := []string{"antipode tip 1", string(r.Path), string(r.ID), newest, "", ""}
	if !r.Mark.IsZero() {
		parts[4] = fmt.Sprintf("%d %s", r.Mark.Generation, r.Mark.ID)
	}
	if !r.Checkpoint.IsZero() {
		parts[5] = asText(r.Checkpoint)
	}
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return Tip(h.Sum(nil)[:TipBytes])
}

// asText is a value in the one form that both sides give it.
func asText(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error() // no value of this package: it has no type that cannot be encoded
	}
	return string(b)
}

// SumTips is the digest of tips in the order of a list.
func SumTips(tips []Tip) string {
	h := sha256.New()
	for _, t := range tips {
		h.Write(t[:])
	}
	return hex.EncodeToString(h.Sum(nil)[:sumDigits/2])
}

// SumList names a list of datasets by its content.
func SumList(asks []InventoryAsk) string {
	h := sha256.New()
	for _, a := range asks {
		text := asText(a)
		fmt.Fprintf(h, "%d:%s", len(text), text)
	}
	return hex.EncodeToString(h.Sum(nil)[:sumDigits/2])
}

// TipsRequest asks whether all replicas of a list are as the source expects.
type TipsRequest struct {
	Job    string `json:"job"`
	Driver string `json:"driver"`
	// List is SumList of the datasets that are asked about.
	List string `json:"list"`
	// Datasets is the list itself, left out where the target may remember it.
	Datasets []InventoryAsk `json:"datasets,omitempty"`
	// Expect is SumTips of what the source expects.
	Expect string `json:"expect"`
	// Still is a bit for each of the list (see Bits), set where the live dataset still
	// held, Age ago, exactly what the newest point that the source expects here holds:
	// nothing had been written since. It counts where the answer is Same.
	Still []byte        `json:"still,omitempty"`
	Age   time.Duration `json:"age_ns,omitempty"`
}

// Bits packs a list of yes and no, the first in the lowest bit of the first byte.
// It is nil where all are no.
func Bits(list []bool) []byte {
	var b []byte
	for i, yes := range list {
		if yes {
			b = append(b, make([]byte, i/8+1-len(b))...)
			b[i/8] |= 1 << (i % 8)
		}
	}
	return b
}

// IsStill returns the i-th bit of Still.
func (r TipsRequest) IsStill(i int) bool {
	return i/8 < len(r.Still) && r.Still[i/8]&(1<<(i%8)) != 0
}

// Tips is the answer, from the disk.
type Tips struct {
	Now   time.Time `json:"now"`
	Usage Usage     `json:"usage"`
	// RPO is what this target alarms at, so that the source confirms often enough; 0
	// is no objective.
	RPO time.Duration `json:"rpo_ns,omitempty"`
	// Unknown says that the target does not remember the list: it has to be sent.
	Unknown bool `json:"unknown,omitempty"`
	// Same says that every replica is as expected.
	Same bool `json:"same,omitempty"`
	// Tips are the target's where they are not as expected, TipBytes each, in
	// the order of the list.
	Tips []byte `json:"tips,omitempty"`
}

// Tip returns the i-th of the answer.
func (t Tips) Tip(i int) Tip { return Tip(t.Tips[i*TipBytes : (i+1)*TipBytes]) }

// All are the tips of the answer.
func (t Tips) All() []Tip {
	all := make([]Tip, len(t.Tips)/TipBytes)
	for i := range all {
		all[i] = t.Tip(i)
	}
	return all
}

// IsAbout reports whether the answer is one to a question about n datasets.
func (t Tips) IsAbout(n int) bool {
	if t.Same || t.Unknown {
		return t.Same != t.Unknown && len(t.Tips) == 0
	}
	return len(t.Tips) == n*TipBytes
}

// JoinTips is the form in which tips travel.
func JoinTips(tips []Tip) []byte {
	var b bytes.Buffer
	for _, t := range tips {
		b.Write(t[:])
	}
	return b.Bytes()
}

// Validate checks the form of a question about tips.
func (r TipsRequest) Validate() error {
	if n := len(r.Datasets); n > MaxTipDatasets {
		return malformed("tips request", "%d datasets, more than %d", n, MaxTipDatasets)
	}
	for _, a := range r.Datasets {
		if err := a.validate(); err != nil {
			return err
		}
	}
	if len(r.Still) > MaxTipDatasets/8 || r.Age < 0 {
		return malformed("tips request", "%d bytes of still, age %s", len(r.Still), r.Age)
	}
	if len(r.Datasets) > 0 && SumList(r.Datasets) != r.List {
		return malformed("tips request", "the list is not what its digest says")
	}
	return first(name("job", r.Job), name("driver", r.Driver), sum("list", r.List), sum("expect", r.Expect))
}

// Validate checks the form of an answer about tips.
func (t Tips) Validate() error {
	if n := len(t.Tips); n%TipBytes != 0 || n > MaxTipDatasets*TipBytes {
		return malformed("tips", "%d bytes", n)
	}
	if t.RPO < 0 {
		return malformed("tips", "an rpo of %s", t.RPO)
	}
	return t.Usage.validate()
}

// sum checks a digest over a list: the form is that of an incarnation.
func sum(what, s string) error {
	if ParseIncarnation(s) != nil {
		return malformed(what, "want %d hexadecimal digits", sumDigits)
	}
	return nil
}
