package sim

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/integration/sim/scenario"
	"github.com/holdfast-ha/holdfast/vmm/domainxml"
	"github.com/holdfast-ha/holdfast/vmm/embedded"
)

// hookTimeout is how long the hypervisor's hook waits for the agent.
const hookTimeout = 2 * time.Second

// startByHand is a person's "virsh start", through the hypervisor's hook: it asks the
// agent, and refuses what that host remembers as protected while the agent does not answer.
func startByHand(w *World, vm, host string) error {
	m := w.machines[host]
	if !m.on || m.still {
		return fmt.Errorf("start %s by hand: %s answers nobody", vm, host)
	}
	ctx, cancel := context.WithTimeout(w.ctx, time.Second)
	defer cancel()
	xml := w.definitionOf(vm)
	if err := m.hyp.PersonDefine(ctx, xml); err != nil {
		return err
	}
	def, err := domainxml.Parse(xml)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(w.people.wants[vm], func(x want) bool { return x.protected }) {
		// A claim is the wish that it runs, also where its answer is lost.
		w.people.wants[vm] = append(w.people.wants[vm], want{true, fsm.IntentRun})
	}
	a, uuid, boot := m.agent, uuidOf("vm", vm), m.boot
	remembered := m.remembers(uuid)
	w.wg.Go(func() {
		err := errors.New("the agent is away")
		refused := remembered
		if a != nil && !a.frozen {
			ctx, cancel := context.WithTimeout(w.ctx, hookTimeout)
			defer cancel()
			err = a.agent.AdmitStart(ctx, api.AdmitRequest{UUID: uuid, Name: vm, Operation: "prepare", Memory: def.Memory, VCPUs: def.VCPUs})
			refused = err != nil && (ctx.Err() == nil && !a.life.ended() || remembered)
		}
		w.soon(func() {
			switch {
			case refused:
				w.note("start of %s on %s by hand is refused: %v", vm, host, err)
				return
			case !m.on || m.still || m.boot != boot:
				return
			}
			if err := m.hyp.PersonStart(vm); err != nil {
				w.note("%v", err)
				return
			}
			w.watch.startedByHand(vm, host)
		})
	})
	return nil
}

// remembers reports whether what is on the disk names the VM as protected.
func (m *machine) remembers(uuid string) bool {
	d := m.disk
	if m.agent != nil {
		d = m.agent.disk
	}
	r, err := store{d: d}.Record()
	return err != nil || slices.Contains(r.Known, uuid)
}

func demandStart(w *World, a scenario.Action) error { return startByHand(w, a.VM, a.Host) }

// moveOutside is a person who stops a VM here and starts it there, past Holdfast: meant
// for one that is not protected.
func moveOutside(w *World, a scenario.Action) error {
	if s := w.watch.newest.state; s != nil && s.FindVM(a.VM) != nil {
		w.people.shutsDown(a.VM)
	}
	if err := onRunning((*embedded.Host).GuestShutdown)(w, a); err != nil {
		return err
	}
	return startByHand(w, a.VM, a.To)
}

// resumeGuest is a person who lets a VM go on where a person had suspended it.
func resumeGuest(w *World, a scenario.Action) error {
	for _, r := range slices.Backward(w.disks.Runs()) {
		if r.Name != a.VM {
			continue
		}
		if r.How != embedded.EndedPaused {
			break
		}
		if err := w.machines[r.Host].hyp.PersonResume(a.VM); err != nil {
			return err
		}
		w.watch.resumedByHand(r)
		return nil
	}
	return fmt.Errorf("%s is suspended nowhere", a.VM)
}
