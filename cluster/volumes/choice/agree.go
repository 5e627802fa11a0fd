package choice

import (
	"cmp"
	"slices"
	"strings"
)

func (h Host) report(path string) *Report {
	for i := range h.Reports {
		if h.Reports[i].Path == path {
			return &h.Reports[i]
		}
	}
	return nil
}

// Agreed is the volume that hosts find at a path, or why there is none: the master and
// most of the live hosts have to find it, nobody another one, and nobody that is heard
// has yet to look.
func Agreed(hosts []Host, path string) (id, why string) {
	var unsaid, without []string
	found := map[string][]string{} // hosts, by id
	live, master, name := 0, "", ""
	for _, h := range hosts {
		live++
		r := h.report(path)
		switch {
		case h.Silent:
			without = append(without, h.Name+": it is silent")
		case r == nil:
			unsaid = append(unsaid, h.Name)
		case r.ID == "":
			without = append(without, h.Name+": "+r.Error)
			if h.Self {
				master, name = cmp.Or(r.Error, "it does not say why"), h.Name
			}
		default:
			found[r.ID] = append(found[r.ID], h.Name)
		}
	}
	switch {
	case len(unsaid) > 0:
		return "", strings.Join(unsaid, ", ") + " has yet to say what it finds there"
	case len(found) > 1:
		return "", "not every host finds the same volume there: " + disagreement(found)
	case master != "":
		return "", "the master, " + name + ", cannot use it: " + master
	}
	for one, hosts := range found {
		if 2*len(hosts) > live {
			return one, ""
		}
	}
	return "", "most of the live hosts have to find it, and these do not: " + strings.Join(without, "; ")
}

// disagreement says who finds which volume.
func disagreement(found map[string][]string) string {
	var parts []string
	for id, hosts := range found {
		parts = append(parts, id+" on "+strings.Join(hosts, ", "))
	}
	slices.Sort(parts)
	return strings.Join(parts, "; ")
}

// Failing reports whether a volume in use fails on most of the live hosts, by what they
// say now. One that is not heard over the network says nothing.
func Failing(hosts []Host, path string) bool {
	n := 0
	for _, h := range hosts {
		if r := h.report(path); r != nil && r.Failing && h.Fresh && !h.Silent {
			n++
		}
	}
	return 2*n > len(hosts)
}

// place is the kind and the server of what is at a path, as most hosts say that know;
// of as many the first by name, so that the order of hosts does not count.
func place(hosts []Host, path string) (kind, server string) {
	kinds, servers := map[string]int{}, map[string]int{}
	for _, h := range hosts {
		if r := h.report(path); r != nil {
			kinds[r.Kind]++
			servers[r.Server]++
		}
	}
	return most(kinds), most(servers)
}

func most(of map[string]int) (value string) {
	for v, n := range of {
		if v != "" && (value == "" || n > of[value] || n == of[value] && v < value) {
			value = v
		}
	}
	return value
}
