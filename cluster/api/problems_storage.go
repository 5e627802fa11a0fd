package api

import (
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-ha/holdfast/cluster/volumes/choice"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/storagehb"
)

const (
	seeStorage = "haadm storage list"
	makeVolume = "haadm storage heartbeat init PATH"
)

// storageProblems are those of the heartbeat volumes. Of what only the master sees
// nothing is said elsewhere.
func (w World) storageProblems(volumes []VolumeView) []Problem {
	var out []Problem
	add := func(s fsm.Severity, next, format string, args ...any) {
		out = append(out, Problem{Severity: s, Text: fmt.Sprintf(format, args...), Next: next})
	}
	if text := w.policy().FewVolumes(); text != "" {
		add(fsm.Warning, makeVolume, "%s", text)
	}
	if !w.Self.IsMaster {
		return out
	}
	for _, v := range volumes {
		see := "haadm storage show " + v.Name
		if v.Spare {
			continue
		}
		if v.InPolicy && !v.InUse {
			add(fsm.Warning, see, "heartbeat volume %s is not in use: %s", v.Name, v.Why)
			continue
		}
		if bad := failing(v); bad != "" {
			add(fsm.Warning, see, "heartbeat volume %s fails on %s%s", v.Name, bad, w.successor(v, volumes))
		}
	}
	out = append(out, w.diversityProblems(volumes)...)
	return append(out, w.reachProblems(volumes)...)
}

// successor says what becomes of a volume that fails on most hosts; empty for another.
func (w World) successor(v VolumeView, volumes []VolumeView) string {
	losses := w.Observed[w.Self.Name].Losses
	if _, lost := losses.Lost[v.Path]; !lost || !v.InPolicy {
		return ""
	}
	if v.Pinned {
		return "; it is pinned, and stays in use: if it does not come back, take it out of the policy and apply that (haadm config apply)"
	}
	if !slices.ContainsFunc(volumes, func(o VolumeView) bool { return o.Spare && !losses.Spared[o.Path] }) {
		return fmt.Sprintf("; the policy names no other that could take its place: when that has lasted for %v and another works on most hosts, the set goes on without it",
			choice.DroppedAfter)
	}
	return fmt.Sprintf("; another takes its place when that has lasted for %v", choice.LostAfter)
}

// diversityProblems are those of a set that is smaller than it could be, or whose
// volumes fail together.
func (w World) diversityProblems(volumes []VolumeView) []Problem {
	policy, set := w.policy(), w.State.Volumes.Volumes
	if n := len(set); n < 2 && policy.FewVolumes() == "" && !policy.Muted.Volumes {
		text := "no heartbeat volume is in use: when the network between the hosts fails, their VMs are stopped"
		if n == 1 {
			text = "a single heartbeat volume is in use: when it fails, no silent host can be declared dead by the clock"
		}
		return []Problem{{Severity: fsm.Warning, Next: seeStorage,
			Text: fmt.Sprintf("%s; the policy asks for %d, and the others cannot be used", text, policy.VolumeUse.Count)}}
	}
	if policy.Muted.OneServer || len(set) < 2 {
		return nil
	}
	var names []string
	server := ""
	for _, u := range set {
		i := slices.IndexFunc(volumes, func(v VolumeView) bool { return v.ID == u.ID && v.InUse })
		if i < 0 || volumes[i].Server == "" || server != "" && !choice.SameServer(server, volumes[i].Server) {
			return nil
		}
		names, server = append(names, u.Name), volumes[i].Server
	}
	return []Problem{{Severity: fsm.Warning, Next: seeStorage,
		Text: fmt.Sprintf("all heartbeat volumes in use, %s, are on one server, %s: they fail together, and count as one; name another on other storage, and pin it",
			strings.Join(names, ", "), server)}}
}

// failing lists the hosts on which a volume in use does not work, hosts of one reason together.
func failing(v VolumeView) string {
	byReason := map[string][]string{}
	var reasons []string
	for _, h := range v.Hosts {
		if !notWorking(h.State) {
			continue
		}
		why := h.Error
		if why == "" {
			why = "an I/O does not end"
		}
		if byReason[why] == nil {
			reasons = append(reasons, why)
		}
		byReason[why] = append(byReason[why], h.Host)
	}
	for i, why := range reasons {
		reasons[i] = strings.Join(byReason[why], ", ") + ": " + why
	}
	return strings.Join(reasons, "; on ")
}

func notWorking(state string) bool {
	return state == storagehb.Degraded.String() || state == storagehb.Failing.String()
}

// reachProblems are those of having too few volumes of the set: to prove a lease, to
// declare a host dead, or fewer on the master than elsewhere.
func (w World) reachProblems(volumes []VolumeView) []Problem {
	set := w.State.Volumes
	takeover, proof := needs(set)
	if takeover == 0 {
		return nil
	}
	works, unsaid := map[string]int{}, map[string]bool{} // how many, by host; hosts of which not all is known
	for _, v := range volumes {
		if !slices.ContainsFunc(set.Volumes, func(u fsm.Volume) bool { return u.ID == v.ID }) || !v.InUse {
			continue
		}
		for _, h := range v.Hosts {
			switch {
			case h.State == VolumeUnknown:
				unsaid[h.Host] = true
			case !notWorking(h.State): // one that is being opened is given the time for it
				works[h.Host]++
			}
		}
	}
	var out []Problem
	total, most, best := len(set.Volumes), 0, ""
	var few []string
	for _, h := range w.State.SortedHosts() {
		n := works[h.Name]
		if h.Status == fsm.HostLive && !unsaid[h.Name] && n < proof {
			few = append(few, h.Name)
		}
		if n > most {
			most, best = n, h.Name
		}
	}
	mine, said := works[w.Self.Name], !unsaid[w.Self.Name]
	switch {
	case said && mine < takeover && most < takeover:
		text := fmt.Sprintf("no host reaches the %d of %d heartbeat volumes that a takeover needs: a silent host cannot be declared dead by the clock, but only by a fence device or haadm fence confirm",
			takeover, total)
		if w.blocked() == "" {
			text += "; take the lost ones out of the policy, or name others, if they do not come back soon, while all hosts are heard"
		}
		out = append(out, Problem{Severity: fsm.Critical, Next: seeStorage, Text: text})
	case said && mine < most:
		out = append(out, Problem{Severity: fsm.Warning, Next: seeStorage, Host: w.Self.Name,
			Text: fmt.Sprintf("the master, %s, reaches %d of %d heartbeat volumes, and %s %d: when that lasts, %s gets the office",
				w.Self.Name, mine, total, best, most, best)})
	}
	if len(few) > 0 {
		out = append(out, Problem{Severity: fsm.Warning, Next: seeStorage,
			Text: fmt.Sprintf("fewer heartbeat volumes than the %d of %d that a proof needs work on %s: when no master is heard there, neither over the network nor by a volume, VMs there are stopped",
				proof, total, strings.Join(few, ", "))})
	}
	return out
}

// aloneProblem is that of a host that lives by storage alone.
func aloneProblem(h HostView) (Problem, bool) {
	if h.Storage == nil || !h.Storage.Alone || h.Committed != string(fsm.HostLive) || h.DeadIn > 0 {
		return Problem{}, false
	}
	return Problem{Severity: fsm.Warning, Host: h.Name, Next: "haadm explain host " + h.Name,
		Text: fmt.Sprintf("host %s is %s: no network brings its heartbeats, and it lives by the heartbeat volumes alone; its VMs go on, and nothing can be ordered there",
			h.Name, h.State)}, true
}

// networkProblems tell of hosts with a single HA network.
func (w World) networkProblems() []Problem {
	if w.policy().Muted.Networks || len(w.State.Hosts) < 2 {
		return nil
	}
	var single []string
	for _, h := range w.State.SortedHosts() {
		if len(h.Addresses) == 1 {
			single = append(single, h.Name)
		}
	}
	if len(single) == 0 {
		return nil
	}
	verb := "have"
	if len(single) == 1 {
		verb = "has"
	}
	return []Problem{{Severity: fsm.Warning, Next: "haadm hosts list -o wide",
		Text: fmt.Sprintf("%s %s a single HA network: one switch that fails silences them; a second network over another one mends that",
			strings.Join(single, ", "), verb)}}
}
