package api

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/verdict"
	"github.com/holdfast-ha/holdfast/cluster/volumes/choice"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/storagehb"
	"github.com/holdfast-ha/holdfast/storagehb/format"
)

// StorageAnswer is the answer to GET /v1/storage: the heartbeat volumes.
type StorageAnswer struct {
	Schema int     `json:"schema"`
	Source *Source `json:"source"`
	// Set is what hosts prove their leases with.
	Set VolumeSetView `json:"set"`
	// Before is the set before it, as long as a host may still prove with that.
	Before *VolumeSetView `json:"before,omitempty"`
	// Behind are those hosts.
	Behind []string `json:"behind"`
	// Volumes are those of the policy, in its order, then those that are in use all the same.
	Volumes []VolumeView `json:"volumes"`
	// Problems are those of the status that are about storage.
	Problems []Problem `json:"problems"`
}

func (a *StorageAnswer) setNote(n string) { a.Source.Note = n }

// VolumeSetView is a set of heartbeat volumes.
type VolumeSetView struct {
	Revision uint64    `json:"revision"` // 0: there has never been one
	Since    time.Time `json:"since,omitzero"`
	Volumes  []string  `json:"volumes"` // names
	// Takeover is on how many of them a claim has to stand before a silent host can be
	// declared dead, and Proof how many a host has to read to prove that none stands.
	Takeover int `json:"takeover_needs"`
	Proof    int `json:"proof_needs"`
}

// VolumeView is one heartbeat volume.
type VolumeView struct {
	Name string `json:"name"`
	Path string `json:"path"`
	// ID is its UUID, as far as that is agreed upon.
	ID       string `json:"id,omitempty"`
	InPolicy bool   `json:"in_policy"`
	Pinned   bool   `json:"pinned"` // the policy has it used before others, and never replaced
	InUse    bool   `json:"in_use"` // hosts write to it
	// Spare says that it could be used, and that others are.
	Spare bool `json:"spare"`
	// Kind is block, nfs or other, and Server the array or file server, as most hosts
	// see it; empty while not known.
	Kind   string `json:"kind,omitempty"`
	Server string `json:"server,omitempty"`
	// Why it is not in use although the policy names it, or the other way round; empty
	// where neither is so, and where only the master knows.
	Why   string         `json:"why,omitempty"`
	Hosts []VolumeOnHost `json:"hosts"` // every member, by name
}

// The states of a volume on a host, beside those in a VolumeReport of one in use.
const (
	VolumeFound    = "found"    // it can be used there
	VolumeUnusable = "unusable" // it cannot
	VolumeUnknown  = "unknown"  // the host has not said yet, or is not heard
)

// VolumeOnHost is how a volume does on one host.
type VolumeOnHost struct {
	Host  string `json:"host"`
	State string `json:"state"`
	ID    string `json:"id,omitempty"` // of the volume that it finds there
	Error string `json:"error,omitempty"`
	// Heard is the age of the host's last heartbeat there, as the master reads it; nil: none.
	Heard *Seconds `json:"heard_seconds,omitempty"`
}

// HostStorage is how a host does on the heartbeat volumes.
type HostStorage struct {
	// Working is how many of the policy's volumes work there, of Volumes. Spares do not count.
	Working int `json:"working"`
	Volumes int `json:"volumes"`
	// Revision is the set that it proves its lease with, as far as the cluster knows.
	Revision uint64 `json:"revision"`
	// Heard is the age of its last heartbeat on any volume, as the master reads them; nil: none.
	Heard *Seconds `json:"heard_seconds,omitempty"`
	// Alone says that nothing else brings its heartbeats.
	Alone bool           `json:"alone"`
	On    []VolumeOfHost `json:"on"`
}

// VolumeOfHost is one volume in a list of a host's.
type VolumeOfHost struct {
	Name string `json:"name"`
	VolumeOnHost
}

// Storage shows the heartbeat volumes.
func (w World) Storage() *StorageAnswer {
	a := &StorageAnswer{Schema: Schema, Source: w.source(), Set: setView(w.State.Volumes),
		Behind: []string{}, Volumes: w.volumes(), Problems: []Problem{}}
	if behind := w.State.Behind(); len(behind) > 0 && w.State.Volumes.Revision > 0 {
		before := setView(w.State.OldVolumes)
		a.Before, a.Behind = &before, behind
	}
	a.Problems = append(a.Problems, w.storageProblems(a.Volumes)...)
	for _, h := range w.Hosts() {
		if p, lives := aloneProblem(h); lives {
			a.Problems = append(a.Problems, p)
		}
	}
	slices.SortStableFunc(a.Problems, func(x, y Problem) int { return cmp.Compare(weight(x.Severity), weight(y.Severity)) })
	return a
}

func setView(s fsm.VolumeSet) VolumeSetView {
	v := VolumeSetView{Revision: s.Revision, Since: s.Since, Volumes: []string{}}
	for _, vol := range s.Volumes {
		v.Volumes = append(v.Volumes, vol.Name)
	}
	v.Takeover, v.Proof = needs(s)
	return v
}

// needs is on how many volumes of a set a claim has to stand, and how many a proof reads.
func needs(s fsm.VolumeSet) (takeover, proof int) {
	if len(s.Volumes) == 0 {
		return 0, 0
	}
	set := storagehb.Set{Volumes: make([]format.UUID, len(s.Volumes))}
	return set.W(), set.R()
}

// volumes are those of the policy, then those in use that it does not name.
func (w World) volumes() []VolumeView {
	out := []VolumeView{}
	used := w.State.AllVolumes()
	for _, c := range w.candidates() {
		v := VolumeView{Name: c.Name, Path: c.Path, ID: c.ID, Pinned: c.Pinned, Kind: c.Kind,
			Server: c.Server, InPolicy: true, Hosts: w.onHosts(c.Path)}
		i := slices.IndexFunc(used, func(u fsm.Volume) bool { return u.Name == c.Name && u.Path == c.Path })
		v.InUse = i >= 0
		switch {
		case i >= 0 && c.Chosen:
		case i >= 0: // it goes, or has gone and a host may still prove with it
			v.ID = used[i].ID
			v.Why = "another takes its place: " + cmp.Or(w.blocked(), c.Why)
		case len(w.Observed) == 0: // only the master knows
		case c.Chosen:
			v.Why = cmp.Or(w.blocked(), "every condition is met: it comes into use now")
		default:
			v.Spare, v.Why = c.Spare, c.Why
		}
		out = append(out, v)
	}
	for _, u := range used {
		if !slices.ContainsFunc(out, func(v VolumeView) bool { return v.InUse && v.ID == u.ID }) {
			out = append(out, VolumeView{Name: u.Name, Path: u.Path, ID: u.ID, InUse: true, Hosts: w.onHosts(u.Path),
				Why: "the policy does not name it any more: " + cmp.Or(w.blocked(), "it goes out of use now")})
		}
	}
	return out
}

// blocked is why the set of volumes cannot be changed now; empty when it can.
func (w World) blocked() string {
	if behind := w.State.Behind(); len(behind) > 0 {
		return fmt.Sprintf("%s may still prove with the volumes before revision %d, and there is one change at a time",
			strings.Join(behind, ", "), w.State.Volumes.Revision)
	}
	if names := w.holding(); names != "" {
		return "nothing is changed while " + names + " is suspected and the clock may declare it dead"
	}
	return ""
}

// holding are the suspected hosts for whose sake the set stays what it is.
func (w World) holding() string {
	var names []string
	for _, h := range w.State.SortedHosts() {
		if h.Status == fsm.HostLive && choice.Held(w.Observed[h.Name].SuspectedFor, w.Timing) {
			names = append(names, h.Name)
		}
	}
	return strings.Join(names, ", ")
}

// reported is what a host says of a path, or nil.
func reported(o HostObservation, path string) *VolumeReport {
	for i := range o.Volumes {
		if o.Volumes[i].Path == path {
			return &o.Volumes[i]
		}
	}
	return nil
}

func (w World) onHosts(path string) []VolumeOnHost {
	out := []VolumeOnHost{}
	for _, h := range w.State.SortedHosts() {
		out = append(out, w.onHost(h, path))
	}
	return out
}

func (w World) onHost(h *fsm.Host, path string) VolumeOnHost {
	v := VolumeOnHost{Host: h.Name, State: VolumeUnknown}
	o := w.Observed[h.Name]
	r := reported(o, path)
	if r == nil || h.Status != fsm.HostLive {
		return v
	}
	v.ID = r.ID
	if age, read := o.Stored[r.Name]; read && age >= 0 && r.InUse {
		s := Seconds(age)
		v.Heard = &s
	}
	switch {
	case o.Verdict != string(fsm.HostLive): // what it reported is old; what is read of it is not
		if v.Heard != nil && v.Heard.Duration() <= w.Timing.Lease {
			v.State = storagehb.Working.String()
		}
	case r.InUse:
		v.State, v.Error = r.State, r.Error
	case r.ID != "":
		v.State = VolumeFound
	default:
		v.State, v.Error = VolumeUnusable, r.Error
	}
	return v
}

// hostStorage is how a live host does on the volumes; nil where there are none.
func (w World) hostStorage(h *fsm.Host, o HostObservation, volumes []VolumeView) *HostStorage {
	if h.Status != fsm.HostLive {
		return nil
	}
	s := &HostStorage{Revision: h.Volumes, On: []VolumeOfHost{}}
	for _, v := range volumes {
		i := slices.IndexFunc(v.Hosts, func(x VolumeOnHost) bool { return x.Host == h.Name })
		if i < 0 {
			continue
		}
		on := v.Hosts[i]
		s.On = append(s.On, VolumeOfHost{v.Name, on})
		if v.InPolicy && !v.Spare {
			s.Volumes++
			if on.State == storagehb.Working.String() {
				s.Working++
			}
		}
	}
	s.Volumes = min(s.Volumes, w.policy().VolumeUse.Count)
	for _, age := range o.Stored {
		if a := Seconds(age); age >= 0 && (s.Heard == nil || a < *s.Heard) {
			s.Heard = &a
		}
	}
	if len(s.On) == 0 {
		return nil
	}
	return s
}

// alone reports whether a host is heard on the volumes, and lost to the network by the
// master's verdict. A master that has just taken office has heard nobody yet.
func (w World) alone(v HostView) bool {
	if v.Storage == nil || v.Storage.Heard == nil || v.Storage.Heard.Duration() > w.Timing.Lease {
		return false
	}
	switch verdict.Verdict(v.State) {
	case verdict.Partitioned, verdict.Isolated, verdict.AgentDown:
		return true
	}
	return false
}
