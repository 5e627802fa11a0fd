package fsm

import (
	"fmt"
	"strings"
	"time"
)

// Disarm says that the cluster does nothing by itself for a while, because a person wants it so: no VM is
// started or moved but for what a person asks, no host is switched off by its fence devices. Leases,
// guards and deaths go on as ever (safety.md, A2): nothing here bears on who may run a VM.
type Disarm struct {
	// ID is the number of the event by which this was asked for: no two share one.
	ID    uint64        `json:"id"`
	Since time.Time     `json:"since"` // when the cluster was disarmed; the wish may have been renewed later
	At    time.Time     `json:"at"`    // when the wish was last renewed
	For   time.Duration `json:"for"`   // from At
	Why   string        `json:"why"`
	By    string        `json:"by,omitempty"`
	// Warned says that people were told that the end is near.
	Warned bool `json:"warned,omitempty"`
}

// The event types of disarming and arming.
const (
	EventClusterDisarmed = "cluster_disarmed"
	EventClusterArmed    = "cluster_armed"
	EventClusterArmsSoon = "cluster_arms_soon"
)

// A cluster is disarmed for no less than DisarmLeast and no more than DisarmMost at a time.
const (
	DisarmLeast = time.Minute
	DisarmMost  = 24 * time.Hour
)

// Until is when it ends by itself, by the wall clock of whoever asked for it.
func (d *Disarm) Until() time.Time { return d.At.Add(d.For) }

// DisarmedFor begins what is said of what is not done because the cluster is disarmed.
const DisarmedFor = "the cluster is disarmed until "

// Text says for people until when the cluster is disarmed, why, and how that ends. It is the same
// at whatever time it is asked for.
func (d *Disarm) Text() string { return d.Brief() + ": `haadm arm` ends that" }

// Brief is Text without how it ends.
func (d *Disarm) Brief() string {
	return fmt.Sprintf("%s%s (%s, says %s)", DisarmedFor, d.Until().UTC().Format("2006-01-02 15:04:05 MST"), d.Why, d.By)
}

// DisarmCluster has the cluster do nothing by itself, from now on for so long. Where it is disarmed
// already, this takes the place of the wish before.
type DisarmCluster struct {
	Meta
	For time.Duration `json:"for"`
	Why string        `json:"why"`
}

// ArmCluster ends what DisarmCluster began. Where the cluster is armed it changes nothing.
type ArmCluster struct {
	Meta
	Why string `json:"why,omitempty"`
	// Over is Disarm.ID of the wish whose time is over, and Epoch the office's that says so; 0: a person
	// ends it, whatever it is. One that was renewed meanwhile goes on.
	Over  uint64 `json:"over,omitempty"`
	Epoch uint64 `json:"epoch,omitempty"`
}

// WarnArms tells people that the cluster arms itself soon, once for each wish.
type WarnArms struct {
	Meta
	Epoch  uint64 `json:"epoch"`
	Disarm uint64 `json:"disarm"` // Disarm.ID
}

func (*DisarmCluster) kind() Type { return TypeDisarmCluster }
func (*ArmCluster) kind() Type    { return TypeArmCluster }
func (*WarnArms) kind() Type      { return TypeWarnArms }

func (c *DisarmCluster) check() error {
	switch {
	case c.For < DisarmLeast || c.For > DisarmMost:
		return invalid("a cluster is disarmed for %v to %v at a time, not %v; it can be asked for again before the end",
			DisarmLeast, DisarmMost, c.For)
	case strings.TrimSpace(c.Why) == "":
		return invalid("why the cluster is disarmed has to be said: whoever finds a VM down will want to know")
	}
	return checkText("reason", c.Why)
}

func (c *ArmCluster) check() error { return checkText("reason", c.Why) }

func (c *WarnArms) check() error {
	if c.Disarm == 0 {
		return invalid("no wish has the number 0")
	}
	return nil
}

// apply returns the number of the wish, a uint64.
func (c *DisarmCluster) apply(s *State) (any, *Refusal) {
	d := &Disarm{Since: c.At, At: c.At, For: c.For, Why: c.Why, By: c.By}
	is := "is disarmed"
	if s.Disarmed != nil {
		d.Since, is = s.Disarmed.Since, "stays disarmed"
	}
	d.ID = s.emit(c.Meta, Event{Type: EventClusterDisarmed, Severity: Warning,
		Text: fmt.Sprintf("the cluster %s until %s: %s. Nothing is started or moved by itself, and no host is switched off, until then or until `haadm arm`",
			is, d.Until().UTC().Format("2006-01-02 15:04:05 MST"), c.Why)})
	s.Disarmed = d
	return d.ID, nil
}

func (c *ArmCluster) apply(s *State) (any, *Refusal) {
	d := s.Disarmed
	if c.Over != 0 {
		if r := s.inEpoch(c.Epoch); r != nil {
			return nil, r
		}
		if d == nil || d.ID != c.Over {
			return refuse(CodeStale, "whether the cluster is disarmed has been asked for anew")
		}
	}
	if d == nil {
		return nil, nil
	}
	text := "the cluster is armed again" + because(c.Why)
	if c.Over != 0 {
		text = fmt.Sprintf("the cluster is armed again, since the time is over for which %s had it disarmed (%s)", d.By, d.Why)
	}
	s.emit(c.Meta, Event{Type: EventClusterArmed, Cause: d.ID, Text: text})
	s.Disarmed, s.Armed = nil, c.At
	for _, vm := range s.SortedVMs() {
		if vm.Asked {
			s.editVM(vm.UUID).Asked = false
		}
	}
	return nil, nil
}

func (c *WarnArms) apply(s *State) (any, *Refusal) {
	if r := s.inEpoch(c.Epoch); r != nil {
		return nil, r
	}
	d := s.Disarmed
	switch {
	case d == nil || d.ID != c.Disarm:
		return refuse(CodeStale, "whether the cluster is disarmed has been asked for anew")
	case d.Warned:
		return nil, nil
	}
	told := *d
	told.Warned = true
	s.Disarmed = &told
	s.emit(c.Meta, Event{Type: EventClusterArmsSoon, Severity: Warning, Cause: d.ID,
		Text: fmt.Sprintf("the cluster arms itself at %s: what waits is started then. `haadm disarm` again if more time is needed",
			d.Until().UTC().Format("15:04:05 MST"))})
	return nil, nil
}

// asks notes that a VM is to be started though the cluster is disarmed: a person asked for it, or the
// cluster itself has shut it down for what a person asked. It holds until the VM runs.
func (vm *VM) asks(s *State) bool {
	if s.Disarmed != nil && vm.Intent == IntentRun {
		vm.Asked = true
	}
	return vm.Asked
}

// disarmed refuses what nobody asked for while the cluster is disarmed (A1).
func (s *State) disarmed(what string) *Refusal {
	if s.Disarmed == nil {
		return nil
	}
	return &Refusal{CodeConflict, what + ": " + s.Disarmed.Text()}
}
