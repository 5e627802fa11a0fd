package host

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm"
)

func policyOf(t testing.TB, text string) *config.Policy {
	t.Helper()
	p, err := config.ParsePolicy(map[string][]byte{"a.hcl": []byte("cluster \"test\" {}\n" + text)})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// reported is the newest report that the master has.
func (r *rig) reported() api.HostReport {
	r.Helper()
	var got *api.HostReport
	r.master.set(func(m *fakeMaster) { got = m.report })
	if got == nil {
		r.Fatal("the master has no report")
	}
	return *got
}

func TestOfferIsReported(t *testing.T) {
	bubble(t, func(r *rig) {
		r.policy = policyOf(t, `datastore "nfs" { path = "/srv/nfs" }
datastore "iscsi" { path = "/srv/iscsi" }
`)
		mounted := map[string]bool{"/srv/nfs": true, "/srv/iscsi": true}
		r.has = func(d config.Datastore) bool {
			r.mu.Lock()
			defer r.mu.Unlock()
			return mounted[d.Path]
		}
		mount := func(path string, on bool) {
			r.mu.Lock()
			defer r.mu.Unlock()
			mounted[path] = on
		}
		offer := vmm.Offer{Networks: []string{"bridge:br0"}, Pools: []string{}, Capabilities: []string{"type:kvm"}, HugePages: map[uint64]uint64{2048: 1 << 30}}
		r.hyp.SetOffer(offer)
		want := func(when string, o vmm.Offer, datastores ...string) {
			t.Helper()
			got := r.reported()
			if d := cmp.Diff(o, got.Offer); d != "" {
				t.Errorf("%s the offer is told as (-want +got):\n%s", when, d)
			}
			if d := cmp.Diff(datastores, got.Datastores); d != "" {
				t.Errorf("%s the datastores are told as (-want +got):\n%s", when, d)
			}
		}
		r.owned()
		want("at first", offer, "iscsi", "nfs")
		mount("/srv/nfs", false)
		r.pass(offerEvery + 2*time.Second)
		want("when one is not mounted any more", offer, "iscsi")

		// Another policy is looked at at once, and so is a hypervisor that is back.
		mount("/srv/nfs", true)
		r.apply(&fsm.ApplyPolicy{Previous: r.state().Policy.Revision, Files: map[string][]byte{"a.hcl": []byte("x")}})
		r.pass(2 * time.Second)
		want("after another policy", offer, "iscsi", "nfs")
		r.hyp.SetDown(true)
		r.pass(5 * time.Second)
		want("while the hypervisor is away", offer, "iscsi", "nfs")
		offer.Networks = []string{"bridge:br0", "bridge:br1"}
		r.hyp.SetOffer(offer)
		r.hyp.SetDown(false)
		r.pass(5 * time.Second)
		want("when it is back", offer, "iscsi", "nfs")
	})
}

func TestDatastoresThatCannotBeTold(t *testing.T) {
	p := policyOf(t, `datastore "nfs" { path = "/srv/nfs" }`)
	if got := datastores(p, nil); got != nil {
		t.Errorf("told as %v, want nothing known", got)
	}
	if got := datastores(p, func(config.Datastore) bool { return false }); got == nil || len(got) != 0 {
		t.Errorf("told as %#v, want known to be none", got)
	}
}

// A hypervisor that hangs holds up neither heartbeats nor the datastores.
func TestOfferThatHangs(t *testing.T) {
	bubble(t, func(r *rig) {
		r.owned()
		r.hyp.SetHang(true)
		var before int
		r.master.set(func(m *fakeMaster) { before = m.beats })
		r.pass(3 * offerEvery)
		r.master.set(func(m *fakeMaster) {
			if beats := m.beats - before; beats < int(3*offerEvery/standard(t).Heartbeat) {
				t.Errorf("%d heartbeats in %v", beats, 3*offerEvery)
			}
		})
		r.hyp.SetHang(false)
	})
}

func TestReadiness(t *testing.T) {
	bubble(t, func(r *rig) {
		r.policy = policyOf(t, `group "front" {
  vms = ["web"]
  ready_when {
    guest_agent = true
    uptime      = "20s"
    timeout     = "5m"
  }
}
`)
		want := func(when string, ready bool, why string) {
			t.Helper()
			for _, d := range r.reported().Domains {
				if d.UUID == web && (d.Ready != ready || d.NotReady != why) {
					t.Errorf("%s web is told as ready: %v (%s); want %v (%s)", when, d.Ready, d.NotReady, ready, why)
				}
			}
		}
		const silent = "its guest agent does not answer: ask the guest agent of web: it does not answer"
		r.hyp.SetGuestSilent("web", true)
		r.owned()
		want("at first", false, "it has not run for 20s yet")
		r.pass(20 * time.Second)
		want("without an agent in the guest", false, silent)
		r.hyp.SetGuestSilent("web", false)
		r.pass(readySoon + 2*time.Second)
		want("when the agent answers", true, "")
		r.hyp.SetGuestSilent("web", true)
		r.pass(readySoon + 2*time.Second)
		want("soon after it was ready", true, "")
		r.pass(readyLate)
		want("long after it was ready", false, silent)

		// Another process of the VM begins anew.
		r.hyp.SetGuestSilent("web", false)
		r.pass(readySoon + 2*time.Second)
		want("ready again", true, "")
		r.hyp.KillAll()
		r.pass(5 * time.Second)
		r.assign()
		r.pass(5 * time.Second)
		if !r.running() {
			t.Fatal("web does not run again")
		}
		want("started again", false, "it has not run for 20s yet")

		// So does one that took its place unseen.
		r.pass(20 * time.Second)
		want("ready once more", true, "")
		r.hyp.KillAll()
		if err := r.hyp.PersonStart("web"); err != nil {
			t.Fatal(err)
		}
		r.pass(5 * time.Second)
		want("started by a person", false, "it has not run for 20s yet")

		// A policy that asks for nothing has it ready at once.
		r.mu.Lock()
		r.policy = policyOf(t, "")
		r.mu.Unlock()
		r.pass(3 * time.Second)
		want("when nothing is asked", true, "")
	})
}
