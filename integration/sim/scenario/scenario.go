// Package scenario is the language in which the worlds of integration are told
// what the cluster looks like, what goes wrong and when, and what must then be
// true. A scenario is data (JSON, schema version 1); this package reads it
// strictly, says which features it needs that do not exist yet, and judges what
// was seen against what it expects. It runs nothing.
package scenario

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// SchemaVersion is the version of the language that this package reads.
const SchemaVersion = 1

// Scenario is one file.
type Scenario struct {
	SchemaVersion int    `json:"schema_version"`
	ID            string `json:"id"` // the file's name without .json
	Category      string `json:"category"`
	// Portability is set in files recorded from another HA manager ("full",
	// "adapted"). Those are held to placement, host states, kind and order of
	// events, and to nothing being done that they do not explain; never to the
	// other's times, nor to who is master.
	Portability string `json:"portability,omitempty"`
	// Mapping says, of a recorded file, what is otherwise here and why.
	Mapping string `json:"mapping,omitempty"`
	Summary string `json:"summary"`
	// TimeScale multiplies every time of the file, where a number of seconds is a
	// consequence of another manager's timing; 0 is 1.
	TimeScale  float64     `json:"time_scale,omitempty"`
	Hosts      []Host      `json:"hosts"`
	Volumes    []Volume    `json:"volumes,omitempty"`
	Datastores []Datastore `json:"datastores,omitempty"`
	VMs        []VM        `json:"vms"`
	Rules      []Rule      `json:"rules,omitempty"`
	// RulesFrom is when people give the cluster the rules and the policy: what was placed before
	// may break them. 0: the cluster is made with them.
	RulesFrom Seconds  `json:"rules_from,omitempty"`
	Settings  Settings `json:"settings,omitzero"`
	// Policy is our cluster policy in HCL's JSON syntax.
	Policy json.RawMessage `json:"policy,omitempty"`
	// WaitsFor names what the scenario waits for beside what its text shows, such
	// as the mending of a known fault; it is not run until then.
	WaitsFor []string `json:"waits_for,omitempty"`
	// InitialState is a state of another manager that the scenario starts from.
	InitialState *InitialState   `json:"initial_state,omitempty"`
	Actions      []Action        `json:"actions"`
	Until        Seconds         `json:"until,omitempty"` // virtual end; 0: DefaultUntil after the last action
	Expect       Expect          `json:"expect"`
	Better       *ExpectBetter   `json:"expect_better_than_peer,omitempty"`
	PeerRecovery json.RawMessage `json:"peer_recovery,omitempty"` // for comparison only
}

// DefaultUntil is how long after its last action a scenario ends.
const DefaultUntil = 300 * time.Second

// Host is one machine.
type Host struct {
	ID       string  `json:"id"`
	CPUs     float64 `json:"cpus,omitempty"`
	MemBytes uint64  `json:"mem_bytes,omitempty"`
	Zone     string  `json:"zone,omitempty"`
	// Watchdog is "hardware" or "none"; empty is the default, hardware. Its timeout is the timing's.
	Watchdog string `json:"watchdog,omitempty"`
	// WatchdogSlow is by what share the watchdog's clock is slow: 0.05 fires 5 % late.
	WatchdogSlow float64 `json:"watchdog_slow,omitempty"`
	// BootTakes is how long the host takes to run again after a reset, or when a fence
	// device switches it on; 0: 20 s. Below zero it stays off.
	BootTakes Seconds `json:"boot_takes,omitempty"`
	// ClockRate is the rate of the host's boot clock; 0 is 1.
	ClockRate float64 `json:"clock_rate,omitempty"`
	// FenceDevice is what the host's device does when it is told to switch: "works",
	// "refuses" or "hangs"; empty: it has none.
	FenceDevice string `json:"fence_device,omitempty"`
	Voter       *bool  `json:"voter,omitempty"`
	// EndTakes is how long it takes on this host, from the end of its lease, until
	// its VMs are gone: at most what the timing allows for (the hard end and the drain).
	EndTakes Seconds `json:"end_takes,omitempty"`
	// StartTakes is how long the host's hypervisor takes to create a VM's process.
	StartTakes Seconds `json:"start_takes,omitempty"`
	// Member is false for a machine that joins only by an add_host action.
	Member *bool `json:"member,omitempty"`
}

// Volume is one heartbeat volume.
type Volume struct {
	ID string `json:"id"`
}

// Datastore is where VM disks live, seen by some hosts.
type Datastore struct {
	ID    string   `json:"id"`
	Hosts []string `json:"hosts,omitempty"`
}

// VM is one virtual machine.
type VM struct {
	ID   string `json:"id"`
	Host string `json:"host"` // where it starts
	// Desired is running, stopped, disabled, ignored or unmanaged.
	Desired           string   `json:"desired"`
	CPUs              float64  `json:"cpus,omitempty"` // a fraction is a limit on one processor
	MemBytes          uint64   `json:"mem_bytes,omitempty"`
	CPUUsed           *float64 `json:"cpu_used,omitempty"`
	MemUsedBytes      *float64 `json:"mem_used_bytes,omitempty"`
	LiveMigratable    *bool    `json:"live_migratable,omitempty"`
	Datastore         string   `json:"datastore,omitempty"`
	Priority          *int     `json:"priority,omitempty"`
	Order             *int     `json:"order,omitempty"`
	DependsOn         []string `json:"depends_on,omitempty"`
	ReadyAfterS       *float64 `json:"ready_after_s,omitempty"`
	MaxRestartsOnHost *Count   `json:"max_restarts_per_host,omitempty"`
	MaxRelocations    *Count   `json:"max_relocations,omitempty"`
	Failback          *bool    `json:"failback,omitempty"`
	// Autostart says that the hypervisor of Host was told, before, to start it at boot.
	Autostart bool `json:"autostart,omitempty"`
	// Devices are those of Host that its definition hands to the guest, as words such as "pci:0000:41:00.0".
	Devices        []string        `json:"devices,omitempty"`
	InjectedFaults *InjectedFaults `json:"injected_faults,omitempty"`
}

// InjectedFaults are what goes wrong with one VM.
type InjectedFaults struct {
	StartFailsFirstN           int    `json:"start_fails_first_n,omitempty"` // counted over all hosts, unless limited to one
	MoveFailsFirstN            int    `json:"move_fails_first_n,omitempty"`
	StopAlwaysFails            bool   `json:"stop_always_fails,omitempty"`
	StartAndMoveFaultsOnlyHost string `json:"start_and_move_faults_only_on_host,omitempty"`
}

// Rule is an affinity rule.
type Rule struct {
	Type   string         `json:"type"` // host_affinity, keep_together or keep_apart
	VMs    []string       `json:"vms"`
	Hosts  map[string]int `json:"hosts,omitempty"` // host to weight
	Strict bool           `json:"strict,omitempty"`
}

// Settings are the knobs of the manager that a file was recorded from.
type Settings struct {
	Placement               string `json:"placement,omitempty"`
	AutoRebalance           bool   `json:"auto_rebalance,omitempty"`
	AutoRebalanceMethod     string `json:"auto_rebalance_method,omitempty"`
	AutoRebalanceHoldRounds int    `json:"auto_rebalance_hold_rounds,omitempty"`
	RebalanceOnStart        bool   `json:"rebalance_on_start,omitempty"`
	ShutdownPolicy          string `json:"shutdown_policy,omitempty"`
}

// InitialState seeds a scenario that begins in the middle of something.
type InitialState struct {
	LeaderBefore string               `json:"leader_before,omitempty"`
	Hosts        map[string]string    `json:"hosts,omitempty"`
	VMs          map[string]InitialVM `json:"vms,omitempty"`
}

// InitialVM is one VM's part of an initial state.
type InitialVM struct {
	Host     string `json:"host,omitempty"`
	State    string `json:"state,omitempty"`
	MovingTo string `json:"moving_to,omitempty"`
}

// Expect is what must be true at the end.
type Expect struct {
	FinalPlacement map[string]Placement `json:"final_placement,omitempty"`
	// FinalHosts is on, off or isolated (on, but cut off), by host.
	FinalHosts map[string]string `json:"final_hosts,omitempty"`
	// Events must each occur, in this order; others may stand between.
	Events          []Event            `json:"events,omitempty"`
	ForbiddenEvents []Event            `json:"forbidden_events,omitempty"`
	MaxSeconds      []MaxSeconds       `json:"max_seconds,omitempty"`
	OrderOfStarted  []string           `json:"order_of_vm_started,omitempty"` // "a|b" is either order
	StoppedStarted  *float64           `json:"max_seconds_from_vm_stopped_to_started,omitempty"`
	HostState       []HostStateAt      `json:"host_state,omitempty"`
	Running         []RunningAt        `json:"running,omitempty"`
	Downtime        map[string]Seconds `json:"max_downtime,omitempty"` // by VM: longest time that it did not run, once it had
	// Even are hosts of one size whose VMs' memory differs by no more than the largest of them.
	Even []string `json:"even,omitempty"`
	// Doubled are VMs that run twice, because nothing guards their host: the exposure that a file shows.
	Doubled []string `json:"doubled,omitempty"`
}

// ExpectBetter overrides Expect where a successor should do better, or otherwise, than what was recorded.
type ExpectBetter struct {
	FinalPlacement map[string]Placement `json:"final_placement,omitempty"`
	Events         []Event              `json:"events,omitempty"` // in place of all of the other's
	OrderOfStarted []string             `json:"order_of_vm_started,omitempty"`
	StoppedStarted *float64             `json:"max_seconds_from_vm_stopped_to_started,omitempty"`
	AddPriorities  map[string]int       `json:"add_priorities,omitempty"`
	Why            string               `json:"why,omitempty"`
}

// Placement is where a VM ends up: on Host, or on one of AnyOf, in State
// (running, stopped, not_running, failed, unmanaged, waiting_for_host).
type Placement struct {
	Host         string   `json:"host,omitempty"`
	AnyOf        []string `json:"any_of,omitempty"`
	State        string   `json:"state"`
	GuestRunning *bool    `json:"guest_running,omitempty"`
	// Devices are those of the host that the guest has, where it runs.
	Devices []string `json:"devices,omitempty"`
}

// Event is one expected event; an empty field matches anything.
type Event struct {
	PeerT     *Seconds `json:"peer_t,omitempty"` // when the recorded manager did it
	Type      string   `json:"type"`
	Host      string   `json:"host,omitempty"`
	VM        string   `json:"vm,omitempty"`
	From      string   `json:"from,omitempty"`
	To        string   `json:"to,omitempty"`
	How       string   `json:"how,omitempty"`
	After     string   `json:"after,omitempty"`
	Component string   `json:"component,omitempty"`
	N         int      `json:"n,omitempty"`
	// Since is, for a forbidden event, from when on it must not occur.
	Since Seconds `json:"since,omitempty"`
}

// MaxSeconds bounds the time from an action to the order to start a VM
// elsewhere, or to its running.
type MaxSeconds struct {
	VM         string  `json:"vm"`
	FromAction int     `json:"from_action"` // index into actions
	To         string  `json:"to"`          // start_ordered or running
	Seconds    float64 `json:"seconds"`
	// Bound names a bound of the cluster's timing in place of seconds:
	// "member" or "master" power loss to start order, plus one heartbeat.
	Bound string `json:"bound,omitempty"`
}

// HostStateAt is what a host must be at a moment: on, off, isolated, or the
// master's verdict (live, dead, …).
type HostStateAt struct {
	T     Seconds `json:"t"`
	Host  string  `json:"host"`
	State string  `json:"state"`
}

// RunningAt is where a VM must run at a moment, by the hypervisors; Host empty:
// nowhere.
type RunningAt struct {
	T    Seconds `json:"t"`
	VM   string  `json:"vm"`
	Host string  `json:"host"`
}

// Seconds is a moment or a length of virtual time, written as a number of
// seconds or as text such as "12.5s".
type Seconds time.Duration

// D is s as a Duration.
func (s Seconds) D() time.Duration { return time.Duration(s) }

// UnmarshalJSON reads a number of seconds or a duration's text.
func (s *Seconds) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		var text string
		if err := json.Unmarshal(b, &text); err != nil {
			return err
		}
		d, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("%q is not a time: write seconds (12.5) or a text such as \"12.5s\"", text)
		}
		*s = Seconds(d)
		return nil
	}
	f, err := strconv.ParseFloat(string(b), 64)
	if err != nil || f != f || f > 1e9 || f < -1e9 {
		return fmt.Errorf("%s is not a time: write seconds (12.5) or a text such as \"12.5s\"", b)
	}
	*s = Seconds(f * float64(time.Second))
	return nil
}

// MarshalJSON writes whole seconds as a number and others as a duration's text.
func (s Seconds) MarshalJSON() ([]byte, error) {
	if s%Seconds(time.Second) == 0 {
		return strconv.AppendInt(nil, int64(s/Seconds(time.Second)), 10), nil
	}
	return json.Marshal(time.Duration(s).String())
}

// Count is a whole number, which some recorded files write as text.
type Count int

// UnmarshalJSON reads a number, or a number in quotes.
func (c *Count) UnmarshalJSON(b []byte) error {
	n, err := strconv.Atoi(strings.Trim(string(b), `"`))
	if err != nil {
		return fmt.Errorf("%s is not a whole number", b)
	}
	*c = Count(n)
	return nil
}

// Recorded reports whether the file holds what another manager was seen to do.
func (s *Scenario) Recorded() bool { return s.Portability != "" }

// End is the virtual moment at which the scenario ends.
func (s *Scenario) End() time.Duration {
	if s.Until != 0 {
		return s.Until.D()
	}
	var last time.Duration
	for _, a := range s.Actions {
		last = max(last, a.T.D())
	}
	return last + DefaultUntil
}

// VM returns the VM of that id, also one that a protect_vm action brings; nil
// when there is none.
func (s *Scenario) VM(id string) *VM {
	for i := range s.VMs {
		if s.VMs[i].ID == id {
			return &s.VMs[i]
		}
	}
	return nil
}

// HostIDs lists the hosts in the order of the file.
func (s *Scenario) HostIDs() []string {
	ids := make([]string, 0, len(s.Hosts))
	for _, h := range s.Hosts {
		ids = append(ids, h.ID)
	}
	return ids
}

// Expected is Expect with what ExpectBetter overrides.
func (s *Scenario) Expected() Expect {
	e := s.Expect
	if s.Better == nil {
		return e
	}
	if s.Better.FinalPlacement != nil {
		e.FinalPlacement = maps.Clone(e.FinalPlacement)
		if e.FinalPlacement == nil {
			e.FinalPlacement = map[string]Placement{}
		}
		maps.Copy(e.FinalPlacement, s.Better.FinalPlacement)
	}
	if s.Better.Events != nil {
		e.Events = s.Better.Events
	}
	if s.Better.OrderOfStarted != nil {
		e.OrderOfStarted = s.Better.OrderOfStarted
	}
	if s.Better.StoppedStarted != nil {
		e.StoppedStarted = s.Better.StoppedStarted
	}
	return e
}

// scale applies TimeScale to every time of the file.
func (s *Scenario) scale() {
	if s.TimeScale == 0 || s.TimeScale == 1 {
		return
	}
	by := func(t *Seconds) { *t = Seconds(float64(*t) * s.TimeScale) }
	for i := range s.Actions {
		by(&s.Actions[i].T)
	}
	for i := range s.Expect.Events {
		if t := s.Expect.Events[i].PeerT; t != nil {
			by(t)
		}
	}
	for i := range s.Expect.HostState {
		by(&s.Expect.HostState[i].T)
	}
	for i := range s.Expect.Running {
		by(&s.Expect.Running[i].T)
	}
	by(&s.Until)
	by(&s.RulesFrom)
}

// nearest returns the known name closest to name, or "" when none is close.
func nearest(name string, known []string) string {
	best, least := "", max(2, len(name)/3)+1
	for _, k := range known {
		if d := distance(strings.ToLower(name), k); d < least {
			best, least = k, d
		}
	}
	return best
}

// unknown is the end of a message about an unknown name.
func unknown(name string, known []string) string {
	if k := nearest(name, known); k != "" {
		return fmt.Sprintf("%q is not known; did you mean %q?", name, k)
	}
	return fmt.Sprintf("%q is not known; known are %s", name, strings.Join(slices.Sorted(slices.Values(known)), ", "))
}

// distance is the number of letters to insert, delete or replace to turn a into b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost = 1 + min(diagonal, row[j], row[j-1])
			}
			diagonal, row[j] = row[j], cost
		}
	}
	return row[len(b)]
}
