package verdict

import (
	"fmt"
	"time"
)

// Action is what an isolated host does with a VM.
type Action string

const (
	LeaveRunning Action = "leave_running" // nothing
	Shutdown     Action = "shutdown"      // ask the guest, and power off after a timeout
	PowerOff     Action = "power_off"     // at once, once the delay is over
)

// ResponsePolicy is the isolation response for one VM, as cluster, class and VM together say.
type ResponsePolicy struct {
	Action Action
	// Delay is how long the host must have been isolated without a break.
	Delay time.Duration
	// ShutdownTimeout is how long a guest that was asked to shut down has for it.
	ShutdownTimeout time.Duration
}

// Response is what the decision about an isolated host's VMs goes by. Moments are
// readings of its own boot clock.
type Response struct {
	Now time.Duration
	// Standing is the host's own, and Since the moment from which it has been isolated
	// without a break (see Since).
	Standing Standing
	Since    time.Duration
	// Master is the age of the newest acknowledgement that a master was seen to write on
	// a volume, to whatever host; negative: none was seen. It is written only after a majority
	// confirmed the master, so somebody is there who could take a VM over.
	Master time.Duration
	// MasterBound is the age up to which that counts.
	MasterBound time.Duration
	// VMs are the protected VMs that run here.
	VMs []ResponseVM
}

// ResponseVM is one protected VM that runs on the host that asks.
type ResponseVM struct {
	UUID   string
	Name   string
	Policy ResponsePolicy
	// StorageGone says that the VM's own storage is lost here: it can do no more work,
	// and must not be there when the storage returns.
	StorageGone bool
	// Stays is why no other host could take it; empty: one could.
	Stays string
	// Asked is when the guest was asked to shut down because of isolation; 0: it was
	// not. A moment before Since is of an earlier isolation and does not count.
	Asked time.Duration
}

// Step is one thing to do now. Before it is done, the host records that it stops
// the VM because of isolation, where the record outlives the agent. A guest that shuts
// down is otherwise taken for one that a person shut down, and stays down; and
// only what is recorded is started elsewhere.
type Step struct {
	UUID string
	Name string
	Do   Action // Shutdown or PowerOff
	Why  string
}

// Held is a VM that the response would stop and does not.
type Held struct {
	UUID string
	Name string
	Why  string
}

// Decision is what Respond comes to.
type Decision struct {
	Steps []Step
	Held  []Held
	// Next is the moment at which to decide again at the latest; 0: nothing is due. A
	// change of any signal is a reason to decide again at once.
	Next time.Duration
}

// Since follows the isolation of a host: the moment from which it lasts without a
// break, 0 while the host is not isolated. prev is what it returned before. Anything
// that answers, once, ends it, and the delay starts anew with the next one.
func Since(prev time.Duration, s Standing, now time.Duration) time.Duration {
	switch {
	case !s.Isolated():
		return 0
	case prev == 0:
		return now
	}
	return prev
}

// Respond says what the isolated host does with its VMs now. It is to be asked
// anew, with fresh signals, right before each step: a step that waits in a queue is
// a step that nothing can cancel.
//
// A VM is stopped only when somebody else could take it over, or when its storage is
// gone. When the whole network is down there is no master, and nothing is stopped.
func Respond(r Response) Decision {
	var d Decision
	if !r.Standing.Isolated() || r.Since == 0 {
		return d
	}
	for _, vm := range r.VMs {
		if vm.Policy.Action != Shutdown && vm.Policy.Action != PowerOff {
			continue
		}
		if due := r.Since + vm.Policy.Delay; r.Now < due {
			d.lookAt(due)
			continue
		}
		if why := r.holds(vm); why != "" {
			d.Held = append(d.Held, Held{vm.UUID, vm.Name, why})
			continue
		}
		r.stop(vm, &d)
	}
	return d
}

// holds is why a VM goes on although its policy would stop it.
func (r *Response) holds(vm ResponseVM) string {
	switch {
	case vm.StorageGone:
		return ""
	case vm.Stays != "":
		return "no other host could take it: " + vm.Stays
	case r.Master < 0:
		return "no master is seen on any heartbeat volume: nobody could take it over"
	case r.Master > r.MasterBound:
		return fmt.Sprintf("no master has been seen on any heartbeat volume for %s (the bound is %v): nobody could take it over",
			span(r.Master), r.MasterBound)
	}
	return ""
}

func (r *Response) stop(vm ResponseVM, d *Decision) {
	why := fmt.Sprintf("the host has been isolated for %s (the delay is %v), and a master that could have it started elsewhere was seen %s ago",
		span(r.Now-r.Since), vm.Policy.Delay, span(r.Master))
	if vm.StorageGone {
		why = fmt.Sprintf("the host has been isolated for %s (the delay is %v), and the VM's storage is gone",
			span(r.Now-r.Since), vm.Policy.Delay)
	}
	asked := vm.Asked != 0 && vm.Asked >= r.Since
	switch {
	case vm.Policy.Action == PowerOff:
		d.Steps = append(d.Steps, Step{vm.UUID, vm.Name, PowerOff, why})
	case !asked:
		d.Steps = append(d.Steps, Step{vm.UUID, vm.Name, Shutdown, why})
		d.lookAt(r.Now + vm.Policy.ShutdownTimeout)
	case r.Now >= vm.Asked+vm.Policy.ShutdownTimeout:
		why += fmt.Sprintf("; the guest was asked to shut down %s ago and has not (the timeout is %v)",
			span(r.Now-vm.Asked), vm.Policy.ShutdownTimeout)
		d.Steps = append(d.Steps, Step{vm.UUID, vm.Name, PowerOff, why})
	default:
		d.lookAt(vm.Asked + vm.Policy.ShutdownTimeout)
	}
}

func (d *Decision) lookAt(at time.Duration) {
	if d.Next == 0 || at < d.Next {
		d.Next = at
	}
}
