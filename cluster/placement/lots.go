package placement

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Lot is some of the hosts that were looked at for a VM, of which the same is to be said.
type Lot struct {
	// Hosts are their names: by rank, or in the order in which they were looked at.
	Hosts []string
	// Excluded is the constraint that excluded them; empty: they could have taken the VM.
	Excluded Reason
	// Rule is the rule that excluded them.
	Rule string
	// Rank is that of the first of them, from 1; 0: excluded.
	Rank int
	// Text has the figures in words: one host's, or from the least to the most. It is empty
	// for hosts that are excluded where only Brief was asked for.
	Text string
}

// Detail is how much is said of the hosts that a VM did not go to.
type Detail int

const (
	// Brief says by which constraint hosts are excluded, and no more.
	Brief Detail = iota
	// Ranges puts hosts together, with the range of their figures, but for the first few.
	Ranges
	// Each says of every host all that there is to be said.
	Each
)

// DetailFor is how much can be said of so many hosts in a few lines.
func DetailFor(hosts int) Detail {
	if hosts <= 8 {
		return Each
	}
	return Ranges
}

// Lots puts together what was said of hosts: the host that the VM went to first (none where
// to is empty), then the others by rank, then those that were excluded, by constraint. Each
// host is in one lot.
func Lots(all []Considered, to string, detail Detail) []Lot {
	ranked, out := make([]*Considered, 0, len(all)), make([]*Considered, 0, len(all))
	for i := range all {
		if c := &all[i]; c.Excluded == "" {
			ranked = append(ranked, c)
		} else {
			out = append(out, c)
		}
	}
	slices.SortFunc(ranked, func(a, b *Considered) int { return cmp.Or(a.Score.better(b.Score), strings.Compare(a.Host, b.Host)) })
	return append(lotsRanked(ranked, to, detail), lotsExcluded(out, detail)...)
}

// namedApart is how many of the hosts that rank behind are spoken of one by one where not all are.
const namedApart = 3

// lotsRanked puts hosts together that one figure holds back. As scores are compared figure
// by figure, they are next to one another.
func lotsRanked(ranked []*Considered, to string, detail Detail) (lots []Lot) {
	won := slices.IndexFunc(ranked, func(c *Considered) bool { return c.Host == to })
	if won >= 0 {
		lots = append(lots, Lot{Hosts: []string{to}, Rank: won + 1, Text: ranked[won].Score.String()})
	}
	apart := map[Detail]int{Each: len(ranked), Ranges: namedApart}[detail]
	behind := make([]string, len(ranked))
	for i := range behind {
		switch {
		case won < 0:
		case i < won:
			behind[i] = "ranks before it"
		default:
			behind[i] = ranked[i].Score.behind(ranked[won].Score)
		}
	}
	for i := 0; i < len(ranked); {
		if i == won {
			i++
			continue
		}
		why, end := behind[i], i+1
		if apart--; apart < 0 {
			for end < len(ranked) && end != won && behind[end] == why {
				end++
			}
		}
		lot := Lot{Rank: i + 1, Text: rangeOf(ranked[i:end]), Hosts: make([]string, 0, end-i)}
		if why != "" {
			lot.Text = why + ": " + lot.Text
		}
		for _, c := range ranked[i:end] {
			lot.Hosts = append(lot.Hosts, c.Host)
		}
		lots = append(lots, lot)
		i = end
	}
	return lots
}

// behind says in a few words what makes a rank after b, which ranks before it.
func (a Score) behind(b Score) string {
	// Whole words, not put together: it is asked of each host that ranks behind.
	memory := [2]string{"more memory used", "less memory used"}
	cpus, vms := [2]string{"more virtual CPUs", "less virtual CPUs"}, [2]string{"more VMs there", "less VMs there"}
	if a.measured {
		memory, cpus = [2]string{"more memory really used", "less memory really used"}, [2]string{"more busy processors", "less busy processors"}
	}
	more := 0
	if a.pack {
		more = 1
	}
	switch {
	case a.Uneven != b.Uneven:
		return "less even"
	case a.Returns != b.Returns:
		return "not where it goes back to"
	case a.FailedHere != b.FailedHere:
		return "a start or move failed there"
	case a.Preference != b.Preference:
		return "less preferred"
	case a.Broken != b.Broken:
		return "more rules are broken"
	case a.Members != b.Members:
		return "more of its group there"
	case a.Failover != b.Failover:
		return "not kept for failover"
	case a.Home != b.Home:
		return "not its home"
	case !a.pack && a.MemoryUsed/memoryStep == b.MemoryUsed/memoryStep && a.CPUs != b.CPUs:
		return cpus[0]
	case a.MemoryUsed != b.MemoryUsed:
		return memory[more]
	case a.CPUs != b.CPUs:
		return cpus[more] // by Pack, or it was said above
	case !a.pack && a.Free != b.Free:
		return "less memory is left"
	case a.VMs != b.VMs:
		return vms[more]
	}
	return "alike, but for the name"
}

// rangeOf has the figures of hosts in words, from the least to the most.
func rangeOf(some []*Considered) string {
	low, high := some[0].Score, some[0].Score
	for _, c := range some[1:] {
		s := c.Score
		low.MemoryUsed, high.MemoryUsed = min(low.MemoryUsed, s.MemoryUsed), max(high.MemoryUsed, s.MemoryUsed)
		low.CPUs, high.CPUs = min(low.CPUs, s.CPUs), max(high.CPUs, s.CPUs)
		low.VMs, high.VMs = min(low.VMs, s.VMs), max(high.VMs, s.VMs)
		low.Uneven, high.Uneven = min(low.Uneven, s.Uneven), max(high.Uneven, s.Uneven)
	}
	if len(some) == 1 {
		return low.String()
	}
	var words []string
	if high.Uneven > 0 {
		words = append(words, "load "+between(fmt.Sprintf("%.1f %% uneven", low.Uneven), fmt.Sprintf("%.1f %% uneven", high.Uneven)))
	}
	used, processors := low.units()
	percent := func(n int64) string { return fmt.Sprintf("%d.%d %% %s", n/1000, n%1000/100, used) }
	cpus := func(n int64) string { return fmt.Sprintf("%d.%02d %s per processor", n/100, n%100, processors) }
	count := vms(high.VMs)
	if low.VMs < high.VMs {
		count = fmt.Sprintf("%d to %s", low.VMs, count)
	}
	words = append(words, "memory "+between(percent(low.MemoryUsed), percent(high.MemoryUsed)), between(cpus(low.CPUs), cpus(high.CPUs)),
		count)
	return strings.Join(words, ", ")
}

// between writes two figures, each with its unit, as from the least to the most.
func between(low, high string) string {
	if low == high {
		return low
	}
	figure, unit, _ := strings.Cut(low, " ")
	if figure == "0" || strings.HasSuffix(high, " "+unit) { // none is none, in whatever unit
		return figure + " to " + high
	}
	return low + " to " + high
}

// alike is how many lots one constraint makes at most where not every host is spoken of.
const alike = 3

// lotsExcluded puts hosts together that one constraint excludes, in one way as far as that
// keeps their number down.
func lotsExcluded(out []*Considered, detail Detail) (lots []Lot) {
	type way struct {
		excluded Reason
		words    [3]string
	}
	wayOf := func(c *Considered) way {
		switch {
		case detail == Each:
			return way{c.Excluded, [3]string{c.text()}}
		case detail == Brief:
			return way{excluded: c.Excluded}
		case c.Excluded == ApartFrom: // another VM on each host
			return way{c.Excluded, [3]string{c.Rule}}
		}
		return way{c.Excluded, [3]string{c.Rule, c.What, c.Detail}}
	}
	ways := map[way]bool{}
	number := map[Reason]int{}
	for _, c := range out {
		if w := wayOf(c); !ways[w] {
			ways[w] = true
			number[c.Excluded]++
		}
	}
	at := map[way]int{}
	var members [][]*Considered
	for _, c := range out {
		w := wayOf(c)
		if detail == Ranges && number[c.Excluded] > alike {
			w = way{excluded: c.Excluded}
		}
		i, known := at[w]
		if !known {
			i = len(members)
			at[w] = i
			members = append(members, nil)
		}
		members[i] = append(members[i], c)
	}
	for _, some := range members {
		lot := Lot{Excluded: some[0].Excluded}
		for _, c := range some {
			lot.Hosts = append(lot.Hosts, c.Host)
		}
		if detail != Brief {
			lot.Rule, lot.Text = exclusion(some)
		}
		lots = append(lots, lot)
	}
	return lots
}

// exclusion says of hosts that one constraint excludes how it does, with their figures from
// the least to the most, and the rule where it is one.
func exclusion(some []*Considered) (rule, text string) {
	c, most := *some[0], some[0].Have
	oneWay, oneRule, oneThing := true, true, true
	for _, x := range some[1:] {
		c.Have, most = min(c.Have, x.Have), max(most, x.Have)
		if x.All != c.All {
			c.All = 0
		}
		oneWay, oneRule, oneThing = oneWay && x.Detail == c.Detail, oneRule && x.Rule == c.Rule, oneThing && x.What == c.What
	}
	if !oneRule {
		c.Rule = ""
	}
	switch {
	case !oneThing:
		text = "not enough of " + c.What + ", or of something else that it needs, is free"
	case c.Have != most && c.Excluded == TooSmall && oneWay:
		text = fmt.Sprintf("have %s for VMs in all, %s are needed", between(amount(c, c.Have), amount(c, most)), amount(c, c.Need))
	case c.Have != most && c.Excluded == TooSmall:
		text = "are too small for it even when they are empty"
	case c.Have != most:
		text = fmt.Sprintf("%s free, %s needed", between(amount(c, c.Have), amount(c, most)), amount(c, c.Need))
	case c.Excluded == ApartFrom && !oneWay:
		c.Detail = "VMs run there that it must be apart from"
		text = c.text()
	case c.Excluded == BreaksRule && !oneRule:
		text = "rules forbid it"
	case (c.Excluded == HostDown || c.Excluded == HostClosed || c.Excluded == InMaintenance) && !oneWay:
		c.Detail = ""
		text = c.text()
	case !oneWay:
		text = c.text() + ", or the like"
	default:
		text = c.text()
	}
	return c.Rule, text
}
