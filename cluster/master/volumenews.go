package master

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/volumes/choice"
	"github.com/holdfast-ha/holdfast/fsm"
)

const (
	// volumeFailsFor is how long a volume must have failed on a host without a break before it is
	// told: paths that fail over are nobody's business, and hosts that one fault met are told of together.
	volumeFailsFor = 5 * time.Second
	// volumeWorksFor is how long it must have worked again: one that flaps does not fill the history.
	volumeWorksFor = time.Minute
	// volumesShortFor is how long too few, or enough, must have been left: one that is
	// replaced is away for less.
	volumesShortFor = time.Minute
)

// volumeNews follows how the volumes in use do on the hosts, and finds what is to be told of
// that. What was told is read from the history, so that another master does not tell it again.
type volumeNews struct {
	scanned uint64                     // event up to which the history was read
	told    map[string]map[string]bool // hosts on which it fails as was told last, by volume
	seen    map[volumeOn]volumeIs
	short   string // how many are left as was told last; empty: enough
	left    string // how many are left now, since then
	leftAt  time.Duration
}

// volumeOn is a volume on a host, both by name.
type volumeOn struct{ volume, host string }

// volumeIs is whether a volume fails on a host, and since when without a break.
type volumeIs struct {
	fails bool
	since time.Duration
}

// look takes what the hosts say at a moment and returns what is to be told now.
func (n *volumeNews) look(s *fsm.State, in choice.Input, now time.Duration) []fsm.Event {
	n.recall(s)
	seen := map[volumeOn]volumeIs{}
	var events []fsm.Event
	left := 0
	for _, u := range in.InUse {
		v := volumeLook{name: u.Name, path: u.Path, on: map[string]choice.Report{}}
		for _, h := range in.Hosts {
			i := slices.IndexFunc(h.Reports, func(r choice.Report) bool { return r.Path == u.Path })
			if h.Silent || !h.Fresh || i < 0 || !h.Reports[i].Failing && !h.Reports[i].Working {
				continue // it says nothing of now
			}
			at, is := volumeOn{u.Name, h.Name}, volumeIs{h.Reports[i].Failing, now}
			if before, known := n.seen[at]; known && before.fails == is.fails {
				is = before
			}
			seen[at], v.on[h.Name] = is, h.Reports[i]
		}
		if e, is := n.tell(v, in, seen, now); is {
			events = append(events, e)
		}
		if !choice.Failing(in.Hosts, u.Path) {
			left++
		}
	}
	n.seen = seen
	if e, is := n.count(in, left, now); is {
		events = append(events, e)
	}
	return events
}

// volumeLook is a volume in use as the hosts say that it does.
type volumeLook struct {
	name, path string
	on         map[string]choice.Report // of hosts that are heard
}

// tell is what is to be told of one volume. Should that not get into the history, it is told
// again after as long.
func (n *volumeNews) tell(v volumeLook, in choice.Input, seen map[volumeOn]volumeIs, now time.Duration) (fsm.Event, bool) {
	told := n.told[v.name]
	var fails, works []string
	newly, again := false, false
	for _, h := range in.Hosts {
		r, speaks := v.on[h.Name]
		held := now - seen[volumeOn{v.name, h.Name}].since
		switch {
		case speaks && r.Failing:
			fails = append(fails, h.Name)
			newly = newly || !told[h.Name] && held >= volumeFailsFor
		case speaks && told[h.Name] && held >= volumeWorksFor-volumeFailsFor: // back together with one that is told of
			works = append(works, h.Name)
			again = again || held >= volumeWorksFor
		case told[h.Name]: // silent, or not back for long enough
			fails = append(fails, h.Name)
		}
	}
	var e fsm.Event
	var of []string
	switch {
	case newly:
		of, e = fails, fsm.Event{Type: fsm.EventVolumeFails, Severity: fsm.Warning}
		where := "on " + strings.Join(reasons(v, fails), "; on ")
		if len(fails) == len(in.Hosts) {
			e.Type, where = fsm.EventVolumeLost, "on any host ("+strings.Join(reasons(v, fails), "; ")+")"
		}
		e.Text = fmt.Sprintf("heartbeat volume %s (%s) does not work %s. %s", v.name, v.path, where, afterwards(v, in, len(fails)))
	case again:
		of, e = works, fsm.Event{Type: fsm.EventVolumeWorks,
			Text: fmt.Sprintf("heartbeat volume %s works again on %s, and has for %v", v.name, strings.Join(works, ", "), volumeWorksFor)}
		if len(fails) > 0 {
			e.Text += "; not yet on " + strings.Join(fails, ", ")
		}
	default:
		return e, false
	}
	if len(of) == 1 {
		e.Host = of[0]
	}
	for _, host := range of {
		if at := (volumeOn{v.name, host}); seen[at].since != 0 {
			seen[at] = volumeIs{seen[at].fails, now}
		}
	}
	if newly {
		fails = append(fails, works...) // of those it is told in their own time
	}
	e.Text, e.Evidence = clip(e.Text), v.evidence(fails)
	return e, true
}

// evidence is on which hosts the volume fails, as recall reads it.
func (v volumeLook) evidence(fails []string) []fsm.Evidence {
	if len(fails) == 0 {
		return []fsm.Evidence{{Signal: volumeSignal + v.name, Value: "works"}}
	}
	var all []fsm.Evidence
	for _, host := range fails {
		all = append(all, fsm.Evidence{Signal: volumeSignal + v.name, Value: fault(v.on[host]), By: host})
	}
	return all
}

const volumeSignal = "heartbeat volume "

func fault(r choice.Report) string {
	switch {
	case r.Error != "":
		return clip(r.Error)
	case r.Failing:
		return "an I/O does not end"
	}
	return "failed when it was told last"
}

// reasons are the hosts on which it fails, those of one reason together.
func reasons(v volumeLook, fails []string) []string {
	by := map[string][]string{}
	var order []string
	for _, host := range fails {
		why := fault(v.on[host])
		if by[why] == nil {
			order = append(order, why)
		}
		by[why] = append(by[why], host)
	}
	for i, why := range order {
		order[i] = strings.Join(by[why], ", ") + ": " + why
	}
	return order
}

// afterwards is what follows from it, and what to do.
func afterwards(v volumeLook, in choice.Input, fails int) string {
	_, became := choice.Choose(in)
	look := "Look at its path and its storage: haadm storage show " + v.name
	is := slices.IndexFunc(became, func(c choice.Candidate) bool { return c.Path == v.path })
	spare := slices.ContainsFunc(became, func(c choice.Candidate) bool { return c.Spare && !in.Spared[c.Path] })
	switch {
	case 2*fails <= len(in.Hosts):
		return "It stays in use, since it works on others; hosts without it live by the network and by the other volumes. " + look
	case is < 0:
		return "The policy does not name it any more. " + look
	case became[is].Pinned:
		return "It is pinned, and stays in use: if it does not come back, take it out of the policy. " + look
	case spare:
		return fmt.Sprintf("Another takes its place when it has failed on most hosts for %v. %s", choice.LostAfter, look)
	}
	return fmt.Sprintf("The policy names no other that could take its place: after %v the set goes on without it, if another works. %s",
		choice.DroppedAfter, look)
}

// count is what is to be told of how many are left.
func (n *volumeNews) count(in choice.Input, left int, now time.Duration) (fsm.Event, bool) {
	wanted := min(in.Count, len(in.Candidates))
	is := ""
	if left < wanted {
		is = fmt.Sprintf("%d of %d", left, wanted)
	}
	if is != n.left || n.leftAt == 0 {
		n.left, n.leftAt = is, now
	}
	if is == n.short || now-n.leftAt < volumesShortFor {
		return fsm.Event{}, false
	}
	n.leftAt = now
	e := fsm.Event{Type: fsm.EventVolumesEnough,
		Text: fmt.Sprintf("as many heartbeat volumes work on most hosts as the policy asks for: %d", left)}
	if is != "" {
		why := "fewer can still be lost before hosts cannot prove their leases, or no silent host can be declared dead by the clock; haadm status says whether it has come to that"
		e.Type, e.Severity = fsm.EventVolumesShort, fsm.Warning
		if left == 0 {
			e.Severity, why = fsm.Critical, "no silent host can be declared dead by the clock, and when the network between the hosts fails their VMs are stopped"
		}
		e.Text = fmt.Sprintf("%s heartbeat volumes that the policy asks for work on most hosts: %s. Mend the others, or name another in the policy (haadm storage list)",
			is, why)
	}
	e.Evidence = []fsm.Evidence{{Signal: shortSignal, Value: is}}
	return e, true
}

const shortSignal = "heartbeat volumes left"

// recall reads from the history what was told.
func (n *volumeNews) recall(s *fsm.State) {
	if n.told == nil {
		n.told = map[string]map[string]bool{}
	}
	first := len(s.Events)
	for first > 0 && s.Events[first-1].ID > n.scanned {
		first--
	}
	for i := first; i < len(s.Events); i++ {
		e := &s.Events[i]
		n.scanned = e.ID
		switch e.Type {
		case fsm.EventVolumeFails, fsm.EventVolumeLost, fsm.EventVolumeWorks:
			if len(e.Evidence) == 0 {
				continue
			}
			on := map[string]bool{}
			for _, x := range e.Evidence {
				if x.By != "" {
					on[x.By] = true
				}
			}
			n.told[strings.TrimPrefix(e.Evidence[0].Signal, volumeSignal)] = on
		case fsm.EventVolumesShort, fsm.EventVolumesEnough:
			if len(e.Evidence) > 0 {
				n.short = e.Evidence[0].Value
			}
		}
	}
}

// clip keeps a text within what an event may hold.
func clip(text string) string {
	const most = 2000
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}
