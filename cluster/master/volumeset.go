package master

import (
	"slices"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/volumes/choice"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
)

// volumeSet keeps the set of heartbeat volumes what the hosts' reports and the policy
// make of it, one change at a time; and notes which set each host proves with.
func volumeSet(in input, m fsm.Meta, d *decision) {
	held := false
	for _, h := range in.state.SortedHosts() {
		o := in.hosts[h.Name]
		if o == nil || h.Status != fsm.HostLive {
			continue
		}
		held = held || o.condemned || choice.Held(o.suspectedFor(in.now), in.timing)
		if o.incarnation == h.Incarnation && o.proves > h.Volumes && o.proves <= in.state.Volumes.Revision {
			d.commands = append(d.commands, &fsm.NoteVolumes{Meta: m, Epoch: in.epoch, Host: h.Name, Incarnation: h.Incarnation, Revision: o.proves})
		}
	}
	if held || len(d.commands) > 0 || len(in.state.Behind()) > 0 {
		return
	}
	if want, _ := choice.Choose(candidates(in)); !slices.Equal(want, in.state.Volumes.Volumes) {
		d.commands = append(d.commands, &fsm.SetVolumes{Meta: m, Epoch: in.epoch, Previous: in.state.Volumes.Revision, Volumes: want})
	}
}

// candidates is what the choice of the volumes goes by.
func candidates(in input) choice.Input {
	c := choice.Input{Candidates: in.policy.Volumes, Count: in.policy.VolumeUse.Count, InUse: in.state.Volumes.Volumes, Losses: in.losses}
	for _, h := range in.state.SortedHosts() {
		o := in.hosts[h.Name]
		if h.Status != fsm.HostLive || o == nil {
			continue
		}
		on := choice.Host{Name: h.Name, Self: h.Name == in.self, Silent: o.watch.Suspected != 0,
			Fresh: h.Name == in.self || o.reached(in.now, in.timing)}
		if r := o.present(); r != nil {
			on.Reports = api.ChoiceReports(r.Volumes)
		}
		c.Hosts = append(c.Hosts, on)
	}
	return c
}

// suspectedFor is for how long this office has suspected the host; 0 when it does not.
func (o *observed) suspectedFor(now time.Duration) time.Duration {
	if o.watch.Suspected == 0 {
		return 0
	}
	return max(now-o.watch.Suspected, 1)
}

// watchVolumes follows what the hosts say of the volumes, and finds what people are to be told of
// that. The lock is held.
func (m *Master) watchVolumes(o *office, s *fsm.State, policy *config.Policy, now time.Duration) (choice.Losses, []fsm.Event) {
	in := input{now: now, self: m.cfg.Name, timing: m.cfg.Timing, state: s, hosts: o.hosts, policy: policy}
	c := candidates(in)
	o.storage.losses = o.storage.watch.Look(c, now)
	c.Losses = o.storage.losses
	return o.storage.losses, o.storage.news.look(s, c, now)
}
