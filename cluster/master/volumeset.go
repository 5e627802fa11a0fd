package master

import (
	"slices"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/fsm"
)

// volumeSet keeps the set of heartbeat volumes what the policy names, as far as the
// hosts find it, one change at a time; and notes which set each host proves with.
func volumeSet(in input, m fsm.Meta, d *decision) {
	suspected := false
	for _, h := range in.state.SortedHosts() {
		o := in.hosts[h.Name]
		if o == nil || h.Status != fsm.HostLive {
			continue
		}
		suspected = suspected || o.watch.Suspected != 0
		if o.incarnation == h.Incarnation && o.proves > h.Volumes && o.proves <= in.state.Volumes.Revision {
			d.commands = append(d.commands, &fsm.NoteVolumes{Meta: m, Epoch: in.epoch, Host: h.Name, Incarnation: h.Incarnation, Revision: o.proves})
		}
	}
	if suspected || len(d.commands) > 0 || len(in.state.Behind()) > 0 {
		return
	}
	if want := usable(in); !slices.Equal(want, in.state.Volumes.Volumes) {
		d.commands = append(d.commands, &fsm.SetVolumes{Meta: m, Epoch: in.epoch, Previous: in.state.Volumes.Revision, Volumes: want})
	}
}

// usable are the volumes of the policy that are in use already, however they do, and
// those that this host and a majority of the live hosts find at their path, where
// nobody finds another one and nobody has yet to look.
func usable(in input) []fsm.Volume {
	var all []fsm.Volume
	for _, w := range in.policy.Volumes {
		i := slices.IndexFunc(in.state.Volumes.Volumes, func(u fsm.Volume) bool { return u.Name == w.Name && u.Path == w.Path })
		if i >= 0 {
			all = append(all, in.state.Volumes.Volumes[i])
			continue
		}
		if id := agreed(in, w.Path); id != "" && !slices.ContainsFunc(all, func(u fsm.Volume) bool { return u.ID == id }) {
			all = append(all, fsm.Volume{Name: w.Name, Path: w.Path, ID: id})
		}
	}
	return all
}

// agreed is the volume that hosts find at a path; empty while they do not agree.
func agreed(in input, path string) (id string) {
	live, found := 0, 0
	for _, h := range in.state.SortedHosts() {
		o := in.hosts[h.Name]
		if h.Status != fsm.HostLive || o == nil {
			continue
		}
		r := o.present()
		if r == nil {
			return ""
		}
		i := slices.IndexFunc(r.Volumes, func(v api.VolumeReport) bool { return v.Path == path })
		if i < 0 {
			return "" // it has yet to look
		}
		live++
		switch v := r.Volumes[i]; {
		case v.ID == "":
			if h.Name == in.self {
				return ""
			}
		case id != "" && v.ID != id:
			return ""
		default:
			id = v.ID
			found++
		}
	}
	if 2*found <= live {
		return ""
	}
	return id
}
