package verdict

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-ha/holdfast/fsm"
)

// Standing is where a host sees itself.
type Standing string

const (
	// Connected: a master acknowledges it over the network, or it belongs to a majority that is electing one.
	Connected Standing = "connected"
	// Apart: no master acknowledges it, but somebody or something answers. It is
	// partitioned, which is not isolated: nothing is done to its VMs.
	Apart Standing = "partitioned"
	// Alone: it hears nobody, no isolation address answers, and its storage works.
	Alone Standing = "isolated"
	// CutOff: it hears nobody, and none of its volumes works. Nothing that could
	// renew its lease is left: the lease ends, and its VMs with it.
	CutOff Standing = "cut_off"
)

// Isolated reports whether the isolation response applies.
func (s Standing) Isolated() bool { return s == Alone || s == CutOff }

// SelfSignals are what a host sees of its surroundings. Ages are on its own boot clock.
type SelfSignals struct {
	// By is the host itself.
	By string
	// Running is how long its agent has been running. Before that exceeds the bounds, what
	// never came says nothing.
	Running time.Duration
	// Acknowledged is the age of the last acknowledgement by a master over the network, and
	// negative when none came in this run of the agent. One that came over a volume
	// proves that a master lives, not that the network does: it belongs in Response.Master.
	Acknowledged time.Duration
	// Hosts is the age of the last word of every other member over any network; negative: none in this run.
	Hosts map[string]time.Duration
	// Bound is the silence of the network after which master and hosts count as not heard.
	Bound time.Duration
	// Majority says that this host takes part in an election that a majority of the voters takes part in.
	Majority bool
	// Addresses are the isolation addresses. Without any, the other hosts alone tell.
	Addresses map[string]PingSign
	// PingBound is the age up to which a reply counts as an answer.
	PingBound time.Duration
	// Links are the interfaces of the HA networks. They are evidence and decide nothing:
	// a cable that is in is no network, and one that is out shows in all the rest.
	Links map[string]LinkSign
	// Volumes is by heartbeat volume when this host last completed a write and a reading
	// of it; Readable false is a volume that fails.
	Volumes map[string]VolumeSign
	// StorageBound is the age after which a volume counts as lost.
	StorageBound time.Duration
}

// LinkSign is the interface that holds this host's address on an HA network.
type LinkSign struct {
	Interface string // empty: no interface has the address
	Up        bool   // switched on
	Carrier   bool   // something is at the other end of the cable
}

// SelfAssessment is a host's view of itself with all that explains it.
type SelfAssessment struct {
	Standing Standing
	// Row is the row of the decision table that applied (L…).
	Row string
	// Text says it in one clause, to stand behind the host's name.
	Text string
	// Evidence is every signal with its value, its age and who saw it.
	Evidence []fsm.Evidence
}

// AssessSelf decides whether the host that asks is isolated. Whoever answers, by
// whatever path, speaks against it: a master, any other host, any isolation address.
// An address that was not asked yet leaves it open, and open is not isolated.
func AssessSelf(s SelfSignals) SelfAssessment {
	a := SelfAssessment{Evidence: selfEvidence(s)}
	set := func(row string, st Standing, text string) { a.Row, a.Standing, a.Text = row, st, text }
	hears, answering, unasked := s.heardHosts(), s.answering(), s.unasked()
	switch {
	case recent(s.Acknowledged, s.Bound):
		set("L01", Connected, "is acknowledged by the master")
	case len(hears) > 0 && s.Majority:
		set("L02", Connected, "belongs to a majority that has no master at the moment; its VMs go on")
	case len(hears) > 0:
		set("L03", Apart, "hears "+strings.Join(hears, ", ")+" and no master: it is in a minority, and starts nothing")
	case s.Running <= s.Bound:
		set("E11", Apart, "has heard nobody in the "+span(s.Running)+" that its agent has been running, which is too short to tell")
	case s.storageLost():
		set("L06", CutOff, "hears nobody, and no heartbeat volume works: nothing is left that could renew its lease")
		if len(s.Volumes) == 0 {
			a.Text = "hears nobody, and there are no heartbeat volumes: nothing is left that could renew its lease"
		}
	case len(answering) > 0:
		set("L04", Apart, "hears no other host, but "+strings.Join(answering, ", ")+" answers: it is partitioned, not isolated")
	case len(unasked) > 0:
		set("L04", Apart, "hears no other host, and "+strings.Join(unasked, ", ")+" has not been asked yet: that it is isolated is not certain")
	case len(s.Addresses) == 0:
		set("L05", Alone, "hears nobody, and there is no isolation address to ask: it is isolated")
	default:
		set("L05", Alone, fmt.Sprintf("hears nobody, and none of %d isolation addresses answers: it is isolated", len(s.Addresses)))
	}
	return a
}

// recent reports whether something came, and not longer ago than the bound.
func recent(age, bound time.Duration) bool { return age >= 0 && age <= bound }

func (s *SelfSignals) heardHosts() []string {
	var names []string
	for n, age := range s.Hosts {
		if recent(age, s.Bound) {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	return names
}

func (s *SelfSignals) answering() []string {
	var addrs []string
	for a, p := range s.Addresses {
		if p.answers(s.PingBound) {
			addrs = append(addrs, a)
		}
	}
	slices.Sort(addrs)
	return addrs
}

// unasked are the addresses of which nothing is known yet. One to which nothing
// can be sent has been asked as well as it can be.
func (s *SelfSignals) unasked() []string {
	var addrs []string
	for a, p := range s.Addresses {
		if !p.Asked && p.Detail == "" {
			addrs = append(addrs, a)
		}
	}
	slices.Sort(addrs)
	return addrs
}

// storageLost reports whether no volume works. One with which nothing has been done
// yet is not lost before it has had its time.
func (s *SelfSignals) storageLost() bool {
	for _, v := range s.Volumes {
		if v.Readable && (recent(v.Age, s.StorageBound) || v.Age < 0 && s.Running <= s.StorageBound) {
			return false
		}
	}
	return true
}

func selfEvidence(s SelfSignals) []fsm.Evidence {
	ev := []fsm.Evidence{word("acknowledgement over the network", s.Acknowledged, s.Bound, s.By)}
	for _, n := range slices.Sorted(maps.Keys(s.Hosts)) {
		ev = append(ev, word("word of "+n, s.Hosts[n], s.Bound, s.By))
	}
	for _, addr := range slices.Sorted(maps.Keys(s.Addresses)) {
		ev = append(ev, ping("isolation address "+addr, s.Addresses[addr], s.PingBound, s.By))
	}
	for _, n := range slices.Sorted(maps.Keys(s.Links)) {
		ev = append(ev, link(n, s.Links[n], s.By))
	}
	for _, n := range slices.Sorted(maps.Keys(s.Volumes)) {
		ev = append(ev, ownVolume(n, s.Volumes[n], s.StorageBound, s.By))
	}
	return ev
}

func word(signal string, age, bound time.Duration, by string) fsm.Evidence {
	e := fsm.Evidence{Signal: signal, Value: "arrives", Age: age, By: by}
	switch {
	case age < 0:
		e.Value, e.Age = "none in this run of the agent", 0
	case age > bound:
		e.Value = silence(age, bound)
	}
	return e
}

func link(network string, l LinkSign, by string) fsm.Evidence {
	e := fsm.Evidence{Signal: "link of " + network, By: by}
	switch {
	case l.Interface == "":
		e.Value = "no interface has this host's address"
	case !l.Up:
		e.Value = l.Interface + " is down"
	case !l.Carrier:
		e.Value = l.Interface + " has no carrier"
	default:
		e.Value = l.Interface + " is up"
	}
	return e
}

func ownVolume(name string, v VolumeSign, bound time.Duration, by string) fsm.Evidence {
	e := fsm.Evidence{Signal: "volume " + name, Value: "works", Age: max(v.Age, 0), By: cmp.Or(v.By, by)}
	switch {
	case !v.Readable:
		e.Value = "fails"
		if v.Detail != "" {
			e.Value += ": " + v.Detail
		}
	case v.Age < 0:
		e.Value = "nothing has been written and read yet"
	case v.Age > bound:
		e.Value = "nothing was written and read for " + span(v.Age) + " (the bound is " + bound.String() + ")"
	}
	return e
}
