package api

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm"
)

// Status is the answer to GET /v1/status: one screen.
type Status struct {
	Schema  int     `json:"schema"`
	Source  *Source `json:"source"`
	Cluster struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	} `json:"cluster"`
	Revision uint64 `json:"revision"` // of the policy
	// Master holds the office since MasterSince; empty when nobody is known to.
	Master      string    `json:"master,omitempty"`
	MasterSince time.Time `json:"master_since,omitzero"`
	// Disarmed is there while the cluster does nothing by itself, as a person wants it.
	Disarmed *DisarmView `json:"disarmed,omitempty"`
	Voters   int         `json:"voters"`
	// VotersHealthy is counted by the master alone; nil elsewhere.
	VotersHealthy *int       `json:"voters_healthy,omitempty"`
	Hosts         []HostView `json:"hosts"`
	VMs           VMCounts   `json:"vms"`
	Problems      []Problem  `json:"problems"` // worst first
}

func (a *Status) setNote(n string) { a.Source.Note = n }

// VMCounts counts the protected VMs by state.
type VMCounts struct {
	Protected int `json:"protected"`
	Running   int `json:"running"`
	Starting  int `json:"starting"`
	Waiting   int `json:"waiting"`
	Stopped   int `json:"stopped"`
	Paused    int `json:"paused"`
	Seen      int `json:"seen"`
	Unknown   int `json:"unknown"`
	// Frozen are those of the waiting ones that wait for the host that they were shut down with.
	Frozen int `json:"frozen,omitempty"`
	// Moving are those of them that are on their way to another host.
	Moving int `json:"moving"`
	// Unprotected are the running VMs outside protection, as far as the hosts report them.
	Unprotected int `json:"unprotected"`
}

// Problem is something that a person should know or do something about.
type Problem struct {
	Severity fsm.Severity `json:"severity"`
	Host     string       `json:"host,omitempty"`
	VM       string       `json:"vm,omitempty"`
	Text     string       `json:"text"`
	// Next is the command that tells more or helps.
	Next string `json:"next,omitempty"`
}

// Status shows the cluster on one screen.
func (w World) Status() *Status {
	s := &Status{Schema: Schema, Source: w.source(), Revision: w.State.Policy.Revision,
		Master: w.master(), Hosts: w.Hosts(), Problems: []Problem{}}
	s.Cluster.ID, s.Cluster.Name = w.State.Cluster.ID, w.State.Cluster.Name
	if s.Master != "" && s.Master == w.State.Office.Master {
		s.MasterSince = w.State.Office.Since
	}
	healthy := 0
	for _, m := range w.Members {
		if m.Voter {
			s.Voters++
			if m.Healthy || m.Name == w.master() {
				healthy++
			}
		}
	}
	if w.Self.IsMaster {
		s.VotersHealthy = &healthy
	}
	for _, vm := range w.VMs() {
		s.VMs.add(vm)
	}
	s.Disarmed = w.disarmView()
	s.Problems = append(s.Problems, w.clusterProblems(s)...)
	s.Problems = append(s.Problems, w.disarmProblems()...)
	s.Problems = append(s.Problems, w.networkProblems()...)
	s.Problems = append(s.Problems, w.boundProblems()...)
	s.Problems = append(s.Problems, w.deviceProblems()...)
	s.Problems = append(s.Problems, w.storageProblems(w.volumes())...)
	s.Problems = append(s.Problems, w.roomProblems()...)
	for _, h := range s.Hosts {
		s.Problems = append(s.Problems, w.hostProblems(h)...)
	}
	for _, vm := range w.State.SortedVMs() {
		s.Problems = append(s.Problems, w.vmProblems(vm)...)
	}
	slices.SortStableFunc(s.Problems, func(a, b Problem) int { return cmp.Compare(weight(a.Severity), weight(b.Severity)) })
	return s
}

func (c *VMCounts) add(vm VMView) {
	if !vm.Protected {
		if vm.State == string(vmm.Running) {
			c.Unprotected++
		}
		return
	}
	c.Protected++
	if vm.Move != nil {
		c.Moving++
	}
	switch vm.State {
	case VMRunning:
		c.Running++
	case VMStarting:
		c.Starting++
	case VMWaiting:
		c.Waiting++
		if vm.Frozen != nil {
			c.Frozen++
		}
	case VMStopped:
		c.Stopped++
	case VMPaused:
		c.Paused++
	case VMSeen:
		c.Seen++
	default:
		c.Unknown++
	}
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

func (w World) clusterProblems(s *Status) []Problem {
	var out []Problem
	if s.Master == "" {
		out = append(out, Problem{Severity: fsm.Critical,
			Text: "no master: nothing is restarted and nothing can be changed until a majority of the voters is up",
			Next: "haadm cluster members"})
	}
	if s.VotersHealthy != nil && *s.VotersHealthy < s.Voters {
		need := s.Voters/2 + 1
		text := fmt.Sprintf("%d of %d voters answer, %d are needed: %d more may fail", *s.VotersHealthy, s.Voters, need, *s.VotersHealthy-need)
		severity := fsm.Warning
		if *s.VotersHealthy <= need {
			severity, text = fsm.Critical, fmt.Sprintf("%d of %d voters answer, %d are needed: the loss of one more stops every restart",
				*s.VotersHealthy, s.Voters, need)
		}
		out = append(out, Problem{Severity: severity, Text: text, Next: "haadm cluster members"})
	}
	switch n := len(w.State.Hosts); {
	case n >= 3 && s.Voters > 0 && s.Voters < 3:
		out = append(out, Problem{Severity: fsm.Warning,
			Text: fmt.Sprintf("%d of %d hosts vote: the others get a vote when they have caught up; until three vote, the loss of a voter stops every restart",
				s.Voters, n), Next: "haadm cluster members"})
	case n == 1:
		out = append(out, Problem{Severity: fsm.Warning,
			Text: "one host alone: nothing can be restarted elsewhere until at least two more join", Next: "haadm cluster token create"})
	case n == 2:
		out = append(out, Problem{Severity: fsm.Warning,
			Text: "two hosts: only one of them votes, and its loss stops every restart until it returns; a third host mends that",
			Next: "haadm cluster token create"})
	}
	for _, p := range w.Self.Problems {
		out = append(out, Problem{Severity: fsm.Warning, Host: w.Self.Name,
			Text: "host " + w.Self.Name + ": " + p, Next: "haadm hosts show " + w.Self.Name})
	}
	return out
}

func (w World) hostProblems(h HostView) []Problem {
	var out []Problem
	add := func(s fsm.Severity, next, format string, args ...any) {
		out = append(out, Problem{Severity: s, Host: h.Name, Text: "host " + h.Name + " " + fmt.Sprintf(format, args...), Next: next})
	}
	explain := "haadm explain host " + h.Name
	if m := h.Maintenance; m != nil {
		severity, text := maintenanceProblem(m, h.Committed)
		add(severity, "haadm maintenance list", "%s", text)
	}
	if x := h.Shutdown; x != nil {
		severity, text := shutdownProblem(x, h.Committed)
		add(severity, explain, "%s", text)
	}
	if a := h.Aside; a != nil {
		add(fsm.Critical, explain,
			"stands aside since %s: its disk is older than the host, so it takes part in nothing; once it is dead let it leave, empty its data directory, and let it join anew",
			a.At.UTC().Format("2006-01-02 15:04 MST"))
	}
	switch {
	case h.Committed == string(fsm.HostDead) && h.Aside != nil: // it does not return as it is
	case h.Committed == string(fsm.HostDead) && h.Maintenance != nil: // it is out of service, as a person wants it
	case h.Committed == string(fsm.HostDead) && h.Shutdown != nil: // what it gave back is told of
	case h.Committed == string(fsm.HostDead):
		elsewhere := "is started elsewhere"
		if w.State.Disarmed != nil {
			elsewhere = "is started elsewhere once the cluster is armed"
		}
		add(fsm.Critical, explain, "is dead: what it owned %s; it returns as a new incarnation", elsewhere)
	case h.Committed == string(fsm.HostJoining):
		add(fsm.Warning, explain, "has joined, but has not begun to run VMs yet")
	case h.NeedsProof:
		add(fsm.Critical, explain,
			"is %s, and has no watchdog that counts: what it owns (VMs: %d) stays down until a fence device proves it off, it comes back, or a person has made sure that it is off",
			h.State, len(h.VMs))
	case h.DeadIn > 0:
		add(fsm.Critical, explain, "is %s: may be declared dead in %v", h.State, h.DeadIn.Duration().Round(100*time.Millisecond))
	case h.Storage != nil && h.Storage.Alone:
		p, _ := aloneProblem(h)
		out = append(out, p)
	case w.Observed[h.Name].Suspected && len(w.State.Volumes.Volumes) > 0:
		takeover, _ := needs(w.State.Volumes)
		add(fsm.Critical, explain,
			"is %s, and no wait for its death can begin: no claim against it stands on %d of %d heartbeat volumes yet",
			h.State, takeover, len(w.State.Volumes.Volumes))
	case h.State != string(fsm.HostLive) && !w.masterUnknown():
		add(fsm.Warning, explain, "is %s", h.State)
	}
	if h.State != string(fsm.HostLive) {
		return out // that its networks are silent as well is the same thing twice
	}
	var silent []string
	for _, n := range h.Networks {
		if n.State == NetworkSilent || n.State == NetworkNever {
			silent = append(silent, n.Name)
		}
	}
	if len(silent) > 0 {
		more := ""
		if len(silent) == len(h.Networks)-1 {
			more = ": one more network lost and its VMs move"
			if h.Storage != nil && h.Storage.Working > 0 {
				more = ": one more network lost and it lives by the heartbeat volumes alone"
			}
		}
		add(fsm.Warning, "haadm hosts show "+h.Name, "is not heard over %s%s", strings.Join(silent, ", "), more)
	}
	if h.LeaseGone > 0 {
		add(fsm.Warning, "haadm hosts show "+h.Name,
			"had its lease renewed late, three times within a minute: up to %v of %v had gone, then it was renewed %s; at the end of a lease its VMs are stopped: look at its networks, its heartbeat volumes, and how busy it and the master are",
			h.LeaseGone.Duration(), w.Timing.Lease, h.LeaseBy)
	}
	if h.DiskError != "" && h.Name != w.Self.Name { // of its own each host tells by itself
		add(fsm.Critical, "haadm hosts show "+h.Name,
			"has been unable to write to its own disk for %v: %s; it keeps its lease and its VMs, leads nobody and starts nothing: make room, or mend the disk, where its data directory is",
			h.DiskRefuses.Duration().Round(time.Second), h.DiskError)
	}
	if h.HypervisorError != "" {
		add(fsm.Critical, "haadm hosts show "+h.Name, "cannot ask its hypervisor: %s", h.HypervisorError)
	}
	return out
}

// maintenanceProblem says of a host that it is out of service, and how far it is from empty.
func maintenanceProblem(m *MaintenanceView, committed string) (fsm.Severity, string) {
	by := ""
	if m.By != "" {
		by = ", by " + m.By
	}
	text := "is in maintenance since " + m.Since.UTC().Format("2006-01-02 15:04 MST") + by
	if m.Why != "" {
		text += " (" + m.Why + ")"
	}
	switch {
	case committed == string(fsm.HostDead):
		return fsm.Info, text + "; it is off"
	case len(m.Staying) > 0:
		return fsm.Warning, fmt.Sprintf("%s; VMs left: %d, of which %d cannot leave: %s: %s",
			text, *m.Left, len(m.Staying), m.Staying[0].VM, m.Staying[0].Why)
	case m.Left == nil:
		return fsm.Info, text
	case *m.Left > 0:
		return fsm.Info, fmt.Sprintf("%s; VMs left: %d", text, *m.Left)
	}
	return fsm.Info, text + "; it is empty"
}

func (w World) vmProblems(vm *fsm.VM) []Problem {
	var out []Problem
	add := func(s fsm.Severity, format string, args ...any) {
		out = append(out, Problem{Severity: s, VM: vm.Name,
			Text: "vm " + vm.Name + fmt.Sprintf(format, args...), Next: "haadm explain vm " + vm.Name})
	}
	if n := len(vm.MoveFailures); n > 0 && vm.Move == nil && vm.Owner != nil {
		add(fsm.Warning, ": moves that came to nothing: %d, the last one to %s: %s", n, vm.MoveFailures[n-1].Host, vm.MoveFailures[n-1].Detail)
	}
	switch w.vmState(vm) {
	case VMWaiting:
		why := w.waiting(vm)
		if why == "" {
			why = "its placement is being decided"
		}
		if vm.Frozen != nil && w.frozenView(vm) != nil {
			add(fsm.Warning, " is down: %s", why)
			break
		}
		add(fsm.Critical, ": shall run, and does not: %s", why)
	case VMPaused:
		d := w.domain(vm.Owner.Host, vm.UUID)
		add(fsm.Warning, " is paused on %s (%s)", vm.Owner.Host, d.Reason)
	case VMSeen:
		add(fsm.Warning, " was seen running on %s, which has not confirmed yet that it guards it: until then it is not restarted elsewhere",
			vm.Sighting.Host)
	case VMStarting:
		if n := len(vm.Failures); n > 0 {
			add(fsm.Warning, ": %d failed starts, the last on %s: %s", n, vm.Failures[n-1].Host, vm.Failures[n-1].Detail)
		}
	}
	// The one thing that must never be. A report can be a heartbeat old, and a host
	// that is not heard reports nothing: so only what a live host says now counts.
	for _, h := range w.State.SortedHosts() {
		if vm.Sighting != nil || vm.Owner != nil && vm.Owner.Host == h.Name || w.hostState(h) != string(fsm.HostLive) {
			continue
		}
		if d := w.domain(h.Name, vm.UUID); d != nil && d.State != vmm.Stopped && !d.Waits() {
			owner := "nobody"
			if vm.Owner != nil {
				owner = vm.Owner.Host
			}
			add(fsm.Critical, " is %s on %s, but %s owns it", d.State, h.Name, owner)
		}
	}
	return out
}
