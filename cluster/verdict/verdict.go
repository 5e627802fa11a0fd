// Package verdict turns what was seen of a host into a verdict with its
// evidence. It is pure: signals in, words out.
//
//   - Assess is the master's view of a host, the decision table in
//     testdata/decision_table.json with the rows that our own signals add
//     (testdata/more_rows.json). Judge is its short form.
//   - AssessSelf is a host's view of itself: is it isolated, or cut off?
//   - Respond is what an isolated host does with its VMs.
//
// Verdicts are for people, and for the question whether it is worth looking for
// another place for a VM. None of them permits a start: that comes from the wait
// of R7, from a proof that the host is off, or from the host's own word that it
// runs the VM no more, and is committed (O1). So no combination of signals makes
// this package say Dead; it repeats what was committed.
package verdict

import (
	"time"

	"github.com/holdfast-ha/holdfast/fsm"
)

// Verdict is what the master holds about a host.
type Verdict string

const (
	Live        Verdict = "live"        // heard over the network within the bound
	Suspect     Verdict = "suspect"     // silent everywhere, or not acknowledged: dead once the wait is over
	Isolated    Verdict = "isolated"    // alive on storage, and says there that it hears nobody
	Partitioned Verdict = "partitioned" // alive on storage, not heard over the network
	AgentDown   Verdict = "agent_down"  // the machine answers, its agent does not
	Unknown     Verdict = "unknown"     // silent, and nobody can read its volumes: no evidence either way
	Dead        Verdict = "dead"        // its incarnation was declared dead
	Joining     Verdict = "joining"     // has no incarnation yet
	Maintenance Verdict = "maintenance" // taken out of service by a person, whatever is seen of it
	Left        Verdict = "left"        // no member any more
)

// Restarts is which of a host's VMs are worth a new place while the verdict
// stands. It never permits a start (see the package comment).
type Restarts string

const (
	RestartNone     Restarts = "none"     // they are its own
	RestartReleased Restarts = "released" // only what the host itself recorded as stopped, or gave back
	RestartAll      Restarts = "all"      // its incarnation is over
)

// Signals are what was seen of one host. Ages are on the master's boot clock. What
// is left zero was not looked for: without Volumes and Ping the verdict goes by
// the network alone.
type Signals struct {
	// Status is the committed one.
	Status fsm.HostStatus
	// Incarnation is the committed one.
	Incarnation uint64
	// Networks is the age of the last heartbeat by HA network; negative: none in this office.
	Networks map[string]time.Duration
	// Heard is the age of the last heartbeat over any network, or of the office when none came.
	Heard time.Duration
	// Suspected says that the master has stopped acknowledging the host.
	Suspected bool
	// Bound is the silence on the network after which a host counts as lost there.
	Bound time.Duration
	// By is the master that saw all this.
	By string

	// Watched is how long this office has watched this incarnation; what never came
	// is as old as that, for warnings.
	Watched time.Duration
	// Volumes is what the master reads of the host on each heartbeat volume that the host should write to.
	Volumes map[string]VolumeSign
	// Relayed is what other members report to have read of it. The freshest reading
	// of anybody counts: a master that lost a volume must not take that for a death.
	Relayed []RelayedSign
	// StorageBound is the silence on a volume after which the host's heartbeat there is
	// stale. It has to leave room for the reader's own interval.
	StorageBound time.Duration
	// Slot is what the host's newest heartbeat record says, on whatever volume and by whatever reader.
	Slot Slot
	// Ping is what became of ICMP echo requests, by management address of the host.
	Ping map[string]PingSign
	// PingBound is the age up to which a reply counts as an answer.
	PingBound time.Duration
	// Hypervisor is what is wrong with the host's hypervisor, in its own words; empty: nothing.
	Hypervisor string
	// Off is a proof that the host is switched off, if there is one.
	Off Proof
	// Maintenance says that a person has taken the host out of service.
	Maintenance bool
	// Left says that the host is no member any more.
	Left bool
}

// VolumeSign is what one reader sees of a host on one heartbeat volume.
type VolumeSign struct {
	// Age is the time since the host's heartbeat there was last seen to change, in its
	// committed incarnation; negative: it never was. What an earlier life left on the
	// volume is not the host's heartbeat.
	Age time.Duration
	// Readable says that the reader can read the volume. When it cannot, Age is that of
	// what it read last, and no evidence of silence.
	Readable bool
	// Detail says what is wrong with the volume when it is not readable.
	Detail string
	// By is the member that reads; empty: the master.
	By string
}

// RelayedSign is another member's reading of one volume.
type RelayedSign struct {
	Volume string
	VolumeSign
}

// PingSign is what became of asking one address.
type PingSign struct {
	// Asked says that at least one request has had the time to be answered.
	Asked bool
	// Age is that of the last reply; negative: none ever came.
	Age time.Duration
	// Detail says why nothing could be sent; empty: requests go out.
	Detail string
	// By is the member that asked; empty: the one whose view this is.
	By string
}

// answers reports whether the last reply is young enough.
func (p PingSign) answers(bound time.Duration) bool { return p.Asked && p.Age >= 0 && p.Age <= bound }

// Slot is the host's own words in its newest heartbeat record on a volume.
type Slot struct {
	// Incarnation is the one in the record; 0: no record was read. Words of another
	// incarnation than the committed one are shown and not believed.
	Incarnation uint64
	// Isolated: the host hears nobody on any network.
	Isolated bool
	// Stopped (vms_stopped): every protected VM is proven gone, and none is started in this incarnation.
	Stopped bool
	// CleanExit: its agent ended in good order, with no VM left.
	CleanExit bool
	// SelfFencing: its lease ended; it is stopping its VMs or being reset.
	SelfFencing bool
	// FenceReason is why it last fenced itself; empty: it did not.
	FenceReason string
	// Volume is where the record was read, By who read it (empty: the master), and Age how long ago it was
	// written at the least.
	Volume string
	By     string
	Age    time.Duration
}

// Proof is a finding that a host is switched off.
type Proof struct {
	// Text says what was found, such as "kvm1-bmc says off"; empty: there is no proof.
	Text string
	// By is who found it, Age how long ago.
	By  string
	Age time.Duration
}

// Judge is the verdict of Assess and its evidence.
func Judge(s Signals) (Verdict, []fsm.Evidence) {
	a := Assess(s)
	return a.Verdict, a.Evidence
}
