package fsm

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// MaxVolumes is the most heartbeat volumes of a set.
const MaxVolumes = 5

// VolumeSet is the heartbeat volumes that hosts prove their leases with. A host
// proves with one revision, moves to a newer one at once and never back.
type VolumeSet struct {
	Revision uint64    `json:"revision"` // grows by one with each change; 0 is none, for ever
	Volumes  []Volume  `json:"volumes,omitempty"`
	Since    time.Time `json:"since,omitzero"`
}

// Volume is one heartbeat volume.
type Volume struct {
	Name string `json:"name"` // in the policy
	Path string `json:"path"` // the same on every host
	ID   string `json:"id"`   // UUID that it got when it was initialised
}

// The event types about heartbeat volumes. The state machine records the first, the master the others.
const (
	EventVolumesChanged = "heartbeat_volumes_changed"
	EventVolumeFails    = "heartbeat_volume_fails"
	EventVolumeLost     = "heartbeat_volume_lost"
	EventVolumeWorks    = "heartbeat_volume_works"
	EventVolumesShort   = "heartbeat_volumes_short"
	EventVolumesEnough  = "heartbeat_volumes_enough"
)

// SetVolumes changes the set. It is refused while a live host may still prove with
// the set before this one: of two sets at most a claim has to be on enough volumes.
type SetVolumes struct {
	Meta
	Epoch    uint64   `json:"epoch"`
	Previous uint64   `json:"previous"` // revision that the proposer saw
	Volumes  []Volume `json:"volumes"`
}

// NoteVolumes notes that an incarnation proves with this revision from now on,
// and with no older one.
type NoteVolumes struct {
	Meta
	Epoch       uint64 `json:"epoch"`
	Host        string `json:"host"`
	Incarnation uint64 `json:"incarnation"`
	Revision    uint64 `json:"revision"`
}

func (*SetVolumes) kind() Type  { return TypeSetVolumes }
func (*NoteVolumes) kind() Type { return TypeNoteVolumes }

func (c *SetVolumes) check() error {
	if len(c.Volumes) > MaxVolumes {
		return invalid("%d heartbeat volumes are more than %d", len(c.Volumes), MaxVolumes)
	}
	for i, v := range c.Volumes {
		if v.Name == "" || len(v.Name) > 64 || !filepath.IsAbs(v.Path) || len(v.Path) > 1024 {
			return invalid("heartbeat volume %.70q at %.100q: a name and an absolute path are wanted", v.Name, v.Path)
		}
		if err := checkUUID(v.ID); err != nil {
			return err
		}
		for _, o := range c.Volumes[:i] {
			if o.Name == v.Name || o.Path == v.Path || o.ID == v.ID {
				return invalid("heartbeat volumes %s and %s are one and the same", o.Name, v.Name)
			}
		}
	}
	return nil
}

func (c *NoteVolumes) check() error {
	return first(CheckHostName(c.Host), checkIncarnation(c.Incarnation))
}

func (c *SetVolumes) apply(s *State) (any, *Refusal) {
	if r := s.inEpoch(c.Epoch); r != nil {
		return nil, r
	}
	if c.Previous != s.Volumes.Revision {
		return refuse(CodeConflict, "the heartbeat volumes were changed meanwhile (revision %d, not %d)", s.Volumes.Revision, c.Previous)
	}
	if behind := s.Behind(); len(behind) > 0 {
		return refuse(CodeConflict, "%s may still prove with the heartbeat volumes before revision %d: one change at a time",
			strings.Join(behind, ", "), s.Volumes.Revision)
	}
	var said []string
	for _, v := range c.Volumes {
		said = append(said, fmt.Sprintf("%s (%s)", v.Name, v.Path))
	}
	if len(said) == 0 {
		said = []string{"none"}
	}
	s.OldVolumes = s.Volumes
	s.Volumes = VolumeSet{Revision: c.Previous + 1, Volumes: c.Volumes, Since: c.At}
	s.emit(c.Meta, Event{Type: EventVolumesChanged,
		Text: fmt.Sprintf("heartbeat volumes, revision %d: %s", s.Volumes.Revision, strings.Join(said, ", "))})
	return s.Volumes.Revision, nil
}

func (c *NoteVolumes) apply(s *State) (any, *Refusal) {
	if r := s.inEpoch(c.Epoch); r != nil {
		return nil, r
	}
	if r := s.liveHost(c.Host, c.Incarnation); r != nil {
		return nil, r
	}
	switch h := s.Hosts[c.Host]; {
	case c.Revision > s.Volumes.Revision:
		return refuse(CodeInvalid, "%s says that it proves with heartbeat volumes of revision %d, and the newest is %d",
			c.Host, c.Revision, s.Volumes.Revision)
	case c.Revision > h.Volumes:
		s.editHost(c.Host).Volumes = c.Revision
	}
	return nil, nil
}

// Behind lists the live hosts that may still prove with the set before the present one.
func (s *State) Behind() []string {
	var names []string
	for _, h := range s.SortedHosts() {
		if h.Status == HostLive && h.Volumes != s.Volumes.Revision {
			names = append(names, h.Name)
		}
	}
	return names
}

// VolumeSets are the sets that this incarnation of a host may be proving with:
// a claim against it counts only when it stands on enough volumes of each.
func (s *State) VolumeSets(h *Host) []VolumeSet {
	if h.Volumes == s.Volumes.Revision {
		return []VolumeSet{s.Volumes}
	}
	return []VolumeSet{s.OldVolumes, s.Volumes}
}

// AllVolumes are those of both sets that may be in use, each once.
func (s *State) AllVolumes() []Volume {
	all := slices.Clone(s.Volumes.Volumes)
	if len(s.Behind()) > 0 {
		for _, v := range s.OldVolumes.Volumes {
			if !slices.ContainsFunc(all, func(o Volume) bool { return o.ID == v.ID }) {
				all = append(all, v)
			}
		}
	}
	return all
}
