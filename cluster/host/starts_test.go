package host

import (
	"fmt"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm/embedded"
)

// A host begins no more starts at once than the policy says, and the others after them.
func TestStartsAtOnce(t *testing.T) {
	bubble(t, func(r *rig) {
		policy := config.DefaultPolicy("test")
		policy.Hosts = map[string]config.HostRule{"a": {MaxRestarts: 2}}
		r.policy = policy
		r.start()
		r.pass(3 * time.Second)
		r.hyp.SetDelays(embedded.Delays{Start: 5 * time.Second})
		for n := range 4 {
			uuid := fmt.Sprintf("00000000-0000-4000-8000-%012x", 0xf0+n)
			packed, err := fsm.PackXML(xml(uuid, fmt.Sprintf("vm%d", n)))
			if err != nil {
				t.Fatal(err)
			}
			r.apply(&fsm.Protect{Epoch: 1, VM: fsm.VM{UUID: uuid, Name: fmt.Sprintf("vm%d", n), XML: packed, Intent: fsm.IntentRun, Memory: 1 << 30}, Host: "a"})
			r.apply(&fsm.Assign{Epoch: 1, UUID: uuid, Host: "a", Incarnation: r.state().Hosts["a"].Incarnation, Why: "a test"})
		}
		for _, want := range []int{2, 4} {
			r.pass(8 * time.Second)
			if got := len(r.world.Runs()); got != want {
				t.Errorf("%d VMs have started, want %d", got, want)
			}
		}
	})
}
