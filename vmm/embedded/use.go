package embedded

import (
	"context"
	"fmt"
	"time"

	"github.com/holdfast-ha/holdfast/vmm"
)

// load is what a guest does, wherever it runs.
type load struct {
	processors float64
	memory     uint64
	since      time.Time
	before     time.Duration // time of processors taken until since
}

func (l load) at(now time.Time) time.Duration {
	return l.before + time.Duration(l.processors*float64(now.Sub(l.since)))
}

// SetLoad says what the guest of that UUID takes from now on while it runs: so many
// processors, and memory of its host in bytes. Before, it takes nothing.
func (w *World) SetLoad(uuid string, processors float64, memory uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if w.loads == nil {
		w.loads = map[string]load{}
	}
	w.loads[uuid] = load{processors: processors, memory: memory, since: now, before: w.loads[uuid].at(now)}
}

// Usage tells what SetLoad said, of the domains that run.
func (h *Host) Usage(ctx context.Context) (map[string]vmm.Use, error) {
	if err := h.enter(ctx); err != nil {
		return nil, fmt.Errorf("read what VMs use: %w", err)
	}
	running := []string{}
	for _, d := range h.domains {
		if d.state == vmm.Running {
			running = append(running, d.UUID)
		}
	}
	h.unlock()
	h.world.mu.Lock()
	defer h.world.mu.Unlock()
	use := make(map[string]vmm.Use, len(running))
	for _, uuid := range running {
		l := h.world.loads[uuid]
		use[uuid] = vmm.Use{CPUTime: l.at(time.Now()), Memory: l.memory}
	}
	return use, nil
}
