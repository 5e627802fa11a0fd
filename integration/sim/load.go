package sim

import (
	"context"
	"fmt"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/agent"
	"github.com/holdfast-ha/holdfast/integration/sim/scenario"
)

// taken is what a VM's guest takes, as the scenario has said so far.
type taken struct{ processors, memory float64 }

// setLoads has the guests of the scenario's list take what it says from the beginning.
func (w *World) setLoads() {
	for i := range w.s.VMs {
		v := &w.s.VMs[i]
		if v.CPUUsed != nil || v.MemUsedBytes != nil {
			w.setLoad(v.ID, v.CPUUsed, v.MemUsedBytes)
		}
	}
}

// setLoad changes what a VM's guest takes; what is nil stays as it is.
func (w *World) setLoad(vm string, processors, memory *float64) {
	t := w.taken[vm]
	if processors != nil {
		t.processors = *processors
	}
	if memory != nil {
		t.memory = *memory
	}
	w.taken[vm] = t
	w.disks.SetLoad(uuidOf("vm", vm), t.processors, uint64(t.memory))
}

// setLoad is a guest that has more or less to do.
func setLoad(w *World, a scenario.Action) error {
	memory := a.MemUsedMiB
	if memory != nil {
		bytes := *memory * (1 << 20)
		memory = &bytes
	}
	w.setLoad(a.VM, a.CPUUsed, memory)
	return nil
}

// recordedRound is how long a round of the manager lasts that files were recorded from, and
// recordedHold for how many of them load is uneven there before it moves a VM.
const (
	recordedRound = 20 * time.Second
	recordedHold  = 3
)

// balanceAfter is when people switch balance on: VMs that are started after that go where
// there is least load, and those of a recorded file start at home.
const balanceAfter = 5 * time.Second

func (w *World) switchBalanceOn() {
	w.balancing = true
	files := w.policy()
	w.people.ask("switch balance on", "", nil, func(ctx context.Context, on *agent.Agent) error {
		_, err := on.ApplyPolicy(ctx, files, 0, true, personName)
		return err
	})
}

// recordedThreshold is how uneven load must be in files whose VMs are uneven by our measure
// from the beginning: the other manager adds up the memory and the processors of a host, so
// that much of the one makes up for little of the other; ours looks at each.
var recordedThreshold = map[string]int{"rebalance-ignores-spike": 60, "rebalance-changing-load": 60}

// balancePolicy puts a file's settings of balance into the cluster's policy. The other
// manager's threshold and margin are our defaults. It keeps no room for failures, for which
// ours would not make some of the moves.
func balancePolicy(s *scenario.Scenario) string {
	rounds, by := s.Settings.AutoRebalanceHoldRounds, "configured"
	if rounds == 0 {
		rounds = recordedHold
	}
	if s.Settings.Placement == "measured_load" {
		by = "measured"
	}
	hold := time.Duration(rounds) * recordedRound
	if s.TimeScale != 0 {
		hold = time.Duration(float64(hold) * s.TimeScale)
	}
	text := fmt.Sprintf("admission_control {\n  mode = \"off\"\n}\nbalance {\n  mode = \"automatic\"\n  by = %q\n  hold = %q\n", by, hold)
	if t := recordedThreshold[s.ID]; t != 0 {
		text += fmt.Sprintf("  threshold = %d\n", t)
	}
	return text + "}\n"
}
