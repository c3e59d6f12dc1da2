// Package drivertest is the contract suite of fsdrivers.Source and
// fsdrivers.Target: each sentence of each comment there is a case here. Every
// driver runs it, the fake always, real file systems from integration.
//
// It must not know which driver it runs.
package drivertest

import (
	"slices"
	"testing"
	"time"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
)

// Harness is a pair of drivers on separate file systems, and the hands of a
// user on both. What cannot be done fails the test that the Harness was made
// for, unless the method returns an error.
type Harness interface {
	Source() fsdrivers.Source
	Target() fsdrivers.Target
	// Now is what the target's clock says; it stands still.
	Now() time.Time
	// Reopen throws the driver values away and makes new ones on the same
	// disks, as a daemon that starts again does.
	Reopen()

	// Path is what the source's dataset of that name is called. A name is a
	// clean relative path; all names of a Harness are below Path("").
	Path(name string) dataset.Path
	// Make makes a live dataset on the source.
	Make(name string) dataset.Dataset
	// MakeDir makes a directory on the source that is no dataset.
	MakeDir(name string) dataset.Path

	// Write writes a file of a live dataset on the source, Delete removes one.
	Write(d dataset.Path, file string, data []byte) error
	Delete(d dataset.Path, file string) error
	// Read reads a file of a published snapshot on the target. Errors:
	// fs.ErrNotExist or dataset.ErrNotFound where it has no such file.
	Read(d dataset.Path, snapshot, file string) ([]byte, error)
	// WriteAt and ReadAt do the same where Activated says that data are.
	WriteAt(where, file string, data []byte) error
	ReadAt(where, file string) ([]byte, error)
}

// What a Harness may be able to do beyond that. There is no case that needs what a
// Harness is said to lack.

// Filler takes all room on the target's file system but about that many bytes,
// and gives it back.
type Filler interface {
	Fill(leave int64)
	Drain()
}

// Remover destroys snapshots past the drivers, as a person would.
type Remover interface {
	RemoveSent(d dataset.Path, snapshot string)
	RemoveReceived(d dataset.Path, snapshot string)
}

// Vanisher destroys a live dataset on the source with all its snapshots.
type Vanisher interface {
	Vanish(d dataset.Path)
}

// Copier makes somebody's read-only duplicate of a received snapshot, on the
// target's file system. It is older than the received one where it can be.
type Copier interface {
	ForeignCopy(d dataset.Path, snapshot string)
}

// Litterer leaves on the target what a daemon leaves that is killed when it has
// taken in the first part of a stream. The driver values stay usable only for
// Reopen.
type Litterer interface {
	Litter(in dataset.Incoming, part []byte)
	// Leftovers names what lies about of unfinished receives.
	Leftovers() []string
}

// Outsider makes a read-only snapshot of a live dataset as another tool would, and
// gives a source that lists those of others that include names.
type Outsider interface {
	MakeForeign(d dataset.Path, name string)
	SourceWith(include func(name string) bool) fsdrivers.Source
}

// Guard lists what is on the target's file system outside of what the driver is
// bound to, in any text that changes when any of it does.
type Guard interface {
	Outside() []string
}

// Returner gives the source on the target's host, for the way back.
type Returner interface {
	SourceAtTarget() fsdrivers.Source
}

// Chainer gives a target on a third file system, for what the target sends on, and
// reads what is published there as Read does.
type Chainer interface {
	Beyond() fsdrivers.Target
	ReadBeyond(d dataset.Path, snapshot, file string) ([]byte, error)
}

// Namer lists the hardest names that its file system takes, where these are not
// those of POSIX.
type Namer interface {
	HardNames() []string
}

// Resumer tells whether an interrupted receive leaves a checkpoint; a Harness that
// is none says that it does.
type Resumer interface {
	Resumes() bool
}

// Nester tells whether datasets may lie below datasets; with a Harness that is none
// they may.
type Nester interface {
	Nests() bool
}

// Settler lets as much time pass as its file system needs to be sure that what
// changes next is told from what changed last.
type Settler interface {
	Settle()
}

// testCase is one sentence of the contract.
type testCase struct {
	name string // the sentence; fakes cite it
	run  func(w *world)
}

// Run runs every case but those that need what the Harness lacks. newHarness gives
// each a fresh one, which cleans up with t.Cleanup.
func Run(t *testing.T, newHarness func(t *testing.T) Harness, lacks ...Ability) {
	RunSome(t, func(string) bool { return true }, newHarness, lacks...)
}

// RunSome runs the cases that pick picks by name, where all of them would take too
// long.
func RunSome(t *testing.T, pick func(name string) bool, newHarness func(t *testing.T) Harness, lacks ...Ability) {
	can := able(t, newHarness(t), lacks)
	for _, group := range groups() {
		if slices.ContainsFunc(group.needs, func(a Ability) bool { return !can[a] }) {
			continue
		}
		t.Run(group.name, func(t *testing.T) {
			for _, c := range group.cases {
				if !pick(group.name + "/" + c.name) {
					continue
				}
				t.Run(c.name, func(t *testing.T) { c.run(newWorld(t, newHarness(t))) })
			}
		})
	}
}

// group is cases that need the same abilities.
type group struct {
	name  string
	cases []testCase
	needs []Ability
}

func groups() []group {
	need := func(a ...Ability) []Ability { return a }
	return []group{
		{"list", listCases(), nil},
		{"nested", nestedCases(), need(Nests)},
		{"snapshot", snapshotCases(), nil},
		{"transfer", transferCases(), nil},
		{"refuse", refuseCases(), nil},
		{"interrupt", interruptCases(), nil},
		{"resume", resumeCases(), need(Resumes)},
		{"crash", crashCases(), need(Litters)},
		{"vanish", vanishCases(), need(Vanishes)},
		{"foreign", foreignCases(), need(Copies)},
		{"keep", onBothSides(keepCases()), nil},
		{"keep many", onBothSides(manyCases()), need(DestroysAll)},
		{"free", onBothSides(freeCases()), need(Frees)},
		{"bookmark", bookmarkCases(), need(Bookmarks)},
		{"by hand", byHandCases(), need(Removes)},
		{"mark", markCases(), nil},
		{"activate", activateCases(), nil},
		{"return", returnCases(), need(Returns)},
		{"in place", inPlaceCases(), need(InPlaces)},
		{"in place and aside", inPlaceAsideCases(), need(InPlaces, Moves, Disowns)},
		{"in place and back", inPlaceReturnCases(), need(InPlaces, Returns)},
		{"bounds", boundsCases(), nil},
		{"full", fullCases(), need(Fills)},
		{"outside", outsideCases(), need(Guards)},
		{"version", versionCases(), need(Versions)},
		{"version by hand", versionByHandCases(), need(Versions, Removes)},
		{"compare", compareCases(), need(Compares)},
		{"compare many", compareManyCases(), need(ComparesAll)},
		{"move", moveCases(), need(Moves)},
		{"move nested", moveNestedCases(), need(Moves, Nests)},
		{"move outside", moveOutsideCases(), need(Moves, Guards)},
		{"disown", disownCases(), need(Disowns)},
		{"disown and move", disownAndMoveCases(), need(Disowns, Moves)},
		{"onward", onwardCases(), need(Forwards)},
		{"onward and resume", onwardResumeCases(), need(Forwards, Resumes)},
		{"onward and move", onwardMoveCases(), need(Forwards, Moves)},
		{"include", includeCases(), need(Includes)},
		{"include and compare", includeCompareCases(), need(Includes, Compares)},
	}
}
