package status

import "strings"

// cell is one field of a table. Its text is measured without its colour.
type cell struct {
	text   string
	colour colour
}

func text(s string) cell { return cell{text: Printable(s)} }

// table is rows of cells with notes below a row.
type table struct {
	head   []string
	indent int
	rows   []row
}

type row struct {
	cells []cell
	notes []string
}

func (t *table) add(cells ...cell) { t.rows = append(t.rows, row{cells: cells}) }

// note hangs lines below the last row.
func (t *table) note(lines ...string) {
	r := &t.rows[len(t.rows)-1]
	r.notes = append(r.notes, lines...)
}

// minName is the least that the first column, which holds the longest names,
// is given before they all go on lines of their own.
const minName = 16

// table writes t with columns as wide as they need. A name that leaves no room
// for the other columns stands on a line of its own.
func (p *page) table(t table) {
	widths := t.widths()
	room := p.style.Width - t.indent - sum(widths[1:]) + 2 // the last column needs no gap
	if widths[0] > room {
		widths[0] = room
		if room < minName {
			widths[0] = 2
		}
	}
	head := make([]cell, len(t.head))
	for i, h := range t.head {
		head[i] = cell{strings.ToUpper(h), dim}
	}
	p.row(t.indent, widths, head)
	for _, r := range t.rows {
		p.row(t.indent, widths, r.cells)
		for _, n := range r.notes {
			p.line(t.indent+2, n)
		}
	}
}

// widths are those of the columns, gaps included.
func (t table) widths() []int {
	w := make([]int, len(t.head))
	for i := range w {
		w[i] = len(t.head[i])
		for _, r := range t.rows {
			w[i] = max(w[i], visible(r.cells[i].text))
		}
		w[i] += 2
	}
	return w
}

func (p *page) row(indent int, widths []int, cells []cell) {
	pad := strings.Repeat(" ", indent)
	line := pad
	for i, c := range cells {
		text := p.paint(c.colour, c.text)
		if i == 0 && visible(c.text)+2 > widths[0] {
			p.out.WriteString(pad + text + "\n")
			c.text, text = "", ""
		}
		line += text + strings.Repeat(" ", max(0, widths[i]-visible(c.text)))
	}
	p.out.WriteString(strings.TrimRight(line, " ") + "\n")
}

func sum(widths []int) (n int) {
	for _, w := range widths {
		n += w
	}
	return n
}
