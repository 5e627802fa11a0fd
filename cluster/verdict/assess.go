package verdict

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-ha/holdfast/fsm"
)

// Assessment is a verdict with all that explains it.
type Assessment struct {
	Verdict Verdict
	// Row is the row of the decision table that applied: D… of decision_table.json, E… of more_rows.json.
	Row string
	// Restarts is which of the host's VMs are worth a new place. It permits nothing.
	Restarts Restarts
	// Text says the verdict in one clause, to stand behind the host's name.
	Text string
	// Warnings are what is wrong and changes nothing.
	Warnings []Warning
	// Evidence is every signal with its value, its age and who read it.
	Evidence []fsm.Evidence
}

// Assess applies the decision table.
func Assess(s Signals) Assessment {
	a := Assessment{Evidence: evidence(s)}
	a.decide(s)
	if s.lost() && a.Restarts == RestartNone && s.handedBack() {
		a.Restarts = RestartReleased
	}
	if !s.lost() && !s.Left && !s.Maintenance {
		a.Warnings = warnings(s)
	}
	return a
}

// decide finds the row. The first that fits counts.
func (a *Assessment) decide(s Signals) {
	set := func(row string, v Verdict, r Restarts, text string) {
		a.Row, a.Verdict, a.Restarts, a.Text = row, v, r, text
	}
	switch {
	case s.Left:
		set("E01", Left, RestartNone, "has left the cluster")
	case s.Maintenance:
		set("D13", Maintenance, RestartNone, "is in maintenance")
		switch {
		case s.Status == fsm.HostDead:
			a.Restarts = RestartAll
			a.Text += fmt.Sprintf("; incarnation %d was declared dead", s.Incarnation)
		case s.Status == fsm.HostLive && s.lost():
			a.Text += "; it has not been heard for " + span(s.Heard)
		}
	case s.Status == fsm.HostJoining:
		set("D12", Joining, RestartNone, "has not begun its first incarnation")
	case s.Status == fsm.HostDead:
		set("E02", Dead, RestartAll, fmt.Sprintf("is dead: incarnation %d is over, and it returns as a new one", s.Incarnation))
	case !s.lost():
		a.heard(s)
	default:
		a.silent(s)
	}
}

// heard are the rows of a host that comes through on the network.
func (a *Assessment) heard(s Signals) {
	a.Verdict, a.Restarts = Live, RestartNone
	switch {
	case s.Suspected:
		a.Row, a.Verdict, a.Text = "E03", Suspect, "is heard again; it is acknowledged once its suspicion is withdrawn"
	case s.storage() == stale:
		a.Row, a.Text = "D02", "is heard over the network; its storage heartbeat is stale"
	case s.storage() == unreadable:
		a.Row, a.Text = "D03", "is heard over the network; nobody can read its heartbeat volumes"
	default:
		a.Row, a.Text = "D01", "is heard"
	}
}

// silent are the rows of a host that is not heard over any network.
func (a *Assessment) silent(s Signals) {
	set := func(row string, v Verdict, r Restarts, text string) {
		a.Row, a.Verdict, a.Restarts, a.Text = row, v, r, text
	}
	answers, volumes := s.pingAnswers(), s.storage()
	owns := "its VMs are its own until it is declared dead"
	switch {
	case s.words().CleanExit:
		set("E05", AgentDown, RestartReleased, "is silent because its agent ended in good order, with no protected VM left")
	case volumes == fresh && s.Suspected && !s.readHere() && s.words().Isolated:
		set("E13", Isolated, RestartReleased,
			"is isolated: "+s.readers()+" on storage that it hears nobody, where this master does not read it; while that is so it is not acknowledged, and its lease ends")
	case volumes == fresh && s.Suspected && !s.readHere():
		set("E11", Partitioned, RestartReleased,
			"is partitioned: not heard over any network, and alive on storage as "+s.readers()+" there, where this master does not read it; while that is so it is not acknowledged, and its lease ends")
	case volumes == fresh && s.Suspected:
		set("E04", Suspect, RestartNone,
			"is not heard over the network and alive on storage again; it is acknowledged once its suspicion is withdrawn")
	case volumes == fresh && s.words().Isolated && !answers:
		set("D04", Isolated, RestartReleased,
			"is isolated: it writes to storage that it hears nobody on any network; its VMs go on, save those that it records as stopped")
	case volumes == fresh && s.words().Isolated:
		set("D07", Isolated, RestartReleased,
			"is isolated by its own word on storage, and answers a ping: the network is coming back, or lets only that through; its VMs go on, save those that it records as stopped")
	case volumes == fresh && answers:
		set("D06", AgentDown, RestartNone,
			"is not heard over any HA network though it answers a ping and its agent writes to storage: the agent's port is blocked, or the HA networks are down; its VMs go on")
	case volumes == fresh:
		set("D05", Partitioned, RestartReleased,
			"is partitioned: not heard over any network, alive on storage; its VMs go on, save those that it records as stopped")
	case volumes == stale && answers:
		set("D08", AgentDown, RestartNone, "answers a ping, and its agent neither sends nor writes: the agent is down; "+owns)
	case volumes == stale:
		set("D09", Suspect, RestartNone, "is silent on every network and every volume; "+owns)
	case volumes == unreadable && answers:
		set("D11", AgentDown, RestartNone, "answers a ping, its agent is not heard, and nobody can read its heartbeat volumes; "+owns)
	case volumes == unreadable:
		set("D10", Unknown, RestartNone, "is silent, and nobody can read its heartbeat volumes, which says nothing of it; "+owns)
	case answers:
		set("E07", AgentDown, RestartNone, "answers a ping, and its agent is not heard; there are no heartbeat volumes to tell more; "+owns)
	default:
		set("E06", Suspect, RestartNone, "is silent on every network; "+owns)
	}
	if s.words().SelfFencing {
		a.Text += "; its last record says that its lease ended and that it is stopping its VMs"
	}
}

// lost reports whether the host is not heard over the network.
func (s *Signals) lost() bool { return s.Heard > s.Bound }

// words are the host's own, as far as they are to be believed: of its present life.
func (s *Signals) words() Slot {
	if s.Slot.Incarnation == 0 || s.Slot.Incarnation != s.Incarnation {
		return Slot{}
	}
	return s.Slot
}

// handedBack reports whether the host says that it runs no protected VM, and will not in this incarnation.
func (s *Signals) handedBack() bool { return s.words().Stopped || s.words().CleanExit }

// pingAnswers reports whether any management address answers. One that was never
// asked is as good as silent: a ping only ever adds to what is known.
func (s *Signals) pingAnswers() bool {
	for _, p := range s.Ping {
		if p.answers(s.PingBound) {
			return true
		}
	}
	return false
}

// storage is what all readings of the volumes together say.
type storage int

const (
	noVolumes  storage = iota
	fresh              // the host's heartbeat changes on a volume that somebody reads
	stale              // it changes on none of those that somebody can read
	unreadable         // nobody can read any
)

// readings are all of them by volume, the master's own first.
func (s *Signals) readings() map[string][]VolumeSign {
	all := make(map[string][]VolumeSign, len(s.Volumes))
	for name, v := range s.Volumes {
		all[name] = append(all[name], v)
	}
	for _, r := range s.Relayed {
		all[r.Volume] = append(all[r.Volume], r.VolumeSign)
	}
	return all
}

func (s *Signals) storage() storage {
	all := s.readings()
	if len(all) == 0 {
		return noVolumes
	}
	state := unreadable
	for _, signs := range all {
		for _, v := range signs {
			switch {
			case !v.Readable:
			case v.Age >= 0 && v.Age <= s.StorageBound:
				return fresh
			default:
				state = stale
			}
		}
	}
	return state
}

// readHere reports whether the master itself reads that the host is alive.
func (s *Signals) readHere() bool {
	for _, v := range s.Volumes {
		if v.By == "" && v.Readable && v.Age >= 0 && v.Age <= s.StorageBound {
			return true
		}
	}
	return false
}

// readers are the other members that read that it is, with their verb.
func (s *Signals) readers() string {
	var names []string
	for _, r := range s.Relayed {
		if r.Readable && r.Age >= 0 && r.Age <= s.StorageBound && !slices.Contains(names, r.By) {
			names = append(names, r.By)
		}
	}
	slices.Sort(names)
	if len(names) == 1 {
		return names[0] + " reads"
	}
	return strings.Join(names, ", ") + " read"
}

// The names of warnings.
const (
	// WarnStorageStale: a host that is heard over the network writes to none of its volumes.
	WarnStorageStale = "storage_heartbeat_stale"
	// WarnStoragePath: it writes to some of its volumes and not to others.
	WarnStoragePath = "storage_path_lost"
	// WarnStorageView: nobody can read any of its volumes.
	WarnStorageView = "storage_view_lost"
	// WarnHypervisor: its hypervisor does not answer.
	WarnHypervisor = "vmm_unavailable"
)

// Warning is something that is wrong with a host and changes nothing about it.
type Warning struct {
	Name string // one of the Warn constants
	Text string // for people
}

// patience is how many bounds of silence on one path of several a warning waits
// for: a late heartbeat there is no news while another path carries it.
const patience = 4

func warnings(s Signals) []Warning {
	var all []Warning
	quiet, readable, volumes := s.quietVolumes(s.StorageBound)
	switch {
	case volumes > 0 && readable == 0:
		all = append(all, Warning{WarnStorageView,
			"nobody can read any of its heartbeat volumes; it is heard over the network, so nothing else changes"})
	case len(quiet) > 0 && len(quiet) == readable:
		all = append(all, Warning{WarnStorageStale,
			fmt.Sprintf("no storage heartbeat on %s for more than %v; it is heard over the network, so nothing else changes",
				strings.Join(quiet, ", "), s.StorageBound)})
	default:
		if quiet, _, _ := s.quietVolumes(patience * s.StorageBound); len(quiet) > 0 {
			all = append(all, Warning{WarnStoragePath,
				fmt.Sprintf("no storage heartbeat on %s for more than %v; it writes to another volume, so nothing else changes",
					strings.Join(quiet, ", "), patience*s.StorageBound)})
		}
	}
	if s.Hypervisor != "" {
		all = append(all, Warning{WarnHypervisor,
			"its hypervisor does not answer: " + s.Hypervisor + "; it is given no more VMs, and those that it runs stay"})
	}
	return all
}

// quietVolumes are those that somebody can read and on which nobody has seen the
// host for longer than the bound. What never came is as old as the watch.
func (s *Signals) quietVolumes(bound time.Duration) (quiet []string, readable, volumes int) {
	all := s.readings()
	for name, signs := range all {
		youngest, read := time.Duration(0), false
		for _, v := range signs {
			if !v.Readable {
				continue
			}
			age := v.Age
			if age < 0 {
				age = s.Watched
			}
			if !read || age < youngest {
				youngest = age
			}
			read = true
		}
		if read {
			readable++
		}
		if read && youngest > bound {
			quiet = append(quiet, name)
		}
	}
	slices.Sort(quiet)
	return quiet, readable, len(all)
}

// Quiet lists the networks over which a host that is live is not heard: each is
// a warning, none is a reason to act.
func Quiet(s Signals) []string {
	if s.lost() {
		return nil
	}
	var quiet []string
	for n, age := range s.Networks {
		if age > patience*s.Bound {
			quiet = append(quiet, n)
		}
	}
	slices.Sort(quiet)
	return quiet
}
