package receive_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"antipode/fsdrivers/btrfs/btrfstest"
	"antipode/fsdrivers/btrfs/stream"
	"antipode/fsdrivers/btrfs/target"
	"antipode/fsdrivers/dataset"
)

// The attacks of FIELD-NOTES B.5 on plain `btrfs receive`, as whole streams against
// the real target, in the first segment and behind one that was sealed: each is
// refused, nothing is published, and what it aims at is untouched.
func TestAttacksOnBtrfsReceiveAreRefused(t *testing.T) {
	p := newQuickPair(t)
	btrfstest.Fill(t, string(p.DB))
	step := p.Step(p.DB, dataset.Snapshot{}, p.Snapshot(p.DB, 1))
	other := p.Subvolume("other") // another tenant, whose UUID the attacker knows
	btrfstest.Write(t, filepath.Join(string(other), "secret"), []byte("secret"))
	theirs := p.Snapshot(other, 1)
	p.MustCross(p.Step(other, dataset.Snapshot{}, theirs))
	victim := filepath.Join(p.To, "victim")
	btrfstest.Write(t, victim, []byte("untouched"))
	own, foreign := stream.UUID(uuid.MustParse(string(step.To.ID))), stream.UUID(uuid.MustParse(string(theirs.ID)))

	path := func(s string) stream.Attr { return stream.Text(stream.AttrPath, s) }
	ino := stream.Uint64(stream.AttrIno, 300)
	clone := func(from stream.UUID, file string) func(*stream.Encoder) {
		return func(e *stream.Encoder) {
			e.Command(stream.Mkfile, path("loot"), ino)
			e.Command(stream.Clone, stream.Uint64(stream.AttrFileOffset, 0), stream.Uint64(stream.AttrCloneLen, 4096), path("loot"),
				stream.ID(stream.AttrCloneUUID, from), stream.Uint64(stream.AttrCloneCtransid, 7),
				stream.Text(stream.AttrClonePath, file), stream.Uint64(stream.AttrCloneOffset, 0))
		}
	}
	for name, attack := range map[string]func(*stream.Encoder){
		"a file above": func(e *stream.Encoder) {
			e.Command(stream.Mkfile, path("../../../../../victim"), ino)
		},
		"a write above": func(e *stream.Encoder) {
			e.Command(stream.Write, path("../../../../../victim"), stream.Uint64(stream.AttrFileOffset, 0), stream.Text(stream.AttrData, "forged"))
		},
		"a clone from above by its own identity":  clone(own, "../../../../"+string(other)+"/"+theirs.Name+"/secret"),
		"a clone from another received subvolume": clone(foreign, "secret"),
		"a clone that climbs from another one":    clone(foreign, "../secret"),
		"a block device": func(e *stream.Encoder) {
			e.Command(stream.Mknod, path("sda"), ino, stream.Uint64(stream.AttrRdev, 0x800), stream.Uint64(stream.AttrMode, unix.S_IFBLK|0o666))
		},
		"our own attribute": func(e *stream.Encoder) {
			e.Command(stream.SetXattr, path(""), stream.Text(stream.AttrXattrName, "user.antipode.mark"), stream.Text(stream.AttrXattrData, "x"))
		},
		"a second subvolume": func(e *stream.Encoder) { e.First(stream.First{Name: "two", UUID: own, Ctransid: 7}) },
		"a second stream": func(e *stream.Encoder) {
			e.End()
			e.Header()
			e.First(stream.First{Name: "two", UUID: own, Ctransid: 7})
		},
	} {
		for where, before := range map[string]int{"first": 0, "later": 3} {
			t.Run(name+", in the "+where+" segment", func(t *testing.T) {
				e := stream.NewEncoder(1)
				for i := range before { // enough to be sealed
					e.Command(stream.Mkfile, path(strings.Repeat("f", i+1)), ino)
					e.Command(stream.Write, path(strings.Repeat("f", i+1)), stream.Uint64(stream.AttrFileOffset, 0), stream.Text(stream.AttrData, strings.Repeat("x", 60_000)))
				}
				attack(e)
				e.End()
				body, err := e.Bytes()
				btrfstest.Must(t, err)
				p.Remake(func(o *target.Options) { o.Segments = quick(1) })
				r := pieces{strings.NewReader(string(beginning(t, step.To.ID)) + string(body)), 60_000}
				if _, err := p.Target.Receive(context.Background(), dataset.Incoming{Step: step}, r); !errors.Is(err, dataset.ErrRefused) {
					t.Errorf("Receive: %v, want ErrRefused", err)
				}
				if list, err := p.Target.Snapshots(context.Background(), p.DB); err != nil || len(list) != 0 {
					t.Errorf("published: %v, %v", list, err)
				}
				if got, err := os.ReadFile(victim); err != nil || string(got) != "untouched" {
					t.Errorf("the victim holds %q, %v", got, err)
				}
				btrfstest.Must(t, p.Target.Abort(context.Background(), p.DB))
				p.NothingInProgress()
			})
		}
	}
	btrfstest.SameTree(t, btrfstest.AtSource(other, theirs), p.Published(other, theirs))
	p.MustCross(step) // the honest stream after all that
}
