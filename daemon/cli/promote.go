package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"antipode/daemon/control"
	"antipode/daemon/status"
	"antipode/fsdrivers/dataset"
)

// errDeclined means that the operator did not confirm.
var errDeclined = errors.New("not confirmed; nothing was changed")

func (a *app) promoteCommand() *cobra.Command {
	var req control.PromoteRequest
	var yes bool
	cmd := &cobra.Command{
		Use: "promote DATASET", Short: "Make this node primary of a dataset that it holds for a peer",
		Long: "Make this node primary of a dataset that it holds for a peer, when the peer is lost. The newest recovery\n" +
			"point becomes a live, writable dataset; what was written on the old primary after that point is not in it.\n" +
			"DATASET is the path that the source calls it by.\n\n" +
			"A copy goes live, which shares its data with the replica. With --in-place (ZFS) the replica itself does, and nothing\n" +
			"can be received until this side gives way to another primary (resolve --with give-way).",
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeDatasets(0),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if req.Dataset, err = dataset.ParsePath(args[0]); err != nil {
				return usageError{err}
			}
			return a.promote(cmd, req, yes)
		},
	}
	f := cmd.Flags()
	f.StringVar(&req.From, "from", "", "the `PEER` that it was received from, where several send one of that name")
	f.StringVar(&req.Snapshot, "snapshot", "", "the recovery point, by `NAME` (default: the newest)")
	f.BoolVar(&req.InPlace, "in-place", false, "make the replica itself live, and no copy of it (ZFS, the newest point)")
	f.BoolVar(&req.Force, "force", false, "although the old primary still answers")
	f.StringVar(&req.Reason, "reason", "", "`WHY`, for the history of both nodes")
	a.completeFlag(cmd, "snapshot")
	f.BoolVar(&yes, "yes", false, "do not ask for a confirmation")
	return a.jsonFlag(cmd)
}

// promote shows what would be, asks, and does it.
func (a *app) promote(cmd *cobra.Command, req control.PromoteRequest, yes bool) error {
	ctx := cmd.Context()
	req.Preview = true
	before, err := call[control.PromoteRequest, control.PromoteResponse](ctx, a, control.Promote, req)
	if err != nil {
		return err
	}
	p := &printer{}
	p.promotion(before)
	io.WriteString(cmd.ErrOrStderr(), p.String()) //nolint:errcheck // the facts are for a person; the decision is the answer
	if before.PrimaryReachable && !req.Force {
		return &control.Error{
			Kind: control.KindRefused, Object: before.From, Text: "the old primary answers, so it may still be written to",
			Next: "stop the writers there and let a last run arrive (`antipode trigger JOB --wait` there); if it must be now, add --force",
		}
	}
	if !yes {
		if err := confirm(ctx, cmd, string(req.Dataset)); err != nil {
			return err
		}
	}
	req.Preview = false
	done, err := call[control.PromoteRequest, control.PromoteResponse](ctx, a, control.Promote, req)
	if err != nil {
		return err
	}
	return a.show(cmd, done, func(p *printer) { p.promoted(done) })
}

func (p *printer) promotion(r control.PromoteResponse) {
	point, lost := "none", "there is nothing to promote"
	if r.Point != "" {
		point = fmt.Sprintf("%s, made %s", r.Point, stamp(r.PointTime))
		lost = fmt.Sprintf("what was written on %s in the %s since then", r.From, status.Duration(r.Age))
	}
	primary := r.From + " does not answer"
	if r.PrimaryReachable {
		primary = r.From + " answers"
	}
	rows := [][]string{
		{"dataset", string(r.Dataset)},
		{"role here", fmt.Sprintf("%s, generation %d", r.Role, r.Generation)},
		{"old primary", primary},
		{"recovery point", point},
		{"is lost", lost},
	}
	if r.InPlace {
		rows = append(rows, []string{"goes live", "the replica itself: nothing is received until this side gives way"})
	}
	if n := len(r.Newer); n > 0 {
		rows = append(rows, []string{"left behind", fmt.Sprintf("%d newer recovery points, up to %s", n, r.Newer[n-1])})
	}
	if r.Receiving {
		rows = append(rows, []string{"is cut off", "a newer recovery point that is arriving now"})
	}
	p.columns(0, rows...)
}

func (p *printer) promoted(r control.PromoteResponse) {
	p.line(0, "%s is live at %s, generation %d, after %s", r.Dataset, r.Live, r.Generation, status.Duration(r.Took))
	if r.InPlace {
		p.line(0, "it is the replica itself: nothing is received until this side gives way (antipode resolve %s --with give-way)", r.Dataset)
	}
	if r.SetAside != "" {
		p.line(0, "what was there is kept at %s", r.SetAside)
	}
}

// confirm has the operator type the dataset's name: a "y" is typed too easily.
func confirm(ctx context.Context, cmd *cobra.Command, name string) error {
	if _, ok := terminal(cmd.InOrStdin()); !ok {
		return usageError{errors.New("nobody is there to confirm: standard input is no terminal; add --yes")}
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "Type the dataset's name to make it live here: ")
	return typed(ctx, cmd.InOrStdin(), name)
}

// typed waits for the name, or for an interrupt; a read from a terminal cannot
// be cancelled, and ends with the process.
func typed(ctx context.Context, in io.Reader, name string) error {
	line := make(chan string, 1)
	go func() {
		s, err := bufio.NewReader(in).ReadString('\n')
		if err != nil {
			s = ""
		}
		line <- s
	}()
	select {
	case <-ctx.Done():
		return errDeclined
	case s := <-line:
		if strings.TrimSpace(s) != strings.TrimSpace(name) {
			return errDeclined
		}
		return nil
	}
}
