package scenario

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Outcome is what was seen while a scenario ran. Moments are virtual time since
// the scenario's start.
type Outcome struct {
	Events    []Seen            // in the order in which they were committed or observed
	Placement map[string]Final  // by VM
	Hosts     map[string]string // on, off or isolated, by host
	// Actions is when each action was carried out, by its index in the file.
	Actions []time.Duration
	Runs    []Run // by the hypervisors, never by a manager's records
	// States are what hosts were at the moments that Expect.HostState names, in its order.
	States []string
	// Bounds are the cluster's published bounds, by name ("member", "master").
	Bounds map[string]time.Duration
	// Doubled are the VMs of Expect.Doubled that did run twice.
	Doubled []string
}

// Seen is one event of the cluster's history, or one that the world observed.
type Seen struct {
	T        time.Duration `json:"-"`
	Seconds  float64       `json:"t"` // T, for reports
	Type     string        `json:"type"`
	Host     string        `json:"host,omitempty"`
	VM       string        `json:"vm,omitempty"`
	From     string        `json:"from,omitempty"`
	To       string        `json:"to,omitempty"`
	Text     string        `json:"text,omitempty"`
	Observed bool          `json:"observed,omitempty"` // by the simulation; it is not in the cluster's history
}

// Final is where a VM ended up.
type Final struct {
	Host  string `json:"host"` // that runs it, or else its home
	State string `json:"state"`
	// GuestRunning is by the hypervisors.
	GuestRunning bool `json:"guest_running"`
	// Devices are those of the host that the guest has.
	Devices []string `json:"devices,omitempty"`
}

// Run is one stretch of time in which a VM ran on a host. To is -1 while it goes on.
type Run struct {
	VM, Host string
	From, To time.Duration
	Migrated bool // it ended as the VM left for another host while it ran: its processors were stopped for the last of the copy
}

// Recovery is one VM started elsewhere.
type Recovery struct {
	VM    string `json:"vm"`
	From  string `json:"from"`
	To    string `json:"to"`
	Fault string `json:"fault"` // the last action on the host that was lost
	// Ordered and Running are seconds from the fault; Running is -1 when it never ran.
	Ordered float64 `json:"seconds"`
	Running float64 `json:"seconds_to_running"`
}

// Judge lists what was not as the scenario expects; none means that it passed.
func Judge(s *Scenario, o *Outcome) []string {
	j := &judge{s: s, o: o, e: s.Expected()}
	j.placement()
	j.hosts()
	j.events()
	j.unlisted()
	j.times()
	j.order()
	j.even()
	for _, vm := range j.e.Doubled {
		if !slices.Contains(o.Doubled, vm) {
			j.fail("%s did not run twice, which this file is to show", vm)
		}
	}
	return j.bad
}

type judge struct {
	s   *Scenario
	o   *Outcome
	e   Expect
	bad []string
}

func (j *judge) fail(format string, args ...any) { j.bad = append(j.bad, fmt.Sprintf(format, args...)) }

func (j *judge) placement() {
	for _, vm := range slices.Sorted(maps.Keys(j.e.FinalPlacement)) {
		want := j.e.FinalPlacement[vm]
		got, ok := j.o.Placement[vm]
		if !ok {
			j.fail("%s: no such VM at the end, want it %s on %s", vm, want.State, want.hosts())
			continue
		}
		if !stateMatches(want.State, got) {
			j.fail("%s is %s at the end, want %s on %s", vm, got.describe(), want.State, want.hosts())
			continue
		}
		if want.GuestRunning != nil && *want.GuestRunning != got.GuestRunning {
			j.fail("%s: its guest runs: %v, want %v", vm, got.GuestRunning, *want.GuestRunning)
		}
		if want.Devices != nil && !slices.Equal(want.Devices, got.Devices) {
			j.fail("%s has the devices %q of its host, want %q", vm, got.Devices, want.Devices)
		}
		if !want.allows(got.Host) {
			j.fail("%s is %s on %s at the end, want it on %s", vm, got.State, got.Host, want.hosts())
		}
	}
}

func (p Placement) allows(host string) bool {
	return p.Host == "" && len(p.AnyOf) == 0 || p.Host == host || slices.Contains(p.AnyOf, host)
}

func (p Placement) hosts() string {
	return strings.Join(append(slices.Clone(p.AnyOf), p.Host), " ")
}

func (f Final) describe() string {
	if f.Host == "" {
		return f.State
	}
	return f.State + " (" + f.Host + ")"
}

func stateMatches(want string, got Final) bool {
	switch want {
	case "not_running":
		return !got.GuestRunning
	case "running":
		return got.State == "running" && got.GuestRunning
	}
	return want == got.State
}

func (j *judge) hosts() {
	for _, h := range slices.Sorted(maps.Keys(j.e.FinalHosts)) {
		if want, got := j.e.FinalHosts[h], j.o.Hosts[h]; want != got {
			j.fail("host %s is %s at the end, want %s", h, got, want)
		}
	}
	for i, x := range j.e.HostState {
		if i < len(j.o.States) && j.o.States[i] != x.State {
			j.fail("host %s is %s at %v, want %s", x.Host, j.o.States[i], x.T.D(), x.State)
		}
	}
	for _, x := range j.e.Running {
		on := ""
		for _, r := range j.o.Runs {
			if r.VM == x.VM && r.From <= x.T.D() && (r.To < 0 || r.To > x.T.D()) {
				on = r.Host
			}
		}
		if on != x.Host {
			j.fail("at %v %s runs on %q, want %q", x.T.D(), x.VM, on, x.Host)
		}
	}
}

// same names an event's counterparts: without a watchdog the fencing of a host
// is the wait for the end of its lease, which begins when it is suspected. That a move is
// for balance, or back after maintenance, stands in the event's text.
func same(want, got string) bool {
	return want == got || slices.Contains(inOurWords[want], got)
}

// inOurWords are the events of ours that tell what another's event tells.
var inOurWords = map[string][]string{
	"host_fencing_started":        {"host_unreachable"},
	"rebalance_move_ordered":      {"vm_move_ordered"},
	"vm_return_after_maintenance": {"vm_move_ordered"},
	// What follows a start that failed is told with it: each is one failure.
	"vm_start_retry_same_host":          {"vm_start_failed"},
	"vm_relocated_after_start_failures": {"vm_start_failed"},
	"vm_failed_needs_admin":             {"vm_given_up"},
	"vm_failure_cleared":                {"vm_intent_changed", "vm_protection_removed"},
	// The cluster is disarmed and armed as a whole.
	"vm_held":      {"cluster_disarmed"},
	"vm_unmanaged": {"cluster_disarmed", "vm_protection_removed"},
	"vm_released":  {"cluster_armed"},
}

// failsOnce reports whether an event tells of one start that failed, which no other event tells of.
func failsOnce(want string) bool { return slices.Contains(inOurWords[want], "vm_start_failed") }

// startsElsewhere reports whether a VM that does not run yet is given another host: what the
// other manager does by a move of it at home, ours does by where it starts it.
func (j *judge) startsElsewhere(want Event, got Seen) bool {
	v := j.s.VM(want.VM)
	fails := v != nil && v.InjectedFaults != nil && v.InjectedFaults.StartFailsFirstN > 0
	return want.Type == "vm_moved" && want.How == "cold" && (fails || j.s.Settings.RebalanceOnStart) && got.Type == "vm_recovery_assigned" && v != nil && got.To != v.Host
}

// matches reports whether an event that was seen is the expected one. In a recorded file
// the master may be another: which host wins an election is chance.
func (j *judge) matches(want Event, got Seen) bool {
	if !same(want.Type, got.Type) && !j.startsElsewhere(want, got) || want.Type == "rebalance_move_ordered" && !strings.Contains(got.Text, "load is uneven") || want.VM != "" && want.VM != got.VM && !ofWhole[got.Type] {
		return false
	}
	host := want.Host
	if failsOnce(want.Type) && host == "" {
		host = want.From
	} else if want.From != "" && want.From != got.From {
		return false
	}
	if j.s.Recorded() && (want.Type == "leader_elected" || want.Type == "leader_lost") {
		host = ""
	}
	return (host == "" || host == got.Host) && (want.To == "" || want.To == got.To) && j.inThatWay(want, got)
}

// inThatWay reports whether a VM that was moved ran on ("live") or was stopped first ("cold"),
// and that a host which is available after nothing was known of it ("unknown") began a life, and
// was not put back into service. A VM that does not run is moved in neither way.
func (j *judge) inThatWay(want Event, got Seen) bool {
	switch {
	case want.Type == "host_available" && want.After == "unknown":
		return !got.Observed
	case got.Type != "vm_moved" || want.How == "":
		return true
	}
	live, ran := false, false
	for _, r := range j.o.Runs {
		if r.VM == got.VM && r.Host == got.From && r.To >= 0 && r.To <= got.T {
			live, ran = r.Migrated, true // the last of them is the one
		}
	}
	return !ran || live == (want.How == "live")
}

// events finds each expected event, in order: every one after all before it; in
// a recorded file, where the order of things that have nothing to do with one
// another is the other manager's, after the action that it follows from and after
// those about the same host or VM.
func (j *judge) events() {
	at := make([]int, len(j.e.Events))
	used := map[int]bool{}
	for i, want := range j.e.Events {
		after, why := j.notBefore(i, at)
		at[i] = -1
		for k := after; k < len(j.o.Events); k++ {
			got := j.o.Events[k]
			if used[k] && (want.Type == got.Type && !(j.s.Recorded() && ofWhole[got.Type]) || failsOnce(want.Type)) || got.T < j.bound(i) || !j.matches(want, got) {
				continue
			}
			at[i], used[k] = k, true
			break
		}
		if at[i] < 0 {
			j.fail("event %s did not occur%s", want.describe(), why)
		}
	}
	for _, got := range j.o.Events {
		// I2 and I7 can be broken by what a scenario does to hosts and storage, I3 by a fault of ours alone.
		if got.Type == "invariant_violated" && strings.Contains(got.Text, "invariant I3 ") {
			j.fail("at %v %s", got.T, got.Text)
		}
	}
	for _, never := range j.e.ForbiddenEvents {
		for _, got := range j.o.Events {
			if got.T >= never.Since.D() && j.matches(never, got) {
				j.fail("event %s occurred at %v, which must not be", never.describe(), got.T)
				break
			}
		}
	}
}

func (e Event) describe() string {
	text := e.Type
	for _, x := range []struct{ name, value string }{{"host", e.Host}, {"vm", e.VM}, {"from", e.From}, {"to", e.To}} {
		if x.value != "" {
			text += " " + x.name + "=" + x.value
		}
	}
	return text
}

// ofWhole are events of the whole cluster, which the other manager tells of each VM.
var ofWhole = map[string]bool{"cluster_disarmed": true, "cluster_armed": true}

// ofArming are the events that tell of disarming and arming.
var ofArming = map[string]bool{"cluster_disarmed": true, "cluster_armed": true, "vm_held": true, "vm_unmanaged": true, "vm_released": true}

// bound is the moment of the last action that the expected event can be a
// consequence of: one on its host or VM, on the master before the one elected, or one
// that disarms or arms the cluster.
func (j *judge) bound(i int) time.Duration {
	want := j.e.Events[i]
	if want.PeerT == nil {
		return 0
	}
	master := ""
	if want.Type == "leader_elected" {
		for _, e := range j.e.Events[:i] {
			if e.Type == want.Type {
				master = e.Host
			}
		}
	}
	is := func(host string, of ...string) bool { return host != "" && slices.Contains(of, host) }
	var start time.Duration
	for _, a := range j.s.Actions {
		arms := ofArming[want.Type] && (a.Do == "disarm_cluster" || a.Do == "arm_cluster")
		if a.T <= *want.PeerT && (arms || is(a.Host, want.Host, want.From, master) || is(a.VM, want.VM)) {
			start = max(start, a.T.D())
		}
	}
	return start
}

// What a host does at the end of its lease, and what the others notice meanwhile: two
// machines, of which a faster manager may have the one or the other first.
var (
	ofHost  = map[string]bool{"host_agent_lost_lease": true, "host_self_fenced": true}
	noticed = map[string]bool{"host_unreachable": true, "host_fencing_started": true}
)

// notBefore is the first index at which expected event i may stand.
func (j *judge) notBefore(i int, at []int) (first int, why string) {
	want := j.e.Events[i]
	for k, earlier := range j.e.Events[:i] {
		if at[k] < 0 {
			continue
		}
		ordered := !j.s.Recorded() || earlier.Type == "leader_elected" && earlier.Type == want.Type || earlier.VM != "" && earlier.VM == want.VM ||
			earlier.Host != "" && (earlier.Host == want.Host || earlier.Host == want.From) && !(ofHost[earlier.Type] && noticed[want.Type])
		next := at[k] + 1
		if same(want.Type, j.o.Events[at[k]].Type) && want.Type != earlier.Type {
			next = at[k] // the same event is the counterpart of both
		}
		if ordered && next > first {
			first, why = next, fmt.Sprintf(" after %s at %v", earlier.describe(), j.o.Events[at[k]].T)
		}
	}
	return first, why
}

// order holds that VMs started last in the order that is expected, those of one entry in any.
func (j *judge) order() {
	before, last := -1, ""
	for _, entry := range j.e.OrderOfStarted {
		highest := before
		for vm := range strings.SplitSeq(entry, "|") {
			at := -1
			for k, e := range j.o.Events {
				if e.Type == "vm_started" && e.VM == vm {
					at = k
				}
			}
			if at <= before {
				j.fail("%s was not started after %s", vm, last)
			}
			highest = max(highest, at)
		}
		before, last = highest, entry
	}
}

// even holds that what runs on these hosts differs by no more than the largest VM that does.
func (j *judge) even() {
	if len(j.e.Even) == 0 {
		return
	}
	sum, largest := map[string]uint64{}, uint64(0)
	for _, v := range j.s.VMs {
		if f := j.o.Placement[v.ID]; f.GuestRunning {
			sum[f.Host] += v.MemBytes
			largest = max(largest, v.MemBytes)
		}
	}
	least, most := sum[j.e.Even[0]], sum[j.e.Even[0]]
	for _, h := range j.e.Even {
		least, most = min(least, sum[h]), max(most, sum[h])
	}
	if most-least > largest {
		j.fail("memory is not even over %v: %d to %d MiB, and the largest VM has %d", j.e.Even, least>>20, most>>20, largest>>20)
	}
}

func (j *judge) times() {
	for _, m := range j.e.MaxSeconds {
		limit := time.Duration(m.Seconds * float64(time.Second))
		if m.Bound != "" {
			limit = j.o.Bounds[m.Bound]
		}
		from := j.o.Actions[m.FromAction]
		at := time.Duration(-1)
		if m.To == "start_ordered" {
			for _, e := range j.o.Events {
				if e.Type == "vm_recovery_assigned" && e.VM == m.VM && e.T >= from && at < 0 {
					at = e.T
				}
			}
		} else {
			for _, r := range j.o.Runs {
				if r.VM == m.VM && r.From >= from && at < 0 {
					at = r.From
				}
			}
		}
		switch {
		case at < 0:
			j.fail("%s was not %s after action %d at %v", m.VM, m.To, m.FromAction, from)
		case at-from > limit:
			j.fail("%s was %s %v after action %d, at most %v is allowed", m.VM, m.To, at-from, m.FromAction, limit)
		}
	}
	if most := j.e.StoppedStarted; most != nil {
		limit := time.Duration(*most * float64(time.Second))
		for i, r := range j.o.Runs {
			again := slices.IndexFunc(j.o.Runs[i+1:], func(x Run) bool { return x.VM == r.VM && x.From >= r.To })
			if r.To < 0 || again < 0 {
				continue
			}
			if down := j.o.Runs[i+1+again].From - r.To; down > limit {
				j.fail("%s was down for %v from %v, at most %v is allowed", r.VM, down, r.To, limit)
			}
		}
	}
	for _, vm := range slices.Sorted(maps.Keys(j.e.Downtime)) {
		var ended time.Duration = -1
		for _, r := range j.o.Runs {
			if r.VM != vm {
				continue
			}
			if down := r.From - ended; ended >= 0 && down > j.e.Downtime[vm].D() {
				j.fail("%s was down for %v from %v, at most %v is allowed", vm, down, ended, j.e.Downtime[vm].D())
			}
			ended = r.To
		}
		if ended >= 0 {
			j.fail("%s ended at %v and did not run again", vm, ended)
		}
	}
}

// faults are the actions that lose a host.
var faults = map[string]bool{"power_off": true, "isolate_network": true, "partition": true, "kill_agent": true,
	"freeze_agent": true, "cut_link": true, "hypervisor_down": true, "suspend_host": true, "freeze_host": true}

// Recoveries lists every VM that was started elsewhere after its host was lost.
func Recoveries(s *Scenario, o *Outcome) []Recovery {
	var all []Recovery
	for _, e := range o.Events {
		if e.Type != "vm_recovery_assigned" || e.From == "" || e.From == e.To {
			continue
		}
		r := Recovery{VM: e.VM, From: e.From, To: e.To, Running: -1}
		fault := time.Duration(-1)
		for i, a := range s.Actions {
			hit := a.Host == e.From || a.From == e.From || slices.ContainsFunc(a.Groups, func(g []string) bool { return slices.Contains(g, e.From) })
			if faults[a.Do] && hit && o.Actions[i] <= e.T && o.Actions[i] >= fault {
				fault, r.Fault = o.Actions[i], a.Do
			}
		}
		if fault < 0 {
			continue
		}
		r.Ordered = (e.T - fault).Seconds()
		for _, run := range o.Runs {
			if run.VM == e.VM && run.Host == e.To && run.From >= e.T {
				r.Running = (run.From - fault).Seconds()
				break
			}
		}
		all = append(all, r)
	}
	return all
}
