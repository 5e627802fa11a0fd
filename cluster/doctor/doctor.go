// Package doctor says what is not as it should be with hosts and with the disks of
// protected VMs: what would keep two VMs from writing to one disk if all else failed,
// which cache modes can write after a VM is gone, and what a host lacks of what the
// proof of docs/safety.md rests on. It is a function of what hosts say of
// themselves; it reads nothing itself and changes nothing.
package doctor

import (
	"cmp"
	"slices"

	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm/domainxml"
)

// Facts are what one host says of itself and of the disks of all protected VMs.
type Facts struct {
	Name string `json:"name"`
	// Silent is why nothing else is known of it; empty: it has answered.
	Silent  string `json:"silent,omitempty"`
	Version string `json:"version,omitempty"` // of its agent

	Hypervisor      string `json:"hypervisor,omitempty"` // such as "QEMU 7.2.17, libvirt 9.0.0"
	HypervisorError string `json:"hypervisor_error,omitempty"`
	// Embedded says that its VMs are the demonstration's: nothing about libvirt applies.
	Embedded bool `json:"embedded,omitempty"`

	Guard    Guard    `json:"guard"`
	Watchdog Watchdog `json:"watchdog"`
	Clock    Clock    `json:"clock"`
	Libvirt  Libvirt  `json:"libvirt"`
	// Networks are the HA networks, by name.
	Networks []Network `json:"networks,omitempty"`
	// Heartbeats are the heartbeat volumes that the policy names or that are in use.
	Heartbeats []Heartbeat `json:"heartbeats,omitempty"`
	CPU        string      `json:"cpu,omitempty"` // the processor's name
	// NoKVM says that there is no /dev/kvm.
	NoKVM bool `json:"no_kvm,omitempty"`
	// Virtual says that the host is itself a virtual machine.
	Virtual bool `json:"virtual,omitempty"`
	// Fences is how many fence devices the policy gives it.
	Fences int `json:"fences"`
	// TrustsWait says that the policy has hosts without a watchdog waited out.
	TrustsWait bool `json:"trusts_wait,omitempty"`

	VMs []VM `json:"vms"`
	// Devices are those of the host that the policy puts into pools.
	Devices []Device `json:"devices,omitempty"`
	// Unread are files of the host that could not be read, with the reason.
	Unread []string `json:"unread,omitempty"`
}

// Device is a device of the host that the policy puts into a pool.
type Device struct {
	Pool string `json:"pool"`
	Word string `json:"device"` // such as "pci:0000:41:00.0"
	// Missing says why it cannot be handed to a guest; empty: it can.
	Missing string `json:"missing,omitempty"`
	// Strangers are the VMs that have it now and that nobody protects, by name.
	Strangers []string `json:"strangers,omitempty"`
}

// Guard is how the process runs that ends VMs at the end of the lease.
type Guard struct {
	Alive    bool `json:"alive"`
	Locked   bool `json:"locked"`    // its memory is not paged out
	RealTime bool `json:"real_time"` // it goes before every ordinary process
}

// Watchdog is the hardware timer of the guard's.
type Watchdog struct {
	State    string `json:"state"` // none, idle, armed, closed or failed
	Device   string `json:"device,omitempty"`
	Protects bool   `json:"protects"`
	Enduring bool   `json:"enduring"` // it goes on when its holder dies
	// Counts says that the cluster goes by it: when the host falls silent it is waited out.
	Counts bool `json:"counts"`
}

// Clock is how the host keeps time.
type Clock struct {
	Source string `json:"source,omitempty"` // of the kernel, such as "tsc"
	// Adjusted is by what share the kernel runs the clock faster now than its oscillator; negative: slower.
	Adjusted float64 `json:"adjusted"`
	// Error is what the cluster's timing allows (clock_error).
	Error float64 `json:"error"`
}

// Network is how a host is on one HA network.
type Network struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	// Interface has the address; empty: none has.
	Interface string `json:"interface,omitempty"`
	MTU       int    `json:"mtu,omitempty"` // bytes
	// Prefix is the subnet that the address is in, such as 10.0.0.0/24.
	Prefix string `json:"prefix,omitempty"`
	// Below are the devices that the interface stands on, such as a bond and its network cards; NICs
	// are the cards alone, and Bonds the bonds among all of them.
	Below []string `json:"below,omitempty"`
	NICs  []string `json:"nics,omitempty"`
	Bonds []Bond   `json:"bonds,omitempty"`
}

// Bond is several network cards used as one.
type Bond struct {
	Name string `json:"name"`
	// Monitored says that it finds out when a link fails (miimon or arp_interval).
	Monitored bool     `json:"monitored"`
	Cards     []string `json:"cards,omitempty"`
	Up        []string `json:"up,omitempty"` // those whose link is up
}

// Heartbeat is a heartbeat volume as the host reaches it.
type Heartbeat struct {
	Name string `json:"name"` // in the policy
	Path string `json:"path"`
	// Type is of the file system that it is in, such as nfs4; "device" for a device; empty: not known.
	Type string `json:"type,omitempty"`
	// Servers are the addresses or names of its array or file server, as far as they are known.
	Servers []string `json:"servers,omitempty"`
	// Multipath is how it is reached where it is a multipath device; nil: it is none.
	Multipath *Multipath `json:"multipath,omitempty"`
}

// Multipath is how many ways lead to a device.
type Multipath struct {
	Paths   int `json:"paths"`
	Working int `json:"working"` // those that the kernel has as running
}

// Libvirt is how libvirt is set up on the host.
type Libvirt struct {
	Hook bool `json:"hook"` // libvirt asks the agent before it starts a VM
	// LockManager is "lockd", "sanlock", or empty: none.
	LockManager string `json:"lock_manager,omitempty"`
	// AutoLeases says that the lock manager locks disks without being told to by <lease>.
	AutoLeases bool `json:"auto_leases"`
	// Lockspace is where the lock manager keeps locks in place of the disks themselves; nil: on the disks.
	Lockspace *Place `json:"lockspace,omitempty"`
	// OtherLockspaces says that there are such places for LVM volumes or SCSI disks only.
	OtherLockspaces bool `json:"other_lockspaces,omitempty"`
	// GuestsService says that libvirt-guests is enabled; GuestsStart that it starts VMs at boot;
	// GuestsFirst that at shutdown it stops VMs before the agent has been stopped.
	GuestsService bool `json:"guests_service"`
	GuestsStart   bool `json:"guests_start"`
	GuestsFirst   bool `json:"guests_first"`
}

// VM is a protected VM, as the cluster has its definition.
type VM struct {
	UUID   string `json:"uuid"`
	Name   string `json:"name"`
	Owner  string `json:"owner,omitempty"`  // host; empty: nobody
	Unread string `json:"unread,omitempty"` // why its definition cannot be read
	Leases int    `json:"leases,omitempty"`
	// CPUMode is how its processor is chosen, such as host-passthrough; empty: by QEMU.
	CPUMode string `json:"cpu_mode,omitempty"`
	Disks   []Disk `json:"disks"`
}

// Disk is a disk of a VM and where it is on the host.
type Disk struct {
	domainxml.Disk
	Place Place `json:"place"`
	// Volume is what stands behind a disk of kind domainxml.DiskPool on that host.
	Volume *Volume `json:"volume,omitempty"`
}

// Volume is what a volume of one of libvirt's pools is on a host.
type Volume struct {
	// Kind is how QEMU reaches it; empty: not known.
	Kind domainxml.DiskKind `json:"kind,omitempty"`
	// Path is the file's or the device's; for storage over the network its protocol and name.
	Path string `json:"path,omitempty"`
	// Unknown is why Kind is not known.
	Unknown string `json:"unknown,omitempty"`
}

// Place is the storage that a path of a host is on.
type Place struct {
	Path string `json:"path,omitempty"`
	// Type is the file system's, such as nfs4; "device" for a device; empty: not known.
	Type string `json:"type,omitempty"`
	// Source is what is mounted there, such as nas:/vms.
	Source  string   `json:"source,omitempty"`
	Options []string `json:"options,omitempty"` // of the mount
	// Missing says that there is nothing under that path. It is not looked for where
	// looking could hang.
	Missing bool `json:"missing,omitempty"`
}

// Finding is something that a person should know, and mostly change.
type Finding struct {
	// Code names what was found; it is never renamed.
	Code     string       `json:"code"`
	Severity fsm.Severity `json:"severity"` // info asks for nothing
	Host     string       `json:"host,omitempty"`
	VM       string       `json:"vm,omitempty"`
	Disk     string       `json:"disk,omitempty"` // target
	Text     string       `json:"text"`
	// Next is how to go on.
	Next string `json:"next,omitempty"`
}

// Report is what was found.
type Report struct {
	Findings []Finding `json:"findings"` // worst first
	Disks    []Barrier `json:"disks"`    // of the VMs, by name
}

// Barrier is what keeps two VMs from writing to a disk, beside the lease.
type Barrier struct {
	VM     string             `json:"vm"`
	Owner  string             `json:"owner,omitempty"`
	Disk   string             `json:"disk"`
	Source string             `json:"source"`
	Kind   domainxml.DiskKind `json:"kind"`
	// Storage is what it is on, in words, where hosts agree.
	Storage string `json:"storage"`
	Cache   string `json:"cache"` // "default" where none is written
	// ImageLock is QEMU's, LockManager libvirt's.
	ImageLock   Lock `json:"image_lock"`
	LockManager Lock `json:"lock_manager"`
}

// Lock is whether something locks a disk, on every host that was heard.
type Lock struct {
	Holds Holds  `json:"holds"`
	Why   string `json:"why,omitempty"`
}

// Holds is how far a lock reaches.
type Holds string

// How far a lock reaches.
const (
	Everywhere Holds = "yes"     // a second VM on any host is refused
	Host       Holds = "host"    // a second VM on the same host alone
	No         Holds = "no"      // it is not there
	Unknown    Holds = "unknown" // that cannot be told from here
	NotNeeded  Holds = "-"       // nobody writes to it
)

// Examine says what is not as it should be. Each of all is what one host said; VMs
// are the same on all of them, except for the moment at which they were asked.
func Examine(all []Facts) Report {
	r := Report{Findings: []Finding{}, Disks: []Barrier{}}
	var heard []Facts
	for _, f := range all {
		if f.Silent != "" {
			r.Findings = append(r.Findings, Finding{Code: "host_silent", Severity: fsm.Warning, Host: f.Name,
				Text: f.Name + " was not examined: " + f.Silent, Next: "haadm hosts show " + f.Name})
			continue
		}
		heard = append(heard, f)
		r.Findings = append(r.Findings, hostFindings(f)...)
	}
	r.Findings = append(r.Findings, compare(heard)...)
	for _, vm := range together(heard) {
		barriers, findings := vm.examine()
		r.Disks = append(r.Disks, barriers...)
		r.Findings = append(r.Findings, findings...)
	}
	slices.SortStableFunc(r.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(weight(a.Severity), weight(b.Severity)), cmp.Compare(a.Host, b.Host))
	})
	return r
}

// Asks reports whether anything that was found asks for something to be done.
func (r Report) Asks() bool {
	return slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Severity != fsm.Info })
}

// Only leaves in the report what is about one host and the VMs that it owns.
func (r Report) Only(host string) Report {
	out := Report{Findings: []Finding{}, Disks: []Barrier{}}
	owned := map[string]bool{}
	for _, b := range r.Disks {
		if b.Owner == host {
			owned[b.VM] = true
			out.Disks = append(out.Disks, b)
		}
	}
	for _, f := range r.Findings {
		if f.Host == host || f.Host == "" && owned[f.VM] {
			out.Findings = append(out.Findings, f)
		}
	}
	return out
}

func weight(s fsm.Severity) int {
	switch s {
	case fsm.Critical:
		return 0
	case fsm.Warning:
		return 1
	}
	return 2
}
