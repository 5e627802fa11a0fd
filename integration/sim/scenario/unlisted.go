package scenario

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// deed is something that was done to a VM or a host and that nobody does without a cause.
type deed struct{ what, vm, host string }

func (d deed) String() string {
	if d.vm == "" {
		return fmt.Sprintf("%s was %s", d.host, d.what)
	}
	if d.host == "" {
		return fmt.Sprintf("%s was %s", d.vm, d.what)
	}
	return fmt.Sprintf("%s was %s %s", d.vm, d.what, d.host)
}

// What deeds are, as they stand in a report.
const (
	started = "started on"
	moving  = "to go to"
	ended   = "stopped"
	dead    = "declared dead"
	reset   = "reset by its watchdog"
)

// unlisted holds of a recorded file that nothing was done to a VM or a host which the file does
// not explain: more starts of a VM on a host, moves of it there, ends of it, or deaths and resets
// of a host than its events tell of, its actions ask for, or its final placement needs.
func (j *judge) unlisted() {
	if !j.s.Recorded() {
		return
	}
	begun := map[string]bool{}
	seen := map[deed]int{}
	for _, got := range j.o.Events {
		d, ok := deedOf(got)
		if !ok {
			continue
		}
		if d.what == started && !begun[d.vm] {
			begun[d.vm] = true
			if j.home(d.vm) == d.host {
				continue // where the file has it from the beginning
			}
		}
		seen[d]++
		if most := j.explained(d); seen[d] > most {
			j.fail("%v at %v: the file's events, actions and final placement explain %d of these, and this is number %d", d, got.T, most, seen[d])
		}
	}
}

// deedOf is what an event tells that was done. That a VM which was moved while it ran is started
// is the same deed as the move.
func deedOf(got Seen) (d deed, ok bool) {
	switch got.Type {
	case "vm_started":
		return deed{started, got.VM, got.Host}, !got.Observed
	case "vm_move_ordered":
		return deed{moving, got.VM, got.To}, true
	case "vm_stopped", "vm_crashed":
		return deed{ended, got.VM, ""}, true
	case "host_confirmed_fenced":
		return deed{dead, "", got.Host}, true
	case "host_self_fenced":
		return deed{reset, "", got.Host}, true
	}
	return deed{}, false
}

// explained is how often the file explains a deed.
func (j *judge) explained(d deed) int {
	listed, moved, ordered := 0, 0, 0
	home := false
	for i, e := range j.e.Events {
		if e.VM != "" && e.VM != d.vm {
			continue
		}
		switch {
		case d.what == started && e.Type == "vm_started" && fits(e.Host, d.host):
			switch {
			case j.arrives(i):
			case !home && j.fromTheBeginning(e):
				home = true
			default:
				listed++
			}
		case e.Type == "vm_moved" && d.what == started && j.startsElsewhere(e, Seen{Type: "vm_recovery_assigned", To: d.host}) && fits(e.To, d.host),
			e.Type == "vm_relocated_after_start_failures" && d.what == started && fits(e.To, d.host):
			listed++
		case d.what == moving && e.Type == "vm_moved" && fits(e.To, d.host):
			moved++
		case d.what == moving && same(e.Type, "vm_move_ordered") && fits(e.To, d.host):
			ordered++
		case d.what == moving && e.Type == "vm_move_failed",
			d.what == ended && (e.Type == "vm_stopped" || e.Type == "vm_crashed"),
			d.what == dead && e.Type == "host_confirmed_fenced" && fits(e.Host, d.host),
			d.what == reset && e.Type == "host_self_fenced" && fits(e.Host, d.host):
			listed++
		}
	}
	listed = max(listed+max(moved, ordered), j.asked(d))
	if listed == 0 && !home && (d.what == started || d.what == moving) {
		if p, ok := j.e.FinalPlacement[d.vm]; ok && p.State == "running" && p.allows(d.host) {
			return 1
		}
	}
	return listed
}

// fits reports whether a name is the one that an event has, which may leave it open.
func fits(want, got string) bool { return want == "" || want == got }

// home is the host on which the file has a VM
// run from the beginning, or from when it is brought; empty: none.
func (j *judge) home(vm string) string {
	if v := j.s.VM(vm); v != nil && v.Desired == "running" {
		return v.Host
	}
	for _, a := range j.s.Actions {
		if a.Do == "protect_vm" && a.VM == vm && a.Desired == "running" {
			return a.Host
		}
	}
	return ""
}

// arrives reports whether expected event i is that a VM which was moved is started where it went.
func (j *judge) arrives(i int) bool {
	e := j.e.Events[i]
	for _, earlier := range slices.Backward(j.e.Events[:i]) {
		if earlier.VM == e.VM {
			return earlier.Type == "vm_moved" && earlier.To == e.Host && !j.startsElsewhere(earlier, Seen{Type: "vm_recovery_assigned", To: e.Host})
		}
	}
	return false
}

// fromTheBeginning reports whether the expected start is that of a VM where the file has it, before
// anything happened.
func (j *judge) fromTheBeginning(e Event) bool {
	if e.VM == "" || j.home(e.VM) != e.Host {
		return false
	}
	if e.PeerT == nil {
		return true
	}
	var first time.Duration = -1
	for _, a := range j.s.Actions {
		if a.T > 0 && (first < 0 || a.T.D() < first) {
			first = a.T.D()
		}
	}
	return first < 0 || e.PeerT.D() < first
}

// The actions after which a VM is stopped, and a host is off for those who look on.
var (
	ends = map[string]bool{"request_stop": true, "request_restart": true, "crash_vm": true, "guest_shutdown": true, "unprotect_vm": true, "admin_moved_vm_outside_ha": true}
	offs = map[string]bool{"power_off": true, "host_shutdown_requested": true, "host_reboot_requested": true}
)

// asked is how many of the file's actions have the deed for their consequence.
func (j *judge) asked(d deed) int {
	n := 0
	for _, a := range j.s.Actions {
		ofVM := a.VM != "" && a.VM == d.vm
		switch d.what {
		case moving:
			if strings.HasPrefix(a.Do, "request_") && (ofVM || slices.Contains(a.VMs, d.vm)) && a.To == d.host {
				n++
			}
		case ended:
			if ofVM && (ends[a.Do] || a.Do == "set_desired" && a.Desired != "running") {
				n++
			}
		case dead:
			if a.Host == d.host && offs[a.Do] {
				n++
			}
		}
	}
	return n
}
