package api

import (
	"github.com/holdfast-ha/holdfast/cluster/volumes/choice"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/storagehb"
)

// ChoiceReports are a host's reports of volumes as the choice among them reads them.
func ChoiceReports(of []VolumeReport) []choice.Report {
	all := make([]choice.Report, len(of))
	for i, v := range of {
		all[i] = choice.Report{Path: v.Path, ID: v.ID, Working: v.InUse && v.State == storagehb.Working.String(),
			Failing: v.InUse && notWorking(v.State),
			Error:   v.Error, Kind: v.Kind, Server: v.Server}
	}
	return all
}

// candidates are what became of the volumes of the policy, in its order, as the master
// chooses; without observations only what is in use is known.
func (w World) candidates() []choice.Candidate {
	in := choice.Input{Candidates: w.policy().Volumes, Count: w.policy().VolumeUse.Count,
		InUse: w.State.Volumes.Volumes, Losses: w.Observed[w.Self.Name].Losses}
	for _, h := range w.State.SortedHosts() {
		if o, seen := w.Observed[h.Name]; seen && h.Status == fsm.HostLive {
			in.Hosts = append(in.Hosts, choice.Host{Name: h.Name, Self: h.Name == w.Self.Name, Silent: o.Suspected,
				Fresh: h.Name == w.Self.Name || o.Verdict == string(fsm.HostLive), Reports: ChoiceReports(o.Volumes)})
		}
	}
	_, all := choice.Choose(in)
	return all
}
