package doctor

import (
	"fmt"
	"math"
	"slices"

	"github.com/holdfast-ha/holdfast/fsm"
)

// steady are the clock sources of the kernel that do not depend on being read in time.
var steady = []string{"tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "hyperv_clocksource_msr",
	"arch_sys_counter", "xen", "timebase", "tod", "hpet", "acpi_pm", "riscv_clocksource"}

// hostFindings are those of one host that has answered.
func hostFindings(f Facts) []Finding {
	var out []Finding
	add := func(code string, severity fsm.Severity, next, format string, args ...any) {
		out = append(out, Finding{Code: code, Severity: severity, Host: f.Name, Text: f.Name + ": " + fmt.Sprintf(format, args...), Next: next})
	}
	if f.HypervisorError != "" {
		add("hypervisor_silent", fsm.Critical, "systemctl status libvirtd", "the hypervisor does not answer: %s", f.HypervisorError)
	}
	for _, u := range f.Unread {
		add("not_examined", fsm.Info, "", "not examined: %s", u)
	}
	clockFindings(f.Clock, add)
	networkFindings(f.Networks, add)
	heartbeatFindings(f, add)
	deviceFindings(f.Devices, add)
	if f.Embedded {
		return out
	}
	pathFindings(f.Networks, add)
	switch {
	case !f.Guard.Alive:
		add("guard_missing", fsm.Critical, "systemctl status haguard",
			"no guard is alive: nothing ends VMs when the lease ends and the agent hangs")
	default:
		if !f.Guard.Locked {
			add("guard_paged", fsm.Warning, "systemctl cat haguard",
				"the guard's memory is not locked: while memory is short or the disk hangs it can be late (LimitMEMLOCK)")
		}
		if !f.Guard.RealTime {
			add("guard_ordinary", fsm.Warning, "systemctl cat haguard",
				"the guard is scheduled like any other process: while the processors are busy it can be late (CPUSchedulingPolicy)")
		}
	}
	watchdogFindings(f, add)
	l := f.Libvirt
	if !l.Hook {
		add("hook_missing", fsm.Warning,
			"install -D -m 0755 packaging/libvirt/qemu.d-holdfast /etc/libvirt/hooks/qemu.d/holdfast; systemctl restart libvirtd",
			"libvirt's hook is not installed: a start by hand of a VM that runs elsewhere is not refused, and the copy runs until it is found and killed")
	}
	if l.GuestsService && l.GuestsStart {
		add("guests_started", fsm.Warning, "ON_BOOT=ignore in /etc/default/libvirt-guests",
			"libvirt-guests starts at boot what ran here before: protected VMs are Holdfast's to start")
	}
	if l.GuestsService && l.GuestsFirst {
		add("guests_stopped_first", fsm.Warning, "systemctl show -p After haagent",
			"at shutdown libvirt-guests can stop VMs before the agent has handed them over: that looks like a person's wish, and they stay down. haagent.service has to be started after libvirt-guests.service")
	}
	if l.LockManager == "sanlock" {
		add("sanlock_resets", fsm.Info, "",
			"sanlock has a watchdog of its own: it resets the host when its storage is away for a while, whatever Holdfast's rules say")
	}
	if f.NoKVM {
		add("no_kvm", fsm.Warning, "lsmod | grep kvm", "there is no /dev/kvm: VMs of type kvm do not start here")
	}
	if f.Virtual {
		add("host_virtual", fsm.Info, "", "this host is a virtual machine: when it is paused from outside its lease ends late")
	}
	return out
}

type adder func(code string, severity fsm.Severity, next, format string, args ...any)

func watchdogFindings(f Facts, add adder) {
	switch w := f.Watchdog; {
	case w.State == "none" || w.State == "":
		withoutWatchdog(f, add)
	case !w.Protects:
		add("watchdog_failed", fsm.Critical, "haadm hosts show "+f.Name,
			"its watchdog %s is %s: no protected VM can be started here", w.Device, w.State)
	case w.State == "armed" && !w.Enduring:
		add("watchdog_stops", fsm.Warning, "docs/howto/watchdog.md",
			"its watchdog %s stops when the guard dies, so the cluster does not go by it: choose a driver with magic close, or load it with nowayout",
			w.Device)
	case !w.Counts:
		add("watchdog_discounted", fsm.Warning, "haadm hosts show "+f.Name,
			"the cluster does not go by its watchdog %s: when it falls silent it is taken for a host without one", w.Device)
	}
}

// withoutWatchdog says what the cluster does instead (R9).
func withoutWatchdog(f Facts, add adder) {
	const next = "docs/howto/watchdog.md"
	switch {
	case f.TrustsWait:
		add("watchdog_none", fsm.Warning, next,
			"it has no watchdog, and the policy trusts the wait alone (fencing.mode): a kernel that hangs while QEMU goes on is not covered")
	case f.Fences > 0:
		add("watchdog_none", fsm.Info, next,
			"it has no watchdog: when it falls silent its VMs start elsewhere once its fence devices have proven it off, or a person says so")
	default:
		add("watchdog_none", fsm.Warning, next,
			"it has no watchdog and no fence device: when it falls silent its VMs start elsewhere only once a person says that it is off (haadm fence confirm %s)",
			f.Name)
	}
}

// clockFindings hold the clock against what the arithmetic of leases allows.
func clockFindings(c Clock, add adder) {
	ppm := func(share float64) string { return fmt.Sprintf("%.0f ppm", share*1e6) }
	if c.Source != "" && !slices.Contains(steady, c.Source) {
		add("clock_source", fsm.Warning, "cat /sys/devices/system/clocksource/clocksource0/available_clocksource",
			"the kernel keeps time by %s, which can lose time on a busy host", c.Source)
	}
	if c.Error <= 0 {
		return
	}
	// The boot clock goes by the oscillator, which nothing steers: what steers the wall clock shows how
	// wrong that is.
	if math.Abs(c.Adjusted) > c.Error {
		add("clock_adjusted", fsm.Warning, "chronyc tracking",
			"its wall clock is run %s off its oscillator's rate, and the timing allows %s (clock_error): unless it is only catching up with an offset, the oscillator is that wrong, and with it every lease",
			ppm(c.Adjusted), ppm(c.Error))
	}
}

func networkFindings(all []Network, add adder) {
	for _, n := range all {
		if n.Interface == "" {
			add("address_missing", fsm.Warning, "ip address", "no interface has %s, its address on network %s", n.Address, n.Name)
		}
	}
	if len(all) == 1 {
		add("network_single", fsm.Info, "",
			"it has one HA network (%s): where that fails the heartbeat volumes are all that is left", all[0].Name)
	}
}
