package host

import (
	"slices"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/verdict"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/storagehb"
	"github.com/holdfast-ha/holdfast/storagehb/format"
	"github.com/holdfast-ha/holdfast/vmm"
)

// Around is what a host can reach besides its master.
type Around struct {
	// Hosts is the age of the last answer of every other member over any network; negative: none.
	Hosts map[string]time.Duration
	// Addresses are the isolation addresses, and Links the interfaces of the HA networks.
	Addresses map[string]verdict.PingSign
	PingBound time.Duration
	Links     map[string]verdict.LinkSign
}

// surroundings is what the host has found out about its own isolation.
type surroundings struct {
	began    time.Duration // when this agent began to look
	heard    time.Duration // when the network last brought an acknowledgement; 0: never
	master   mastersMark
	standing verdict.Standing
	since    time.Duration            // isolated without a break since then; 0: it is not
	asked    map[string]time.Duration // guests that were asked to shut down because of it, by UUID
	tied     map[string]string        // VMs that no other host could take, as the master said last, and why, by UUID
	tiedRev  uint64                   // of that list; 0: none was told
	table    format.VMTable           // the last that was submitted
	tableAt  time.Duration
}

// told notes what the master says no other host could take. While it has no plan, what was
// said before holds.
func (a *surroundings) told(hb api.Heartbeat, r api.HeartbeatReply) {
	if r.TiedRev != 0 && r.TiedRev != hb.TiedSeen {
		a.tied, a.tiedRev = r.Tied, r.TiedRev
	}
}

// mastersMark is the newest acknowledgement that a master was seen to write on a volume.
type mastersMark struct {
	known bool
	stamp format.Stamp
	at    time.Duration // when it was seen to be new; 0: never
}

// isolationAfter is how many intervals without an acknowledgement over the network a
// host waits before it looks around: a change of master is no isolation.
const isolationAfter = 4

// byStorageAlone reports whether heartbeat volumes are the one way to tell anybody anything.
func (h *Host) byStorageAlone(s *fsm.State, now time.Duration) bool {
	return s != nil && len(s.AllVolumes()) > 0 && h.around.heard != 0 && now-h.around.heard > isolationAfter*h.cfg.Timing.Heartbeat
}

// lookAround finds out whether this host is isolated.
func (h *Host) lookAround(s *fsm.State) {
	a, now := &h.around, h.cfg.Now()
	if h.cfg.Look == nil || s == nil || a.heard != 0 && now-a.heard <= isolationAfter*h.cfg.Timing.Heartbeat {
		a.standing, a.since = verdict.Connected, 0
		return
	}
	at := h.cfg.Look()
	in := verdict.SelfSignals{By: h.cfg.Name, Running: now - a.began, Acknowledged: -1,
		Hosts: at.Hosts, Bound: isolationAfter * h.cfg.Timing.Heartbeat,
		Addresses: at.Addresses, PingBound: at.PingBound, Links: at.Links, StorageBound: h.cfg.Timing.Lease, Volumes: h.ownVolumes(s, now)}
	if a.heard != 0 {
		in.Acknowledged = now - a.heard
	}
	is := verdict.AssessSelf(in)
	if is.Standing != a.standing {
		h.cfg.Log.Warn("this host "+is.Text, "standing", string(is.Standing))
	}
	a.standing, a.since = is.Standing, verdict.Since(a.since, is.Standing, now)
}

// ownVolumes is how the heartbeat volumes do for this host.
func (h *Host) ownVolumes(s *fsm.State, now time.Duration) map[string]verdict.VolumeSign {
	v, _ := h.cfg.Volumes.View()
	all := map[string]verdict.VolumeSign{}
	for _, u := range s.Volumes.Volumes {
		id, err := format.ParseUUID(u.ID)
		if err != nil {
			continue
		}
		state, begun := v.States[id]
		sign := verdict.VolumeSign{Age: -1, Readable: !begun || state.State == storagehb.Working || state.State == storagehb.Opening}
		if state.Err != nil {
			sign.Detail = state.Err.Error()
		}
		if r, read := v.Readings[id]; read {
			sign.Age = now - r.Started
		}
		all[u.Name] = sign
	}
	return all
}

// masterSeen notes acknowledgements of whatever master to whomever.
func (h *Host) masterSeen(acks format.Acks, read time.Duration) {
	m := &h.around.master
	switch {
	case !m.known: // of long ago, for all this host can tell
		m.stamp, m.known = acks.Stamp(), true
	case acks.Stamp().Compare(m.stamp) > 0:
		m.stamp, m.at = acks.Stamp(), read
	}
}

// response is what the isolation response goes by, but for the VMs.
func (h *Host) response(now time.Duration) verdict.Response {
	a := &h.around
	r := verdict.Response{Now: now, Standing: a.standing, Since: a.since, Master: -1, MasterBound: h.cfg.Timing.Lease}
	if a.master.at != 0 {
		r.Master = now - a.master.at
	}
	return r
}

// responsePolicy is what the policy says about one VM of an isolated host. While the cluster is disarmed,
// as far as this host has heard, it stops none: its lease and its guard go on as ever.
func responsePolicy(p *config.Policy, s *fsm.State, vm string) verdict.ResponsePolicy {
	if s.Disarmed != nil {
		return verdict.ResponsePolicy{Action: verdict.LeaveRunning, Delay: p.Isolation.Delay, ShutdownTimeout: p.Isolation.ShutdownTimeout}
	}
	return verdict.ResponsePolicy{Action: verdict.Action(p.VM(vm).Isolation), Delay: p.Isolation.Delay,
		ShutdownTimeout: p.Isolation.ShutdownTimeout}
}

// isolated adds to the plan what an isolated host does with its VMs. What it stops
// is remembered first: it was nobody's wish, and is given back.
func isolated(in Input, domains map[string]vmm.Domain, p *Plan) {
	spared := func(uuid string, vm *fsm.VM) bool { // it was to be stopped and goes on after all
		asked, was := in.AskedIsolated[uuid]
		return in.Record.Isolated[uuid] == vm.Owner.Generation && !in.Response.Standing.Isolated() &&
			(!was || in.Now-asked > in.Policy(vm.Name).ShutdownTimeout)
	}
	r := in.Response
	for _, vm := range in.State.SortedVMs() {
		d, defined := domains[vm.UUID]
		_, leaves := in.Leaving[vm.UUID]
		if leaves || in.Busy[vm.UUID] || !mine(in, vm) || !defined || d.State == vmm.Stopped || p.Kill[vm.UUID] != "" {
			continue
		}
		if spared(vm.UUID, vm) {
			p.Spared = append(p.Spared, vm.UUID)
		}
		if vm.Intent == fsm.IntentRun && !in.Draining {
			r.VMs = append(r.VMs, verdict.ResponseVM{UUID: vm.UUID, Name: vm.Name, Policy: in.Policy(vm.Name), Asked: in.AskedIsolated[vm.UUID],
				StorageGone: d.State == vmm.Paused && d.Reason == vmm.ReasonIOError, Stays: in.Tied[vm.UUID]})
		}
	}
	for _, s := range verdict.Respond(r).Steps {
		p.Isolate[s.UUID] = in.State.VMs[s.UUID].Owner.Generation
		if s.Do == verdict.PowerOff {
			p.Kill[s.UUID] = s.Why
		} else {
			p.Shutdown = append(p.Shutdown, s.UUID)
		}
	}
}

// isolatedDetail is why such a VM is given back.
const isolatedDetail = "was stopped because its host was isolated"

// tableAgain is how many intervals after it was written a table that gives VMs back
// is written once more: a write that failed is not tried again by itself.
const tableAgain = 3

// writeTable writes the host's VM table when it has changed: the VMs that run here, and those
// that were stopped because of isolation or ended by themselves, which the network cannot tell of.
func (h *Host) writeTable(s *fsm.State, outcomes []api.OutcomeReport) {
	if s == nil || len(s.AllVolumes()) == 0 || h.record.Over {
		return
	}
	t := format.VMTable{Incarnation: h.record.Incarnation, Run: h.cfg.Run}
	back := false
	add := func(uuid string, generation uint64, state format.VMState) {
		if id, err := format.ParseUUID(uuid); err == nil && len(t.VMs) < format.MaxVMs {
			t.VMs = append(t.VMs, format.VM{UUID: id, Generation: generation, State: state})
		}
	}
	for _, o := range outcomes {
		switch {
		case o.Outcome == string(fsm.OutcomeReleased) && h.record.Isolated[o.UUID] == o.Generation:
			add(o.UUID, o.Generation, format.VMStoppedIsolated)
			back = true
		case o.Outcome == string(fsm.OutcomeCrashed) && h.record.Crashed[o.UUID] == o.Generation:
			add(o.UUID, o.Generation, format.VMCrashed)
			back = true
		}
	}
	for _, d := range h.list.domains {
		if vm := s.VMs[d.UUID]; vm != nil && vm.Owner != nil && vm.Owner.Host == h.cfg.Name && d.State == vmm.Running {
			add(d.UUID, vm.Owner.Generation, format.VMRunning)
		}
	}
	slices.SortFunc(t.VMs, func(a, b format.VM) int { return slices.Compare(a.UUID[:], b.UUID[:]) })
	now, last := h.cfg.Now(), h.around.table
	same := last.Seq > 0 && last.Incarnation == t.Incarnation && slices.Equal(last.VMs, t.VMs)
	if same && !(back && now-h.around.tableAt >= tableAgain*h.cfg.Timing.Heartbeat) {
		return
	}
	t.Seq = last.Seq + 1
	h.around.table, h.around.tableAt = t, now
	h.cfg.Volumes.Submit(t)
}
