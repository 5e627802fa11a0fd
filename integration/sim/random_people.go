package sim

import (
	"time"

	"github.com/holdfast-ha/holdfast/integration/sim/scenario"
)

// move is somebody who has VMs moved, or a host emptied, and often something that goes
// wrong in the middle of it.
func (g *generator) move(at, until time.Duration) {
	to, h := g.host(), g.host()
	switch g.r.IntN(6) {
	case 0, 1:
		g.add(at, scenario.Action{Do: "request_live_move", VM: g.vm(), To: to})
	case 2:
		a := scenario.Action{Do: "request_cold_move", VM: g.vm(), To: to}
		if g.r.IntN(2) == 0 {
			a = scenario.Action{Do: "request_restart", VM: a.VM}
		}
		g.add(at, a)
	case 3, 4:
		g.add(at, scenario.Action{Do: "maintenance_on", Host: h})
		g.add(until, scenario.Action{Do: "maintenance_off", Host: h})
	default:
		g.add(max(0, at-time.Second), scenario.Action{Do: "fail_moves", Host: h, Fails: 1 + g.r.IntN(2), Hang: g.r.IntN(2) == 0})
		g.add(at, scenario.Action{Do: "maintenance_on", Host: h})
		g.add(until, scenario.Action{Do: "maintenance_off", Host: h})
		g.add(until, scenario.Action{Do: "fail_moves", Host: h})
	}
	if g.r.IntN(2) == 0 {
		g.fault(at + time.Duration(g.r.Int64N(int64(2*migrateTakes))))
	}
}

// person is somebody who does something to a VM or to the membership.
func (g *generator) person(at time.Duration) {
	vm := g.vm()
	switch g.r.IntN(9) {
	case 7, 8:
		g.disarm(at)
	case 0:
		g.add(at, scenario.Action{Do: "set_desired", VM: vm, Desired: "stopped"})
	case 6: // a host is lost for good, and somebody who has looked says so
		h := g.host()
		g.add(at, scenario.Action{Do: "power_off", Host: h})
		g.add(at+g.while(), scenario.Action{Do: "fence_confirm", Host: h})
	case 1:
		g.add(at, scenario.Action{Do: "set_desired", VM: vm, Desired: "stopped"})
		g.add(at+g.while(), scenario.Action{Do: "set_desired", VM: vm, Desired: "running"})
	case 2:
		g.add(at, scenario.Action{Do: "guest_shutdown", VM: vm})
	case 3:
		g.add(at, scenario.Action{Do: "crash_vm", VM: vm})
	case 4:
		g.add(at, scenario.Action{Do: "transfer_master", To: g.host()})
	default: // a host leaves for good, if the cluster lets it
		h := g.host()
		g.add(at, scenario.Action{Do: "power_off", Host: h})
		g.add(at+25*time.Second, scenario.Action{Do: "remove_host", Host: h})
	}
}

// disarm is somebody who has the cluster do nothing by itself, most often while something goes wrong,
// and arms it again, or forgets to; mend arms it in the end.
func (g *generator) disarm(at time.Duration) {
	g.add(at, scenario.Action{Do: "disarm_cluster", Seconds: 60 + 60*g.r.Float64()})
	for range g.r.IntN(3) {
		g.fault(at + time.Duration(g.r.Int64N(int64(20*time.Second))))
	}
	if g.r.IntN(3) > 0 {
		g.add(at+g.while(), scenario.Action{Do: "arm_cluster"})
	}
}

// names are the scenario's VMs.
func (g *generator) names() []string {
	var all []string
	for _, vm := range g.s.VMs {
		all = append(all, vm.ID)
	}
	return all
}

// byHand is somebody who takes VMs in and out of protection, or does something to one
// past Holdfast, and often something that goes wrong in the middle of it.
func (g *generator) byHand(at, until time.Duration) {
	vm, h := g.vm(), g.host()
	again := scenario.Action{Do: "set_desired", VM: vm, Desired: "running"}
	switch g.r.IntN(9) {
	case 0: // for good
		g.add(at, scenario.Action{Do: "unprotect_vm", VM: vm})
	case 1:
		g.add(at, scenario.Action{Do: "unprotect_vm", VM: vm})
		g.add(until, again)
	case 2, 3: // it runs elsewhere when it is protected again
		g.add(at, scenario.Action{Do: "unprotect_vm", VM: vm})
		g.add(at+time.Duration(g.r.Int64N(int64(until-at))), scenario.Action{Do: "admin_moved_vm_outside_ha", VM: vm, To: h})
		g.add(until, again)
	case 4: // stopped, and started by hand wherever that may be
		g.add(at, scenario.Action{Do: "set_desired", VM: vm, Desired: "stopped"})
		g.add(until, scenario.Action{Do: "demand_start", VM: vm, Host: h})
		if g.r.IntN(2) == 0 {
			g.add(until, scenario.Action{Do: "demand_start", VM: vm, Host: g.host()})
		}
	case 5: // where it must not be
		g.add(at, scenario.Action{Do: "demand_start", VM: vm, Host: h})
	case 6: // although it is protected
		g.add(at, scenario.Action{Do: "admin_moved_vm_outside_ha", VM: vm, To: h})
	case 7:
		g.bring(at, until)
	default:
		g.add(at, scenario.Action{Do: "suspend_guest", VM: vm})
		g.add(until, scenario.Action{Do: "resume_guest", VM: vm})
	}
	if g.r.IntN(2) == 0 {
		g.fault(at + time.Duration(g.r.Int64N(int64(until-at))))
	}
}

// bring is a new VM, and sometimes its end as a protected one.
func (g *generator) bring(at, until time.Duration) {
	if g.extra != "" {
		return
	}
	g.extra = "brought"
	runs := g.r.IntN(2) == 0
	g.add(at, scenario.Action{Do: "protect_vm", VM: g.extra, Host: g.host(), Desired: "running", AlreadyRunning: &runs})
	if g.r.IntN(3) == 0 {
		g.add(until, scenario.Action{Do: "unprotect_vm", VM: g.extra})
	}
}

// shutDown is an orderly shutdown of a host, or a reboot. It is powered on again twice,
// because one that cannot hand its VMs over goes off as late as it may.
func (g *generator) shutDown(h string, at, until time.Duration) {
	what := []string{"host_shutdown_requested", "host_reboot_requested"}[g.r.IntN(2)]
	g.add(at, scenario.Action{Do: what, Host: h})
	g.add(until, scenario.Action{Do: "power_on", Host: h})
	g.add(at+drainLimit(g.s)+time.Second, scenario.Action{Do: "power_on", Host: h})
	if g.r.IntN(2) == 0 {
		g.fault(at + time.Duration(g.r.Int64N(int64(until-at))))
	}
}

// wallError is by how much a wall clock is set wrong, s.
func (g *generator) wallError() float64 {
	most := []float64{2, 60, 3600, 86400}[g.r.IntN(4)]
	return most * (2*g.r.Float64() - 1)
}
