package agent

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/fsm"
)

// order has the master switch kvm2, as ann.
func (s *site) order(ctx context.Context, action string, evenIfHeard bool) (api.FenceReport, error) {
	return s.hosts["kvm1"].agent.Fence(ctx, "kvm2", api.FenceRequest{Action: action, EvenIfHeard: evenIfHeard}, "ann")
}

func (s *site) held() bool { return s.state().Hosts["kvm2"].Held != nil }

func TestFenceByHand(t *testing.T) {
	tests := []struct {
		name string
		run  func(*testing.T, *site)
	}{
		{"what is refused switches nothing", refusesAndSwitchesNothing},
		{"a host that is off stays off until somebody wants it on", staysOffUntilWantedOn},
		{"an office that fell over the order leaves the host off", staysOffInTheNextOffice},
		{"a reboot brings it back", rebootBringsItBack},
		{"a device that fails proves nothing and holds nothing", failingDeviceHoldsNothing},
		{"a device that calls a running host off is not believed", wrongPlugIsNotBelieved},
		{"a host that was switched on by its button is not held", buttonEndsTheHold},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tt.run(t, newSite(t))
			})
		})
	}
}

func refusesAndSwitchesNothing(t *testing.T, s *site) {
	a := s.hosts["kvm1"].agent
	for _, c := range []struct {
		host, action string
		says         string
	}{
		{"kvm9", api.FenceOff, "not a member"},
		{"kvm1", api.FenceOff, "no fence device"},
		{"kvm2", api.FenceOff, "is heard"},
		{"kvm2", api.FenceReboot, "is heard"},
	} {
		_, err := a.Fence(t.Context(), c.host, api.FenceRequest{Action: c.action}, "ann")
		if !errors.Is(err, api.ErrRefused) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s %s: %v, want it refused, saying %q", c.action, c.host, err, c.says)
		}
	}
	if _, err := s.hosts["kvm2"].agent.Fence(t.Context(), "kvm2", api.FenceRequest{Action: api.FenceOff, EvenIfHeard: true}, "ann"); !errors.Is(err, api.ErrNotMaster) {
		t.Errorf("asked of a host that is not master: %v", err)
	}
	if s.told("off") != 0 || s.held() || !s.live("kvm2") {
		t.Errorf("the device was told to switch off %d times, held %v", s.told("off"), s.held())
	}
}

func staysOffUntilWantedOn(t *testing.T, s *site) {
	s.hosts["kvm2"].halt() // it dies of what the device does, or just before
	r, err := s.order(t.Context(), api.FenceOff, true)
	if err != nil || !r.Done || len(r.Tries) != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	if h := s.state().Hosts["kvm2"]; h.Status != fsm.HostDead || s.power() != "off" || !s.held() || h.Held.By != "ann" {
		t.Errorf("kvm2 is %s, its power %s, held: %+v", h.Status, s.power(), h.Held)
	}
	if r, err := s.order(t.Context(), api.FenceOff, true); err != nil || !r.Done || !s.held() {
		t.Errorf("asked once more: %+v, %v, held: %v", r, err, s.held())
	}
	if s.told("on") != 0 {
		t.Error("it was switched on again")
	}
	r, err = s.order(t.Context(), api.FenceOn, false)
	if err != nil || !r.Done || s.power() != "on" || s.held() {
		t.Errorf("wanted on: %+v, %v, power %s, held %v", r, err, s.power(), s.held())
	}
}

// The master that was asked falls between the device's proof and the commit of the death.
// The next finds the host silent, fences it by itself, and would bring it back.
func staysOffInTheNextOffice(t *testing.T, s *site) {
	s.hosts["kvm2"].halt()
	ctx, cancel := context.WithCancel(t.Context())
	asked := make(chan api.FenceReport, 1)
	go func() {
		r, _ := s.order(ctx, api.FenceOff, true)
		asked <- r
	}()
	s.wait("the device has switched it off", func() bool { return s.power() == "off" })
	cancel()
	s.hosts["kvm1"].halt()
	if r := <-asked; r.Done {
		t.Fatalf("the order was carried out before the master fell: %+v", r)
	}
	s.hosts["kvm1"].start()
	s.wait("the next office has it that kvm2 is dead", func() bool { h := s.state().Hosts["kvm2"]; return h != nil && h.Status == fsm.HostDead })
	s.wait("the next office has decided whether to switch it on", func() bool {
		return len(s.events(fsm.EventHostHeldOff)) == 2 || len(s.events("host_switched_on")) > 0
	})
	if s.power() != "off" || s.told("on") != 0 || !s.held() {
		t.Errorf("the power is %s, held %v, events %q and %q", s.power(), s.held(), s.events(fsm.EventHostHeldOff), s.events("host_switched_on"))
	}
}

func rebootBringsItBack(t *testing.T, s *site) {
	s.hosts["kvm2"].halt()
	r, err := s.order(t.Context(), api.FenceReboot, true)
	if err != nil || !r.Done || s.power() != "on" || s.held() {
		t.Fatalf("%+v, %v, power %s, held %v", r, err, s.power(), s.held())
	}
	if s.state().Hosts["kvm2"].Status != fsm.HostDead || s.told("off") == 0 {
		t.Error("it was not proven off in between")
	}
	s.hosts["kvm2"].boot++
	s.hosts["kvm2"].start()
	s.wait("kvm2 is live again", func() bool { return s.live("kvm2") })
}

func failingDeviceHoldsNothing(t *testing.T, s *site) {
	s.put("refuses", "")
	r, err := s.order(t.Context(), api.FenceOff, true)
	if err != nil || r.Done || !strings.Contains(r.Evidence, "no answer") {
		t.Errorf("%+v, %v", r, err)
	}
	if s.held() || !s.live("kvm2") || len(s.events("host_fencing_failed")) != 1 {
		t.Errorf("held %v, live %v, events %q", s.held(), s.live("kvm2"), s.events("host_fencing_failed"))
	}
}

// The device says off, and the host goes on: it switches something else.
func wrongPlugIsNotBelieved(t *testing.T, s *site) {
	r, err := s.order(t.Context(), api.FenceOff, true)
	if err != nil || r.Done || !strings.Contains(r.Evidence, "it is heard") {
		t.Errorf("%+v, %v", r, err)
	}
	if s.held() || !s.live("kvm2") {
		t.Errorf("held %v, live %v: its VMs would start elsewhere", s.held(), s.live("kvm2"))
	}
	n := s.told("off")
	r, err = s.order(t.Context(), api.FenceOff, true)
	if err != nil || r.Done || s.told("off") != n {
		t.Errorf("asked again: %+v, %v; the device was used: %v", r, err, s.told("off") != n)
	}
}

func buttonEndsTheHold(t *testing.T, s *site) {
	kvm2 := s.hosts["kvm2"]
	kvm2.halt()
	if r, err := s.order(t.Context(), api.FenceOff, true); err != nil || !r.Done {
		t.Fatalf("%+v, %v", r, err)
	}
	s.put("power", "on\n")
	kvm2.boot++
	kvm2.start()
	s.wait("kvm2 is live again", func() bool { return s.live("kvm2") })
	if s.held() {
		t.Error("it is held off, though it was switched on since")
	}
	kvm2.halt()
	s.wait("the office has fenced it and switched it on again", func() bool { return len(s.events("host_switched_on")) == 1 })
	if s.power() != "on" {
		t.Errorf("its power is %s", s.power())
	}
}
