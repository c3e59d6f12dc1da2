package standby

import (
	"testing"

	"antipode/fsdrivers/zfs/naming"
	"antipode/fsdrivers/zfs/pool"
	"antipode/fsdrivers/zfs/prop"
	"antipode/fsdrivers/zfs/stream"
	"antipode/fsdrivers/zfs/token"
)

func TestACheckpointIsOfTheStepThatWasWrittenDown(t *testing.T) {
	in := Incoming{Step: "0123456789abcdef0123456789abcdef", To: naming.IDOf(3), From: naming.IDOf(4), Name: "antipode_x"}
	own := token.Token{Position: stream.Position{Object: 1}, Bytes: 99, ToGUID: 3, FromGUID: 4, ToName: "tank@x"}
	with := func(change func(*token.Token)) string {
		tok := own
		change(&tok)
		return tok.String()
	}
	for name, c := range map[string]struct {
		token string
		want  bool
	}{
		"its own":            {own.String(), true},
		"another snapshot's": {with(func(t *token.Token) { t.ToGUID = 5 }), false},
		"another base's":     {with(func(t *token.Token) { t.FromGUID = 5 }), false},
		"of a full copy":     {with(func(t *token.Token) { t.FromGUID = 0 }), false},
		"damaged":            {own.String() + "0", false},
		"none":               {"", false},
	} {
		l := &Lineage{Name: "dst/a", Facts: pool.Facts{"dst/a": {prop.Incoming: in.Text(), "receive_resume_token": c.token}}}
		got := l.Checkpoint()
		if !got.IsZero() != c.want {
			t.Errorf("%s: got %+v", name, got)
		}
		if c.want && (got.Step != in.Step || got.Done != 99 || got.Kind != stream.CheckpointKind) {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}
