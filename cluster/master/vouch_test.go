package master

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/fsm"
)

// A person's word replaces the wait, but never against what the master hears.
func TestConfirmOff(t *testing.T) {
	bubble(t, func(r *rig) {
		r.beating(10*time.Second, "a", "b", "c")
		if _, err := r.ConfirmOff(r.Context(), "b", "ann"); !errors.Is(err, api.ErrRefused) || !strings.Contains(err.Error(), "heard") {
			t.Errorf("of a host that is heard: %v, want it refused with when it was heard", err)
		}
		if _, err := r.ConfirmOff(r.Context(), "z", "ann"); !errors.Is(err, api.ErrRefused) {
			t.Errorf("of a stranger: %v, want it refused", err)
		}
		r.beating(3*time.Second, "a", "c") // b is suspected, and its wait has long to go
		if r.state().Hosts["b"].Status != fsm.HostLive {
			t.Fatalf("b is %s before anybody vouched", r.state().Hosts["b"].Status)
		}
		if _, err := r.ConfirmOff(r.Context(), "b", "ann"); err != nil {
			t.Fatalf("of a silent host: %v", err)
		}
		if h := r.state().Hosts["b"]; h.Status != fsm.HostDead {
			t.Errorf("b is %s, want dead at once", h.Status)
		}
		if reply, err := r.beat("b", 1); err != nil || reply.Acknowledged || !reply.Over {
			t.Errorf("the host that was vouched off is answered %+v (%v), want its incarnation over", reply, err)
		}
	})
}

// A host that speaks up while somebody goes to look is not off.
func TestConfirmOffLosesAgainstAHeartbeat(t *testing.T) {
	bubble(t, func(r *rig) {
		r.beating(10*time.Second, "a", "b", "c")
		r.beating(3*time.Second, "a", "c")
		if _, err := r.beat("b", 1); err != nil {
			t.Fatal(err)
		}
		if _, err := r.ConfirmOff(r.Context(), "b", "ann"); !errors.Is(err, api.ErrRefused) {
			t.Errorf("after it was heard: %v, want it refused", err)
		}
		if h := r.state().Hosts["b"]; h.Status != fsm.HostLive {
			t.Errorf("b is %s, want live", h.Status)
		}
	})
}

// Of two hosts on which a person starts the same VM, one gets it.
func TestClaimIsForOne(t *testing.T) {
	bubble(t, func(r *rig) {
		r.beating(3*time.Second, "a", "b", "c")
		xml, err := fsm.PackXML("<domain/>")
		if err != nil {
			t.Fatal(err)
		}
		r.must(&fsm.Protect{Epoch: r.state().Office.Epoch, Host: "a", VM: fsm.VM{UUID: uuid(7), Name: "web", XML: xml, Intent: fsm.IntentStop}})
		claim := func(host string) error {
			return r.Claim(r.Context(), api.ClaimRequest{Host: host, Incarnation: 1, UUID: uuid(7), Generation: 0})
		}
		if err := claim("b"); err != nil {
			t.Fatalf("the first claim: %v", err)
		}
		if err := claim("c"); err == nil {
			t.Error("the second claim was granted as well")
		}
		if g := r.state().VMs[uuid(7)].Sighting; g == nil || g.Host != "b" {
			t.Errorf("the VM is reserved for %+v, want b", g)
		}
	})
}
