package status

import (
	"fmt"
	"io"
	"time"
)

// Style says what the screen can show.
type Style struct {
	Width int  // columns; 0 is 100
	Rich  bool // a terminal: colours and drawn marks; plain ASCII otherwise
}

// Text draws s for a person. Colour is never the only bearer of a meaning, and
// nothing that a peer or a disk named can steer the terminal.
func Text(w io.Writer, s Status, style Style) error {
	if style.Width <= 0 {
		style.Width = 100
	}
	p := &page{style: style}
	p.head(s)
	p.alerts(s)
	p.peers(s)
	p.pulls(s)
	for _, j := range s.Jobs {
		p.job(s.Now, j)
	}
	p.replicas(s)
	if len(s.Jobs)+len(s.Replicas) == 0 {
		p.line(2, "Nothing to show yet: no [[job]] sends from here, and nothing has arrived for an [[accept]].")
	}
	_, err := w.Write(p.out.Bytes())
	return err
}

func (p *page) head(s Status) {
	left := p.bold(Printable(s.Node))
	switch {
	case s.Started.IsZero():
		left += "  " + p.paint(yellow, "no daemon runs; last known")
	default:
		left += fmt.Sprintf("  antipode %s, up %s", Printable(s.Version), Duration(s.Now.Sub(s.Started)))
		if s.Listen != "" {
			left += ", listens on " + Printable(s.Listen)
		}
	}
	p.ends(left, stamp(s.Now))
	if !s.Limit.IsZero() {
		p.line(0, "rate limit "+s.Limit.Text())
	}
	code, line := Health(s)
	p.line(0, p.paint(codeColour[code], p.mark(code)+line))
}

func (p *page) alerts(s Status) {
	if len(s.Alerts) == 0 {
		return
	}
	p.title("ALERTS")
	for _, a := range s.Alerts {
		p.line(2, fmt.Sprintf("%s  %s  %s", stamp(a.At), p.paint(red, Printable(a.Object)), Printable(a.Text)))
		if a.Error != "" {
			p.line(4, p.paint(yellow, "telling failed: ")+Printable(a.Error))
		}
	}
}

func (p *page) peers(s Status) {
	if len(s.Peers) == 0 {
		return
	}
	p.title("PEERS")
	t := table{head: []string{"name", "address", "link", "clock", "congestion"}, indent: 2}
	for _, x := range s.Peers {
		address := x.Address
		switch {
		case x.Lent > 0:
			address = fmt.Sprintf("(dials us, %d open)", x.Lent)
		case address == "":
			address = "(calls us)"
		case x.Lends > 0:
			address += fmt.Sprintf(" (reversed, %d open)", x.Lends)
		}
		t.add(text(x.Name), text(address), linkCell(s.Now, x), skewCell(x), text(dash(x.CongestionControl)))
		if x.Problem != "" {
			t.note(p.paint(red, "! ") + Printable(x.Problem))
		}
	}
	p.table(t)
}

// pulls shows when this node asks its sources to send.
func (p *page) pulls(s Status) {
	if len(s.Pulls) == 0 {
		return
	}
	p.title("PULLS")
	t := table{head: []string{"from", "driver", "when", "last", "next"}, indent: 2}
	for _, x := range s.Pulls {
		last, next := "never yet", "-"
		if !x.Last.IsZero() {
			last = ago(s.Now, x.Last)
		}
		if x.Next.After(s.Now) {
			next = "in " + Duration(x.Next.Sub(s.Now))
		}
		t.add(text(x.Peer), text(x.Driver), text(x.When), text(last), text(next))
		if x.Problem != "" {
			t.note(p.paint(red, "! ") + Printable(x.Problem))
		}
	}
	p.table(t)
}

func linkCell(now time.Time, x Peer) cell {
	switch {
	case x.Inbound && x.LastContact.IsZero():
		return text("calls us, never yet")
	case x.Inbound:
		return text("calls us, last " + ago(now, x.LastContact))
	case x.Reachable:
		return cell{"up", green}
	case x.LastContact.IsZero():
		return cell{"never reached", yellow}
	}
	return cell{"down, seen " + ago(now, x.LastContact), yellow}
}

// skewWarn is a difference of clocks that is worth a colour: snapshots are named
// and lags are counted in seconds.
const skewWarn = 5 * time.Second

func skewCell(x Peer) cell {
	switch skew := x.ClockSkew; {
	case x.LastContact.IsZero() || x.Inbound:
		return text("-")
	case skew.Abs() >= skewWarn && skew > 0:
		return cell{"ahead " + Duration(skew), yellow}
	case skew.Abs() >= skewWarn:
		return cell{"behind " + Duration(-skew), yellow}
	}
	return text("same")
}

func (p *page) job(now time.Time, j Job) {
	facts := p.rhythm(now, j)
	if j.Driver != "" { // the ledger does not know it
		facts = Printable(j.Driver) + ", " + facts
	}
	if !j.Limit.IsZero() {
		facts += ", rate limit " + j.Limit.Text()
	}
	p.title("JOB "+Printable(j.ID), facts)
	if j.Problem != nil {
		p.problem(2, now, j.Problem)
	}
	t := table{head: []string{"dataset", "to", "state", "lag", "rpo", "last recovery point"}, indent: 2}
	for _, d := range j.Datasets {
		p.dataset(&t, now, d)
	}
	if len(j.Datasets) == 0 {
		p.line(2, "no dataset matches")
		return
	}
	p.table(t)
}

func (p *page) rhythm(now time.Time, j Job) string {
	s := "never ran"
	switch {
	case j.Running:
		s = p.paint(cyan, "runs since "+Duration(now.Sub(j.LastRun)))
	case !j.LastRun.IsZero():
		s = "last run " + ago(now, j.LastRun)
	}
	if j.Held > 0 {
		s += ", its hooks held " + Duration(j.Held)
	}
	if j.Forward != "" {
		s += ", sends on what " + Printable(j.Forward) + " sends"
	}
	for _, by := range j.PulledBy {
		s += ", pulled by " + Printable(by.Peer)
		if by.When != "" {
			s += ", " + Printable(by.When)
		}
		if by.Last.IsZero() {
			s += ", not yet"
		}
	}
	if j.NextReplication.After(now) {
		s += ", replicates in " + Duration(j.NextReplication.Sub(now))
	}
	switch {
	case j.Paused:
		return s + ", " + p.paint(yellow, "paused")
	case j.NextRun.IsZero() && (len(j.PulledBy) > 0 || j.Forward != ""):
		return s
	case j.NextRun.IsZero():
		return s + ", no next run"
	case j.NextRun.After(now):
		return s + ", next in " + Duration(j.NextRun.Sub(now))
	}
	return s + ", next now"
}

func (p *page) dataset(t *table, now time.Time, d Dataset) {
	name := Printable(string(d.Path))
	if d.Role != "" && d.Role != "primary" {
		name += " (" + Printable(d.Role) + ")"
	}
	if len(d.Peers) == 0 {
		t.add(text(name), text("-"), text("-"), text("-"), text("-"), pointCell(d.Snapshot))
	}
	for i, x := range d.Peers {
		if i > 0 {
			name = ""
		}
		seeding := ""
		if x.LastPoint.IsZero() {
			seeding = seedingText(x.Seeding, x.Moving)
		}
		t.add(text(name), text(x.Peer), p.state(x.State), lagCell(x.LastPoint, x.Lag, x.RPO), rpoCell(x.RPO), orElse(pointCell(x.LastPoint), seeding))
		p.moving(t, x.Moving, "sending")
		p.failure(t, now, x.LastError)
	}
	if d.Problem != nil {
		p.failure(t, now, d.Problem)
	}
}

func (p *page) replicas(s Status) {
	if len(s.Replicas) == 0 {
		return
	}
	p.title("HELD FOR OTHERS")
	t := table{head: []string{"dataset", "from", "state", "lag", "rpo", "last recovery point", "points"}, indent: 2}
	for _, r := range s.Replicas {
		name := Printable(string(r.Path))
		switch {
		case r.InPlace:
			name += " (" + Printable(r.Role) + ", in place)"
		case r.Role != "" && r.Role != "standby" && r.Role != string(r.State):
			name += " (" + Printable(r.Role) + ")"
		}
		seeding := ""
		if r.LastPoint.IsZero() {
			seeding = seedingText(nil, r.Receiving)
		}
		t.add(text(name), text(r.From), p.state(r.State), lagCell(r.LastPoint, r.Lag, r.RPO), rpoCell(r.RPO),
			orElse(pointCell(r.LastPoint), seeding), text(fmt.Sprint(r.Points)))
		p.moving(&t, r.Receiving, "receiving")
		p.failure(&t, s.Now, r.LastError)
		p.failure(&t, s.Now, r.Problem)
	}
	p.table(t)
}
