package api

import (
	"fmt"
	"strings"

	"github.com/holdfast-ha/holdfast/fsm"
)

// What proves that the VMs of a silent host have stopped (safety.md, R9).
const (
	BoundWatchdog = "watchdog"      // its watchdog resets it in time: the wait will do
	BoundDevice   = "fence devices" // they have to prove it off
	BoundWait     = "wait"          // nothing; the policy trusts the wait alone
	BoundNothing  = "nothing"       // a person has to make sure
)

// bound says which of them it is for a live host. What the state knows counts; a device
// may fail when it is needed.
func (w World) bound(h *fsm.Host) string {
	switch p := w.policy(); {
	case h.Watchdog.Timeout != 0:
		return BoundWatchdog
	case p.TrustsWait():
		return BoundWait
	case len(p.Hosts[h.Name].Fence) > 0:
		return BoundDevice
	}
	return BoundNothing
}

// boundProblems are those of hosts that a silence would leave in doubt.
func (w World) boundProblems() []Problem {
	var nothing, wait []string
	for _, h := range w.State.SortedHosts() {
		if h.Status != fsm.HostLive {
			continue
		}
		switch w.bound(h) {
		case BoundNothing:
			nothing = append(nothing, h.Name)
		case BoundWait:
			wait = append(wait, h.Name)
		}
	}
	var out []Problem
	have := func(names []string) string {
		if len(names) == 1 {
			return names[0] + " has"
		}
		return strings.Join(names, ", ") + " have"
	}
	if len(nothing) > 0 {
		out = append(out, Problem{Severity: fsm.Warning, Next: "haadm hosts show " + nothing[0],
			Text: fmt.Sprintf("%s neither a watchdog that counts nor a fence device: VMs of such a host stay down when it falls silent, until it is back or a person has made sure that it is off",
				have(nothing))})
	}
	if len(wait) > 0 {
		out = append(out, Problem{Severity: fsm.Warning, Next: "haadm hosts show " + wait[0],
			Text: fmt.Sprintf("fencing.mode is \"best_effort\", and %s no watchdog that counts: where a kernel hangs there while a VM goes on, that VM runs twice and its disk is destroyed",
				have(wait))})
	}
	return out
}
