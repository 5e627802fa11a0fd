package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-ha/holdfast/cluster/api"
)

// choice says how the host of a VM was chosen, and why each other was not.
func (p *program) choice(title string, c *api.ChoiceView) {
	p.say("")
	text := "on " + c.Host
	if c.From != "" {
		text = "from " + c.From + " to " + c.Host
	}
	if c.Generation != 0 {
		text += fmt.Sprintf(", generation %d", c.Generation)
	}
	text += fmt.Sprintf(", %s (%s ago)", c.At.In(p.zone).Format("2006-01-02 15:04:05"), p.ago(c.At))
	if c.Why != "" {
		text += ": " + c.Why
	}
	p.say("%s", title)
	p.paragraph("  ", text)
	p.lots("  ", c.Considered)
}

// lots lists the hosts that were looked at for a decision: what was true of them then.
func (p *program) lots(indent string, lots []api.LotView) {
	for _, l := range lots {
		label := "not"
		if l.Rank > 0 {
			label = ordinal(l.Rank)
			if n := len(l.Hosts); n > 1 {
				label += " to " + ordinal(l.Rank+n-1)
			}
		}
		text := ranges(l.Hosts)
		if l.Chosen {
			text += ", chosen"
		}
		said := l.Text
		if said == "" { // there was no room for more
			said = "excluded: " + l.Excluded
		}
		p.paragraph(indent+pad(label, 13)+" ", text+": "+said)
	}
}

// ordinal is a number in an order, as people write it.
func ordinal(n int) string {
	end := "th"
	if tens := n % 100; tens < 11 || tens > 13 {
		switch n % 10 {
		case 1:
			end = "st"
		case 2:
			end = "nd"
		case 3:
			end = "rd"
		}
	}
	return strconv.Itoa(n) + end
}

// ranges lists names, those that are numbered one after the other as the first to the last.
func ranges(names []string) string {
	type numbered struct {
		name, stem string
		n, width   int // n is -1 where there is no number
	}
	all := make([]numbered, len(names))
	for i, name := range names {
		stem := strings.TrimRight(name, "0123456789")
		n, err := strconv.Atoi(name[len(stem):])
		if err != nil {
			n = -1
		}
		all[i] = numbered{name, stem, n, len(name) - len(stem)}
	}
	slices.SortFunc(all, func(a, b numbered) int {
		return cmp.Or(strings.Compare(a.stem, b.stem), cmp.Compare(a.n, b.n), strings.Compare(a.name, b.name))
	})
	var out []string
	for i := 0; i < len(all); {
		end := i + 1
		for end < len(all) && all[end-1].n >= 0 && all[end].name == fmt.Sprintf("%s%0*d", all[i].stem, all[end-1].width, all[end-1].n+1) {
			end++
		}
		if end-i > 2 {
			out = append(out, all[i].name+" to "+all[end-1].name)
			i = end
			continue
		}
		out = append(out, all[i].name)
		i++
	}
	return strings.Join(out, ", ")
}
