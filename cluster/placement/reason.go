package placement

import "fmt"

// Reason is what keeps a host from taking a VM.
type Reason string

const (
	HostDown      Reason = "down"        // it is lost
	HostClosed    Reason = "closed"      // it takes no VMs now
	InMaintenance Reason = "maintenance" // it is being emptied
	CannotRun     Reason = "cannot_run"  // the hypervisor there cannot run this VM
	NotAgile      Reason = "not_agile"   // the VM cannot leave its host
	NoDatastore   Reason = "datastore"   // a datastore is missing
	NoNetwork     Reason = "network"     // a network is missing
	NoCapability  Reason = "capability"  // a CPU model, machine type or device is missing
	BreaksRule    Reason = "rule"        // an on_hosts or not_on_hosts rule that is a must
	TooSmall      Reason = "too_small"   // not even the empty host has room
	NoMemory      Reason = "memory"      // not enough memory is free
	NoCPU         Reason = "cpu"         // too many virtual CPUs for the policy's overcommit
	TooManyVMs    Reason = "vm_count"    // the host runs as many VMs as it may
	NoExtra       Reason = "extra"       // not enough of a countable thing is free
	ApartFrom     Reason = "apart"       // a VM runs there that this one must be apart from
	NotWithMates  Reason = "together"    // the VMs that it must be with run elsewhere, or do not fit with it
	ForFailover   Reason = "failover"    // a dedicated failover host takes restarts only
	LessWanted    Reason = "less_wanted" // by its rules it is better off where it is, and evening load is no reason to break them
)

// unit says what a capacity is measured in, for people.
func (r Reason) unit() string {
	switch r {
	case NoMemory:
		return "memory"
	case NoCPU:
		return "virtual CPUs"
	case TooManyVMs:
		return "VMs"
	}
	return "units"
}

// Considered is one host that was looked at for a VM: what excluded it, or the
// figures that ranked it.
type Considered struct {
	Host     string
	Excluded Reason // empty: it could take the VM
	// Rule is the rule that excluded it.
	Rule string
	// Need and Have are the figures of an exclusion for want of room: bytes of
	// memory, virtual CPUs, VMs, or units of the Extra named in What.
	Need, Have int64
	What       string
	// All is how many devices the host has for VMs, where What is a pool of them; 0: not said.
	All int64
	// Kept are VMs that room is kept for there, where that is short of it.
	Kept   string
	Detail string // further words
	Score  Score  // of a host that could take it
}

func (c Considered) no(r Reason, detail string) Considered {
	c.Excluded, c.Detail = r, detail
	return c
}

// String is the exclusion, or the figures, as a person reads them.
func (c Considered) String() string { return c.Host + ": " + c.text() }

func (c Considered) text() string {
	switch c.Excluded {
	case "":
		return c.Score.String()
	case HostDown, HostClosed, InMaintenance:
		words := map[Reason]string{HostDown: "is lost", HostClosed: "takes no VMs", InMaintenance: "is in maintenance"}[c.Excluded]
		if c.Detail != "" {
			words += " (" + c.Detail + ")"
		}
		return words
	case CannotRun, NotAgile, ApartFrom, NotWithMates:
		if c.Rule != "" {
			return fmt.Sprintf("%s (rule %s)", c.Detail, c.Rule)
		}
		return c.Detail
	case NoDatastore:
		return "has no datastore " + c.Detail
	case NoNetwork:
		return "has no network " + c.Detail
	case NoCapability:
		return "does not offer " + c.Detail
	case BreaksRule:
		return "rule " + c.Rule + " forbids it"
	case LessWanted:
		return "its rules want it there less than where it is"
	case ForFailover:
		return "is kept for failover"
	case TooSmall:
		have, need := amounts(c)
		return fmt.Sprintf("has %s for VMs in all, %s are needed", have, need)
	}
	besides := ""
	if c.Kept != "" {
		besides = " besides what is kept for " + c.Kept
	}
	if c.All > 0 {
		return fmt.Sprintf("%s: %d needed, %d of %d free%s", c.What, c.Need, max(c.Have, 0), c.All, besides)
	}
	have, need := amounts(c)
	return fmt.Sprintf("%s free%s, %s needed", have, besides, need)
}

// ofMemory says that the figures of an exclusion are bytes.
func (c Considered) ofMemory() bool {
	return c.Excluded == NoMemory || c.Excluded == TooSmall && c.Detail == NoMemory.unit()
}

// amounts writes both figures of an exclusion for want of room.
func amounts(c Considered) (have, need string) {
	if c.ofMemory() {
		have, need = Sizes(c.Have, c.Need)
		return have + " of memory", need + " of memory"
	}
	return amount(c, c.Have), amount(c, c.Need)
}

// amount writes a figure of an exclusion for want of room.
func amount(c Considered, n int64) string {
	switch {
	case c.ofMemory():
		return Size(n) + " of memory"
	case c.Excluded == NoCPU || c.Excluded == TooSmall && c.Detail == NoCPU.unit():
		return fmt.Sprintf("%d virtual CPUs", max(n, 0))
	case c.What != "":
		return fmt.Sprintf("%d of %s", max(n, 0), c.What)
	}
	return vms(int(max(n, 0)))
}

// Score ranks the hosts that could take a VM. Fields are compared in this order.
type Score struct {
	// Uneven is how uneven load is with the VM there, per cent, where evening it is what the VM
	// would move for (Balance); else 0.
	Uneven float64
	// Returns says that it had to leave that host, and that it is moved to go back.
	Returns bool
	// FailedHere says that a start of this VM failed there in this round.
	FailedHere bool
	// Preference is the weight of the host rules that favour it, less those that
	// disfavour it; more is better.
	Preference int
	// Broken is the weight of together and apart rules, no musts, that would be broken.
	Broken int
	// Members of the VM's spread group that run there.
	Members int
	// Failover says that it is a dedicated failover host, which is preferred.
	Failover bool
	// Home says that the VM belongs there.
	Home bool
	// MemoryUsed is the memory in use with the VM on it, in thousandths of a per cent, and CPUs
	// the virtual CPUs per hundred processors; by Policy.Measured what VMs really hold, and the
	// processors that they keep busy per hundred. Memory counts in steps of 5 %, then CPUs, then memory exactly.
	MemoryUsed, CPUs int64
	// Free is the memory that is left with the VM on it, bytes; more is better where all else is alike.
	Free int64
	// VMs that run there with it.
	VMs int

	pack     bool // by Policy.Pack more of these is better, not less
	measured bool // by Policy.Measured
}

func (a Score) String() string {
	var words string
	if a.Uneven > 0 {
		words += fmt.Sprintf("load %.1f %% uneven; ", a.Uneven)
	}
	if a.Returns {
		words += "it goes back there; "
	}
	if a.FailedHere {
		words += "a start or move failed there; "
	}
	if a.Preference != 0 {
		words += fmt.Sprintf("preference %d; ", a.Preference)
	}
	if a.Broken != 0 {
		words += fmt.Sprintf("breaks rules of weight %d; ", a.Broken)
	}
	if a.Members != 0 {
		words += fmt.Sprintf("%d of its group there; ", a.Members)
	}
	if a.Failover {
		words += "kept for failover; "
	}
	if a.Home {
		words += "its home; "
	}
	used, cpus := a.units()
	return fmt.Sprintf("%smemory %d.%d %% %s, %d.%02d %s per processor, %s",
		words, a.MemoryUsed/1000, a.MemoryUsed%1000/100, used, a.CPUs/100, a.CPUs%100, cpus, vms(a.VMs))
}

// vms counts VMs in words.
func vms(n int) string {
	if n == 1 {
		return "1 VM"
	}
	return fmt.Sprintf("%d VMs", n)
}

// units says what its figures of memory and of processors count.
func (a Score) units() (used, cpus string) {
	if a.measured {
		return "really used", "busy processors"
	}
	return "used", "virtual CPUs"
}
