package volumes

import (
	"errors"
	"slices"
	"syscall"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/storagehb/format"
)

// Report is how the volumes that the policy names, and those that are in use all the
// same, do on this host.
func (v *Volumes) Report() []api.VolumeReport {
	s, _, _ := v.cfg.State()
	view, _ := v.View()
	var all []api.VolumeReport
	used := s.AllVolumes()
	for _, u := range used {
		r := api.VolumeReport{Name: u.Name, Path: u.Path, ID: u.ID, InUse: true, State: "opening", Kind: view.Places[u.Path].Kind, Server: view.Places[u.Path].Server}
		if id, err := format.ParseUUID(u.ID); err == nil {
			c := view.States[id]
			r.State = c.State.String()
			if c.Err != nil {
				r.Error = fault(c.Err)
			}
		}
		all = append(all, r)
	}
	for _, w := range v.cfg.Policy(s).Volumes {
		f, looked := view.Found[w.Path]
		if !looked || slices.ContainsFunc(used, func(u fsm.Volume) bool { return u.Path == w.Path }) {
			continue
		}
		r := api.VolumeReport{Name: w.Name, Path: w.Path, Kind: view.Places[w.Path].Kind, Server: view.Places[w.Path].Server}
		if f.Err != nil {
			r.Error = f.Err.Error()
		} else {
			r.ID = f.ID.String()
		}
		all = append(all, r)
	}
	return all
}

// fault is what is said of a volume in use that fails: the kernel's word. Whether a write or a
// read met it first, numbers of writes and places on it differ from host to host and from time
// to time: people would be told the same thing three times, and the master each interval.
func fault(err error) string {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return err.Error()
	}
	return errno.Error()
}
