package sim

import (
	"context"
	"fmt"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/agent"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/integration/sim/scenario"
	"github.com/holdfast-ha/holdfast/integration/sim/simnet"
	"github.com/holdfast-ha/holdfast/vmm/embedded"
)

// act is what one action does to the World. An action that makes no sense at the
// moment (power on a host that is on) does nothing, so that any part of a list of
// actions is a lawful list too.
type act func(*World, scenario.Action) error

func onHost(f func(*machine)) act {
	return func(w *World, a scenario.Action) error {
		f(w.machines[a.Host])
		return nil
	}
}

// acts are the actions of the scenario language that this world knows.
var acts = map[string]act{
	"power_on":                onHost((*machine).powerOn),
	"power_off":               onHost((*machine).powerOff),
	"kill_agent":              onHost((*machine).killAgent),
	"stop_controller":         onHost((*machine).killAgent),
	"start_agent":             onHost((*machine).startAgent),
	"restart_host_agent":      onHost((*machine).restartAgent),
	"freeze_agent":            onHost((*machine).freezeAgent),
	"thaw_agent":              onHost((*machine).thawAgent),
	"freeze_host":             onHost((*machine).freezeHost),
	"thaw_host":               onHost((*machine).thawHost),
	"suspend_host":            onHost((*machine).suspendHost),
	"resume_host":             onHost((*machine).resumeHost),
	"host_shutdown_requested": onHost(func(m *machine) { m.shutDown(false) }),
	"host_reboot_requested":   onHost(func(m *machine) { m.shutDown(true) }),

	"maintenance_on":    maintain(true),
	"maintenance_off":   maintain(false),
	"request_live_move": moveTo(false),
	"request_cold_move": moveTo(true),
	"request_restart":   restart,
	"fail_moves":        failMoves,

	"freeze_guard":     onHost((*machine).freezeGuard),
	"thaw_guard":       onHost((*machine).thawGuard),
	"watchdog_lost":    onDog(func(m *machine) { m.dogGone, m.dogLost = true, true; m.dog.Lose() }),
	"watchdog_ignores": onDog(func(m *machine) { m.dog.Ignore() }),
	"watchdog_ok":      onDog(func(m *machine) { m.dogGone = false; m.dog.Mend() }),
	"kills_fail":       onHost(func(m *machine) { m.failKills(true) }),
	"kills_work":       onHost(func(m *machine) { m.failKills(false) }),

	"state_store_access_fails":  slowStore(storeHangs),
	"state_store_access_ok":     slowStore(0),
	"state_store_refresh_fails": slowStore(storeLags),
	"state_store_refresh_ok":    slowStore(0),

	"fence_device_ok":    setDevice(deviceWorks),
	"fence_device_fails": setDevice(deviceRefuses),
	"fence_device_hangs": setDevice(deviceHangs),

	"isolate_network": func(w *World, a scenario.Action) error {
		w.net.Isolate(a.Network, a.Host)
		w.cuts[a.Host] = w.cuts[a.Host] || a.Network == ""
		w.machines[a.Host].alone.Store(w.cuts[a.Host])
		return nil
	},
	"restore_network": func(w *World, a scenario.Action) error {
		w.net.Rejoin(a.Network, a.Host)
		delete(w.cuts, a.Host)
		w.machines[a.Host].alone.Store(false)
		for other := range w.cuts { // who is isolated stays so
			w.net.Isolate(a.Network, other)
		}
		return nil
	},
	"partition": func(w *World, a scenario.Action) error {
		w.net.Partition(a.Groups...)
		return nil
	},
	"cut_link": func(w *World, a scenario.Action) error {
		w.net.Cut(a.Network, a.From, a.To)
		return nil
	},
	"restore_link": func(w *World, a scenario.Action) error {
		w.net.Restore(a.Network, a.From, a.To)
		return nil
	},
	"network_delay": func(w *World, a scenario.Action) error {
		for _, h := range a.Hosts {
			w.net.SetDelay(h, simnet.Delay{Latency: time.Duration(a.MS * float64(time.Millisecond)), Loss: a.Loss})
		}
		return nil
	},
	"heal": func(w *World, _ scenario.Action) error {
		w.net.Heal()
		clear(w.cuts)
		for _, m := range w.machines {
			m.alone.Store(false)
		}
		return nil
	},

	"cut_storage":     onVolumes(func(w *way, a scenario.Action) { w.cut, w.hang = !a.Hang, a.Hang }),
	"restore_storage": onVolumes(func(w *way, _ scenario.Action) { w.cut, w.hang, w.slow = false, false, 0 }),
	"slow_storage":    onVolumes(func(w *way, a scenario.Action) { w.slow = time.Duration(a.MS * float64(time.Millisecond)) }),
	"fail_volume":     onVolume(func(v *volume) { v.failed = true }),
	"restore_volume":  onVolume(func(v *volume) { v.failed = false }),
	"corrupt_slot":    corruptSlot,

	"back_up_disk":     onHost((*machine).backUpDisk),
	"restore_disk":     onHost((*machine).restoreDisk),
	"back_up_volume":   onVolume(backUpVolume),
	"roll_back_volume": onVolume(rollBackVolume),
	"copy_volume":      copyVolume,
	"foreign_volume":   foreignVolume,

	"gateway_down": func(w *World, _ scenario.Action) error { w.gateway.Store(true); return nil },
	"gateway_up":   func(w *World, _ scenario.Action) error { w.gateway.Store(false); return nil },

	"hypervisor_down": func(w *World, a scenario.Action) error {
		if a.Hang {
			w.machines[a.Host].hyp.SetHang(true)
		} else {
			w.machines[a.Host].hyp.SetDown(true)
		}
		return nil
	},
	"hypervisor_up": func(w *World, a scenario.Action) error {
		w.machines[a.Host].hyp.SetHang(false)
		w.machines[a.Host].hyp.SetDown(false)
		return nil
	},
	"clock_rate": func(w *World, a scenario.Action) error {
		w.machines[a.Host].clock.setRate(a.Rate)
		return nil
	},
	"clock_step": func(w *World, a scenario.Action) error {
		w.machines[a.Host].wall.Add(int64(a.Seconds * float64(time.Second)))
		return nil
	},
	"fail_starts": func(w *World, a scenario.Action) error {
		w.machines[a.Host].hyp.SetStartFault(a.VM, embedded.StartFault{Fails: a.Fails})
		return nil
	},
	"crash_vm":      onRunning((*embedded.Host).CrashVM),
	"suspend_guest": onRunning((*embedded.Host).PersonSuspend),
	"guest_shutdown": func(w *World, a scenario.Action) error {
		w.people.shutsDown(a.VM)
		return onRunning((*embedded.Host).GuestShutdown)(w, a)
	},
	"resume_guest":              resumeGuest,
	"demand_start":              demandStart,
	"admin_moved_vm_outside_ha": moveOutside,

	"disarm_cluster": func(w *World, a scenario.Action) error {
		w.arm(false, time.Duration(a.Seconds*float64(time.Second)))
		return nil
	},
	"arm_cluster":     func(w *World, _ scenario.Action) error { w.arm(true, 0); return nil },
	"set_vm_load":     setLoad,
	"set_vm_lock":     lockVM,
	"set_vm_size":     func(*World, scenario.Action) error { return nil }, // it had that size before: see definitionOf
	"set_desired":     setDesired,
	"request_stop":    func(w *World, a scenario.Action) error { w.people.intend(a.VM, fsm.IntentStop); return nil },
	"protect_vm":      protectVM,
	"unprotect_vm":    func(w *World, a scenario.Action) error { w.people.unprotect(a.VM); return nil },
	"transfer_master": transferMaster,
	"add_host":        func(w *World, a scenario.Action) error { return w.machines[a.Host].join() },
	"remove_host":     removeHost,
	"fence_confirm":   confirmOff,
}

// onRunning does something to a VM where it runs.
func onRunning(f func(*embedded.Host, string) error) act {
	return func(w *World, a scenario.Action) error {
		for _, r := range w.disks.Running() {
			if r.Name == a.VM {
				return f(w.machines[r.Host].hyp, a.VM)
			}
		}
		return fmt.Errorf("%s runs nowhere", a.VM)
	}
}

// definitionOf is a VM's domain. One that the scenario's list does not have is as large as
// the file says when it comes, or as by default.
func (w *World) definitionOf(vm string) string {
	if v := w.s.VM(vm); v != nil {
		return definition(v)
	}
	v := &scenario.VM{ID: vm}
	for _, a := range w.s.InOrder() {
		if a.Do == "set_vm_size" && a.VM == vm && v.CPUs == 0 && v.MemBytes == 0 {
			v.CPUs, v.MemBytes = a.CPUs, uint64(a.MemMiB*(1<<20))
		}
	}
	return definition(v)
}

func setDesired(w *World, a scenario.Action) error {
	s := w.watch.newest.state
	protected := s != nil && s.FindVM(a.VM) != nil
	switch a.Desired {
	case "running":
		if protected {
			w.people.intend(a.VM, fsm.IntentRun)
		} else {
			w.people.protect(a.VM)
		}
	case "stopped", "disabled":
		w.people.intend(a.VM, fsm.IntentStop)
	default:
		w.people.unprotect(a.VM)
	}
	return nil
}

// protectVM brings a new VM: defined on its host, running there if the scenario
// says so, and then protected.
func protectVM(w *World, a scenario.Action) error {
	h := w.machines[a.Host].hyp
	ctx, cancel := context.WithTimeout(w.ctx, time.Second)
	defer cancel()
	if err := h.PersonDefine(ctx, w.definitionOf(a.VM)); err != nil {
		return err
	}
	if a.AlreadyRunning != nil && *a.AlreadyRunning {
		if err := h.PersonStart(a.VM); err != nil {
			return err
		}
		w.people.protect(a.VM)
		return nil
	}
	vm := w.s.VM(a.VM)
	if vm == nil {
		vm = &scenario.VM{ID: a.VM, Host: a.Host}
	}
	intent := fsm.IntentRun
	if a.Desired == "stopped" || a.Desired == "disabled" {
		intent = fsm.IntentStop
	}
	w.people.protectNew(vm, intent)
	return nil
}

func transferMaster(w *World, a scenario.Action) error {
	w.people.ask("hand the office to "+a.To, "", nil, func(ctx context.Context, on *agent.Agent) error {
		if s := on.Self(); s.Name == a.To {
			return nil
		}
		return on.TransferMaster(ctx, a.To)
	})
	return nil
}

func removeHost(w *World, a scenario.Action) error {
	w.people.ask("remove "+a.Host+" from the cluster", "", nil, func(ctx context.Context, on *agent.Agent) error {
		return on.Leave(ctx, a.Host, personName)
	})
	return nil
}

// confirmOff is a person who has made sure that a host has no power, and says so.
func confirmOff(w *World, a scenario.Action) error {
	m := w.machines[a.Host]
	if m.powered.Load() {
		return fmt.Errorf("%s is not off", a.Host)
	}
	w.people.ask("vouch that "+a.Host+" is off", "", nil, func(ctx context.Context, on *agent.Agent) error {
		if m.powered.Load() {
			return nil // not any more
		}
		_, err := on.ConfirmOff(ctx, a.Host, personName)
		return err
	})
	return nil
}

// join makes the machine a member: it is installed anew, started, and given a
// token by a person.
func (m *machine) join() error {
	m.killAgent()
	m.disk = newDisk()
	m.powerOn()
	m.startAgent()
	a := m.agent
	m.w.people.ask(m.name+" joins the cluster", "", nil, func(ctx context.Context, on *agent.Agent) error {
		token, _, err := on.CreateToken(ctx, m.name, time.Hour, personName)
		if err != nil {
			return err
		}
		m.w.wg.Go(func() {
			jctx, cancel := context.WithTimeout(m.w.ctx, persevere)
			defer cancel()
			_, err := a.agent.Join(jctx, token)
			m.w.soon(func() { m.w.note("%s joined: %v", m.name, err) })
		})
		return nil
	})
	return nil
}

// restartAgent ends the agent and starts it again a moment later. What runs
// without its agent meanwhile is held, and released when the new one has it.
func (m *machine) restartAgent() {
	if m.agent == nil {
		return
	}
	m.killAgent()
	for _, r := range m.w.disks.Running() {
		if r.Host == m.name {
			m.w.watch.hold(r)
		}
	}
	m.w.later(agentRestartDelay, m.startAgent)
}
