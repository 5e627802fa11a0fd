package host

import (
	"context"
	"math"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/vmm"
)

const (
	// useEvery is how often a host looks what its VMs take, and useReadings over how many
	// looks the mean goes: a minute, which a short burst does not show in.
	useEvery    = 20 * time.Second
	useReadings = 4
	// useProcessors and useMemory are the steps that it tells them in.
	useProcessors = 0.05
	useMemory     = 32 << 20
)

// uses is what VMs take, as it was last found.
type uses struct {
	of       map[string]api.Use
	readings []useReading // the newest last
	next     time.Duration
	busy     bool
}

// useReading is what the hypervisor said at one moment.
type useReading struct {
	at time.Duration
	of map[string]vmm.Use
}

// lookForUse asks now and then what VMs take. While the hypervisor does not answer
// nothing is known: what was true of a VM that moved or ended meanwhile is not.
func (h *Host) lookForUse(ctx context.Context) {
	if h.uses.busy || h.cfg.Now() < h.uses.next {
		return
	}
	h.uses.busy = true
	h.go_(func() {
		if h.cfg.Gate(ctx) != nil {
			return
		}
		cctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		use, err := h.cfg.Hypervisor.Usage(cctx)
		h.bring(ctx, func() {
			u := &h.uses
			u.busy, u.next = false, h.cfg.Now()+useEvery
			if err != nil {
				h.cfg.Log.Debug("the hypervisor does not say what VMs use", "error", err)
				u.readings, u.of = nil, nil
				return
			}
			u.readings = append(u.readings, useReading{h.cfg.Now(), use})
			u.readings = u.readings[max(0, len(u.readings)-useReadings):]
			u.of = mean(u.readings)
		})
	})
}

// mean is what each VM of the newest reading took since the oldest one in which the same process is.
func mean(readings []useReading) map[string]api.Use {
	last := readings[len(readings)-1]
	of := make(map[string]api.Use, len(last.of))
	for uuid, now := range last.of {
		since, then := last.at, now
		for i := len(readings) - 2; i >= 0; i-- {
			was, has := readings[i].of[uuid]
			if !has || was.CPUTime > then.CPUTime {
				break
			}
			since, then = readings[i].at, was
		}
		if took := last.at - since; took > 0 {
			busy := float64(now.CPUTime-then.CPUTime) / float64(took)
			of[uuid] = api.Use{
				Processors: math.Round(math.Round(busy/useProcessors)*useProcessors*100) / 100,
				Memory:     (now.Memory + useMemory/2) / useMemory * useMemory,
			}
		}
	}
	return of
}
