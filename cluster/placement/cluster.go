package placement

import "time"

// Cluster is everything the planner goes by.
type Cluster struct {
	Hosts  []Host
	VMs    []VM
	Rules  []Rule
	Groups []Group
	Policy Policy
}

// DevicePool begins the name of an Extra that counts devices of a pool, any of which does for a VM.
const DevicePool = "device pool "

// HostState is what a host is good for.
type HostState int

const (
	// Up: it runs VMs and takes more.
	Up HostState = iota
	// Closed: its VMs go on, but it is given none (its guard or hypervisor does not answer, say).
	Closed
	// Maintenance: as Closed, and it does not count as room for failures.
	Maintenance
	// Down: it is lost, and with it what ran there.
	Down
)

// Host is one host of the cluster.
type Host struct {
	Name  string
	State HostState
	// Why says, for people, why the host is not Up.
	Why string
	// Memory is what is installed and Reserve what is kept for the host itself, both bytes.
	Memory, Reserve int64
	// CPUs are logical processors; MHz is the speed of all of them together.
	CPUs, MHz int
	// MaxVMs bounds how many VMs may run there; 0 is no bound.
	MaxVMs int
	// Domain is the failure domain; a host without one is a domain of its own.
	Domain string
	// Datastores and Networks are there to be used; Capabilities are opaque words
	// that a VM may need (a CPU model, a machine type, a device).
	Datastores, Networks, Capabilities []string
	// Extra are further countable things, such as huge pages in bytes or virtual GPUs.
	Extra map[string]int64
	// Failover marks a dedicated failover host: restarts go there first, ordinary starts never.
	Failover bool
	// Voter says that the host votes on the replicated log.
	Voter bool
}

// Status is what a VM does.
type Status int

const (
	// Running: it runs on VM.Host, or is being started there, and takes its room.
	Running Status = iota
	// Waiting: it shall run and nobody runs it.
	Waiting
	// Stopped: it shall not run. It takes no room.
	Stopped
)

// Class says what is owed to a VM when its host is lost.
type Class int

const (
	// Protected VMs are restarted, and admission control keeps room for them.
	Protected Class = iota
	// BestEffort VMs are restarted after them where room is left; no room is kept.
	BestEffort
	// Unprotected VMs are nobody's business but take room where they run.
	Unprotected
)

// VM is one virtual machine.
type VM struct {
	Name   string // unique
	Status Status
	// Host is where it runs; for a VM that does not run, where it ran last.
	Host string
	// Moving is the host it is being migrated to; it takes room on both.
	Moving string
	// Memory is the guest's and Overhead what QEMU takes beside it, both bytes.
	Memory, Overhead int64
	VCPUs            int
	// Use is what it really takes now, or took last where it ran, and Mean what it took over a time
	// (Watch makes it); nil: not known. Balance looks at them, and Policy.Measured at Use: what a host
	// can take goes by sizes.
	Use, Mean *Use
	// ReservedMHz is processor time promised to it.
	ReservedMHz int
	// Datastores, Networks and Capabilities are what a host must have for it.
	Datastores, Networks, Capabilities []string
	// Extra is what it takes of a host's Extra.
	Extra map[string]int64
	// Holds is what it takes of the Extra of the host HeldOn besides, as long as it runs there: it needs it
	// nowhere else.
	Holds  map[string]int64
	HeldOn string
	// Bound are the reasons why it can run nowhere but on Host; none: it is agile.
	Bound []string
	// Barred are hosts that cannot run it, each with the reason.
	Barred map[string]string
	// Failed are hosts where a start failed in this round of tries: a last choice.
	Failed []string
	Class  Class
	// Priority ranks VMs of a class, higher first; Order ranks those of one priority, lower first.
	Priority, Order int
	// Home is where it belongs when nothing else decides.
	Home string
	// Failback lets a plan move it to a host that its rules prefer to the one it runs on.
	Failback bool
	// Kept is the host that keeps room for one that waits: it takes it before VMs that could have that room too,
	// but for protected ones that would stay down without it. Empty: none.
	Kept string
	// Return is the host that it had to leave and goes back to when it can; empty: none.
	Return string
	// From is the host that it was moved from to where it is, and Moved when that was ordered: of VMs
	// that must be together the last that was moved tells where all are going. Nothing else goes by it.
	From  string
	Moved time.Time
	// Held says why no move of it may begin now; empty: it may.
	Held string
	// Live says that it can be migrated without stopping, and NotLive why not.
	Live    bool
	NotLive []string
}

// need is the VM's demand on memory, bytes.
func (v *VM) need() int64 { return v.Memory + v.Overhead }

// size is the memory of the host that VMs may take, bytes.
func (h *Host) size() int64 { return max(0, h.Memory-h.Reserve) }

// RuleKind is what a rule asks for.
type RuleKind string

const (
	// Together: all of the VMs on one host.
	Together RuleKind = "together"
	// Apart: no two of the VMs on one host, or in one failure domain.
	Apart RuleKind = "apart"
	// OnHosts: on the listed hosts.
	OnHosts RuleKind = "on_hosts"
	// NotOnHosts: on any but the listed hosts.
	NotOnHosts RuleKind = "not_on_hosts"
)

// Use is what a VM really takes of the host that it runs on.
type Use struct {
	Processors float64 // logical ones that it keeps busy
	Memory     int64   // that its process holds, bytes
}

// Rule is one wish about placement.
type Rule struct {
	Name string
	Kind RuleKind
	// Must says that the rule is never broken; otherwise it ranks hosts.
	Must bool
	// VMs are those it is about. Of VMs that must be together and find no host for
	// all, the first ones by priority, then in this order, get one. Where they are torn
	// apart already, each that is to be started may join any of the others.
	VMs []string
	// Hosts are those of OnHosts and NotOnHosts, each with a weight: of the listed
	// hosts the one of the highest weight comes first.
	Hosts map[string]int
	// Domains keeps VMs apart (or together) by failure domain instead of by host.
	Domains bool
	// Weight is what breaking a rule that is no must costs against other such rules; 0 counts as 1.
	Weight int
}

// Group is a set of VMs that are started together. A VM is in one group at most.
type Group struct {
	Name string
	VMs  []string
	// Spread asks for the members to be spread evenly over hosts, where possible.
	Spread bool
	// StartAfter are groups whose members start before those of this one.
	StartAfter []string
	// Strict keeps the members down while a VM they come after is down.
	Strict bool
}

// Policy is the cluster-wide part of the rules.
type Policy struct {
	// CPUOvercommit is how many virtual CPUs a logical processor may carry; 0 is no limit.
	CPUOvercommit float64
	// MemoryOvercommit multiplies a host's memory for VMs; 0 counts as 1.
	MemoryOvercommit float64
	// Pack fills hosts one after the other instead of spreading VMs.
	Pack bool
	// Measured: hosts rank by what VMs really take (VM.Use) and not by what they may take. One of
	// which it is not known counts with what it may take. Where a VM finds room goes by what it
	// may take either way.
	Measured  bool
	Admission Admission
	// NoQuorum: no majority is heard. Nothing is started or moved.
	NoQuorum bool
	// Work bounds each search, in elementary steps; 0 takes the default. What the
	// bound cuts off is answered with Unknown.
	Work int
}

// defaultWork is about half a second of search on an ordinary processor.
const defaultWork = 60_000_000

func (p *Policy) work() int {
	if p.Work > 0 {
		return p.Work
	}
	return defaultWork
}

// planWork is what one plan may take of it: somebody waits for it.
func (p *Policy) planWork() int { return p.work() / 4 }
