package master

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/fsm"
)

func TestProtect(t *testing.T) {
	dom := func(id, name string) api.DomainReport {
		return api.DomainReport{UUID: id, Name: name, State: "stopped", Persistent: true}
	}
	runs := func(id, name string) api.DomainReport {
		d := dom(id, name)
		d.State = "running"
		return d
	}
	// tell has a host report its domains and send what it was asked for.
	tell := func(r *rig, host string, outcomes []api.OutcomeReport, domains ...api.DomainReport) {
		for range 2 {
			r.seq++
			rep := r.report(domains...)
			rep.Outcomes = outcomes
			hb := api.Heartbeat{Host: host, Incarnation: 1, Run: 9, Seq: r.seq, Network: "mgmt", ReportRev: r.seq, Report: rep, Definitions: map[string]string{}}
			r.mu().Lock()
			for id := range r.office.hosts[host].wanted {
				hb.Definitions[id] = "<domain/>"
			}
			r.mu().Unlock()
			if _, err := r.Heartbeat(r.Context(), hb); err != nil {
				r.Fatal(err)
			}
			synctest.Wait()
		}
	}
	type answer struct {
		vm  *fsm.VM
		err error
	}
	protect := func(r *rig, name string) chan answer {
		c := make(chan answer, 1)
		go func() {
			vm, err := r.Protect(r.Context(), name, "ann")
			c <- answer{vm, err}
		}()
		synctest.Wait()
		return c
	}

	t.Run("a running one, once its host has confirmed", func(t *testing.T) {
		bubble(t, func(r *rig) {
			tell(r, "b", nil, runs(web, "web"))
			tell(r, "c", nil, dom(web, "web"))
			c := protect(r, "web")
			tell(r, "b", nil, runs(web, "web"))
			r.beating(5*time.Second, "a", "c")
			select {
			case a := <-c:
				t.Fatalf("answered %+v before b had confirmed", a)
			default:
			}
			vm := r.state().VMs[web]
			if vm == nil || vm.Sighting == nil || vm.Sighting.Host != "b" || vm.Owner != nil {
				t.Fatalf("committed %+v, want a sighting on b and no owner", vm)
			}
			tell(r, "b", []api.OutcomeReport{{UUID: web, Generation: vm.Generation, Outcome: "running"}}, runs(web, "web"))
			a := <-c
			if a.err != nil || a.vm.Owner == nil || a.vm.Owner.Host != "b" || a.vm.By != "ann" || a.vm.Intent != fsm.IntentRun {
				t.Errorf("answered %+v (%v), want web owned by b", a.vm, a.err)
			}
		})
	})
	t.Run("a running one whose host does not confirm", func(t *testing.T) {
		bubble(t, func(r *rig) {
			tell(r, "b", nil, runs(web, "web"))
			c := protect(r, "web")
			tell(r, "b", nil, runs(web, "web"))
			r.pass(protectTimeout)
			if a := <-c; !errors.Is(a.err, api.ErrUnknownOutcome) || !strings.Contains(a.err.Error(), "b has not confirmed") {
				t.Errorf("answered %+v (%v), want the outcome unknown because of b", a.vm, a.err)
			}
		})
	})
	t.Run("a stopped one", func(t *testing.T) {
		bubble(t, func(r *rig) {
			tell(r, "b", nil, dom(web, "web"))
			c := protect(r, web)
			tell(r, "b", nil, dom(web, "web"))
			if a := <-c; a.err != nil || a.vm.Name != "web" || a.vm.Intent != fsm.IntentStop || a.vm.Sighting != nil {
				t.Errorf("answered %+v (%v), want web, stopped", a.vm, a.err)
			}
		})
	})
	t.Run("a stopped one that a dead host ran", func(t *testing.T) {
		bubble(t, func(r *rig) {
			tell(r, "b", nil, runs(web, "web"))
			tell(r, "c", nil, dom(web, "web"))
			r.must(&fsm.DeclareDead{Meta: r.meta(), Epoch: 1, Host: "b", Incarnation: 1, Text: "b is dead"})
			c := protect(r, "web")
			if a := <-c; !errors.Is(a.err, api.ErrRefused) || !strings.Contains(a.err.Error(), "haadm fence confirm b") {
				t.Errorf("answered %+v (%v), want a refusal because of b", a.vm, a.err)
			}
			r.beating(time.Minute, "a", "c")
			tell(r, "c", nil, dom(web, "web"))
			if _, err := r.ConfirmOff(r.Context(), "b", "ann"); err != nil {
				t.Fatal(err)
			}
			c = protect(r, "web")
			tell(r, "c", nil, dom(web, "web"))
			r.beating(5*time.Second, "a", "c")
			if a := <-c; a.err != nil || a.vm.Home != "c" {
				t.Errorf("once b is off it is answered %+v (%v), want web at home on c", a.vm, a.err)
			}
		})
	})
	t.Run("one that runs on another host than the one that ran it when it was let go", func(t *testing.T) {
		bubble(t, func(r *rig) {
			r.must(&fsm.Protect{Meta: r.meta(), Epoch: 1, VM: fsm.VM{UUID: web, Name: "web", XML: []byte("x"), Intent: fsm.IntentRun}, Running: true, Host: "c", Incarnation: 1})
			r.must(&fsm.Unprotect{Meta: r.meta(), UUID: web})
			tell(r, "c", nil, dom(web, "web"))
			tell(r, "b", nil, runs(web, "web"))
			c := protect(r, "web")
			tell(r, "b", nil, runs(web, "web"))
			r.beating(time.Second, "a", "c")
			tell(r, "b", nil, runs(web, "web"))
			vm := r.state().VMs[web]
			if vm == nil || vm.Sighting == nil || vm.Sighting.Host != "c" {
				t.Fatalf("committed %+v, want a sighting on c, whose word comes first", vm)
			}
			r.seq++ // b's libvirt does not answer at this moment, so the VM is not adopted yet
			rep := r.report(runs(web, "web"))
			rep.HypervisorError = "it does not answer"
			if _, err := r.Heartbeat(r.Context(), api.Heartbeat{Host: "b", Incarnation: 1, Run: 9, Seq: r.seq, Network: "mgmt", ReportRev: r.seq, Report: rep}); err != nil {
				t.Fatal(err)
			}
			tell(r, "c", []api.OutcomeReport{{UUID: web, Generation: vm.Sighting.Generation, Outcome: "stopped"}}, dom(web, "web"))
			select {
			case a := <-c:
				t.Fatalf("answered %+v (%v) before b had been given it", a.vm, a.err)
			default:
			}
			tell(r, "b", nil, runs(web, "web"))
			tell(r, "b", []api.OutcomeReport{{UUID: web, Generation: r.state().VMs[web].Sighting.Generation, Outcome: "running"}}, runs(web, "web"))
			if a := <-c; a.err != nil || a.vm.Owner == nil || a.vm.Owner.Host != "b" || a.vm.Intent != fsm.IntentRun {
				t.Errorf("answered %+v (%v), want web owned by b", a.vm, a.err)
			}
		})
	})
	t.Run("one whose definition does not come", func(t *testing.T) {
		bubble(t, func(r *rig) {
			tell(r, "b", nil, dom(web, "web"))
			c := protect(r, "web")
			for range 15 {
				if _, err := r.Heartbeat(r.Context(), api.Heartbeat{Host: "b", Incarnation: 1, Run: 9, Seq: 1, Network: "mgmt"}); err != nil {
					t.Fatal(err)
				}
				r.pass(time.Second)
			}
			if a := <-c; !errors.Is(a.err, api.ErrUnknownOutcome) || !strings.Contains(a.err.Error(), "has not sent its definition") {
				t.Errorf("answered %+v (%v), want the outcome unknown", a.vm, a.err)
			}
		})
	})
	t.Run("the office ends meanwhile", func(t *testing.T) {
		bubble(t, func(r *rig) {
			tell(r, "b", nil, dom(web, "web"))
			c := protect(r, "web")
			_ = r.resign()
			if a := <-c; !errors.Is(a.err, api.ErrNotMaster) {
				t.Errorf("answered %+v (%v), want %v", a.vm, a.err, api.ErrNotMaster)
			}
		})
	})
	for _, tt := range []struct {
		name string
		tell func(r *rig)
		want string
	}{
		{"unknown", func(r *rig) { tell(r, "b", nil, dom(db, "db")) }, "no live host has a VM named web (there are: db)"},
		{"running on two hosts", func(r *rig) {
			tell(r, "b", nil, runs(web, "web"))
			tell(r, "c", nil, runs(web, "web"))
		}, "web runs on both b and c: stop one of them first"},
		{"two VMs of one name", func(r *rig) {
			tell(r, "b", nil, dom(web, "web"))
			tell(r, "c", nil, dom(db, "web"))
		}, "b and c each have another VM named web: give the UUID"},
		{"on a host that died", func(r *rig) {
			tell(r, "b", nil, runs(web, "web"))
			r.must(&fsm.DeclareDead{Epoch: 1, Host: "b", Incarnation: 1})
		}, "b, which is not heard now, ran web"},
		{"on another host than the silent one that ran it when it was unprotected", func(r *rig) {
			r.must(&fsm.Protect{Meta: r.meta(), Epoch: 1, VM: fsm.VM{UUID: web, Name: "web", XML: []byte("x"), Intent: fsm.IntentRun}, Running: true, Host: "c", Incarnation: 1})
			r.must(&fsm.Unprotect{Meta: r.meta(), UUID: web})
			r.beating(2*time.Second, "a", "b")
			tell(r, "b", nil, runs(web, "web"))
		}, "c ran web when it was unprotected, and is not heard now"},
		{"on a host that has fallen silent", func(r *rig) {
			tell(r, "b", nil, runs(web, "web"))
			r.beating(2*time.Second, "a", "c")
		}, "b, which is not heard now, ran web"},
		{"on a host that died when it was stopped there", func(r *rig) {
			tell(r, "b", nil, dom(web, "web"))
			r.must(&fsm.DeclareDead{Epoch: 1, Host: "b", Incarnation: 1})
		}, "no live host has a VM named web"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(r *rig) {
				tt.tell(r)
				asked := time.Now()
				a := <-protect(r, "web")
				if took := time.Since(asked); took > 0 || !errors.Is(a.err, api.ErrRefused) || !strings.Contains(a.err.Error(), tt.want) {
					t.Errorf("answered %+v (%v) after %v, want it refused at once with %q", a.vm, a.err, took, tt.want)
				}
			})
		})
	}
}
