package master

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm"
)

// What protection would be worth is asked of the definition as the host has it, and changes nothing.
func TestProspect(t *testing.T) {
	staged(t, "warn", func(s *stage) {
		s.runs("c", 3, "web", 2<<30, vmm.Running)
		s.beating(time.Second)
		type answer struct {
			vm  *fsm.VM
			err error
		}
		c := make(chan answer, 1)
		ask := func() answer {
			go func() {
				vm, err := s.Prospect(s.Context(), "web")
				c <- answer{vm, err}
			}()
			synctest.Wait()
			s.beating(time.Second)
			return <-c
		}
		for range 2 { // the definition is asked for anew each time
			a := ask()
			if a.err != nil || a.vm.Owner == nil || a.vm.Owner.Host != "c" || len(a.vm.XML) == 0 {
				t.Fatalf("%+v, %v", a.vm, a.err)
			}
			s.mu().Lock()
			kept := len(s.office.hosts["c"].defs)
			s.mu().Unlock()
			if kept != 0 {
				t.Error("the definition was kept: whoever protects the VM later would be given an old one")
			}
		}
		if s.state().VMs[uuid(3)] != nil {
			t.Error("it is protected")
		}
		if _, err := s.Prospect(s.Context(), "nothing"); !errors.Is(err, api.ErrRefused) || !strings.Contains(err.Error(), "web") {
			t.Errorf("of one that is not there: %v", err)
		}
	})
}
