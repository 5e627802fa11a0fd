package master

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/volumes/choice"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
)

// What people are told of a volume that is not in use is what the master goes by:
// over many random reports the two agree on whether the hosts agree.
func TestWhyAVolumeIsNotInUseIsTheMastersRule(t *testing.T) {
	const path = "/srv/hb"
	ids := []string{"", "", "6b0f5a3e-0000-4000-8000-000000000001", "6b0f5a3e-0000-4000-8000-000000000001", "6b0f5a3e-0000-4000-8000-000000000001", "6b0f5a3e-0000-4000-8000-000000000002"}
	yes, no := 0, 0
	for seed := range uint64(4000) {
		r := rand.New(rand.NewPCG(seed, 1))
		in := input{self: "kvm1", now: time.Hour, state: &fsm.State{Hosts: map[string]*fsm.Host{}}, hosts: map[string]*observed{},
			policy: &config.Policy{VolumeUse: config.VolumesPolicy{Count: 2}, Volumes: []config.HeartbeatVolume{{Name: "a", Path: path}}}}
		w := api.World{Self: api.Self{Name: "kvm1", Master: "kvm1", IsMaster: true}, State: in.state, Policy: in.policy, Observed: map[string]api.HostObservation{}}
		same := r.IntN(2) == 0 // else two hosts rarely agree
		for _, name := range []string{"kvm1", "kvm2", "kvm3", "kvm4", "kvm5"}[:1+r.IntN(5)] {
			h := &fsm.Host{Name: name, Status: fsm.HostLive, Incarnation: 2}
			if name != "kvm1" && r.IntN(5) == 0 {
				h.Status = fsm.HostDead
			}
			in.state.Hosts[name] = h
			o := &observed{incarnation: 2, reportIncarnation: 2, report: &api.HostReport{}}
			switch r.IntN(12) {
			case 0:
				o.report = nil
			case 1:
				o.reportIncarnation = 1
			case 2: // it has yet to look
			default:
				id := ids[r.IntN(len(ids))]
				if same && id != "" {
					id = ids[2]
				}
				v := api.VolumeReport{Name: "a", Path: path, ID: id}
				if v.ID == "" {
					v.Error = "no such file or directory"
				}
				o.report.Volumes = []api.VolumeReport{v}
			}
			in.hosts[name] = o
			ob := api.HostObservation{Verdict: "live"}
			if name != "kvm1" && r.IntN(8) == 0 {
				o.watch.Suspected, ob.Suspected = time.Second, true
				ob.SuspectedFor = o.suspectedFor(in.now)
			}
			if p := o.present(); p != nil {
				ob.Volumes = p.Volumes
			}
			w.Observed[name] = ob
		}
		set, _ := choice.Choose(candidates(in))
		id := ""
		if len(set) > 0 {
			id = set[0].ID
		}
		shown := w.Storage().Volumes[0]
		if id != shown.ID || (id != "") != strings.HasPrefix(shown.Why, "every condition is met") {
			t.Fatalf("seed %d: the master agrees on %q, and people read %+v", seed, id, shown)
		}
		if id != "" {
			yes++
		} else {
			no++
		}
	}
	if yes < 200 || no < 200 {
		t.Errorf("the cases are one-sided: %d agreed, %d not", yes, no)
	}
}
