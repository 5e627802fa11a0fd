package agent

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/durable"
	"github.com/holdfast-ha/holdfast/fsm"
)

// A host that stands aside tells the master, as soon as there is one, and once. It tells people
// there what to do, and where to look.
func TestAHostThatStandsAsideTellsTheMaster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		old := oldDisk{"kvm2", "the word of kvm1", durable.Position{Term: 3, Index: 9}, durable.Position{Term: 2, Index: 7}}
		for _, want := range []string{errOldDisk.Error(), "haadm hosts list", "on another host", "haadm cluster leave kvm2", "haadm cluster token create --host kvm2", "empty its data directory"} {
			if !strings.Contains(old.Error(), want) {
				t.Errorf("%q is not in %q", want, old.Error())
			}
		}
		m := s.hosts["kvm2"]
		ms, err := m.store.Membership()
		if err != nil {
			t.Fatal(err)
		}
		m.halt()
		s.wait("kvm2 is not heard", func() bool { return !s.live("kvm2") })
		told := make(chan struct{})
		go func() {
			defer close(told)
			m.agent.standAside(t.Context(), ms, fmt.Errorf("store: %w", old))
		}()
		s.wait("the master knows", func() bool { return s.state().Hosts["kvm2"].Aside != nil })
		<-told
		if a := s.state().Hosts["kvm2"].Aside; a.Why != old.found() {
			t.Errorf("it says %q, want %q", a.Why, old.found())
		}
		time.Sleep(3 * asideAgain)
		if e := s.events(fsm.EventHostStandsAside); len(e) != 1 || !strings.Contains(e[0], "term 3") {
			t.Errorf("events %q, want one with what it has held", e)
		}
	})
}
