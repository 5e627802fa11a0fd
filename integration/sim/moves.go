package sim

import (
	"context"
	"strings"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/agent"
	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/integration/sim/scenario"
	"github.com/holdfast-ha/holdfast/vmm/embedded"
)

// How long it takes here to send a GiB of a guest's memory to another host, and how
// long the guest then stands still.
const (
	migrateTakes = 4 * time.Second
	cutoverTakes = 50 * time.Millisecond
)

// moveTo is a person who has a VM moved by the cluster.
func moveTo(cold bool) act {
	return func(w *World, a scenario.Action) error {
		var vms []string
		for _, vm := range append([]string{a.VM}, a.VMs...) {
			vms = append(vms, uuidOf("vm", vm))
		}
		w.people.ask("move "+strings.Join(append([]string{a.VM}, a.VMs...), " and ")+" to "+a.To, "", nil, func(ctx context.Context, on *agent.Agent) error {
			_, _, err := on.Move(ctx, api.MoveRequest{VMs: vms, Host: a.To, Cold: cold, EvenIfNoSpare: true}, personName)
			return err
		})
		return nil
	}
}

// restart is a person who has a VM shut down and started again, and does not wait for it.
func restart(w *World, a scenario.Action) error {
	w.people.ask("restart "+a.VM, "", nil, func(ctx context.Context, on *agent.Agent) error {
		_, err := on.Restart(ctx, uuidOf("vm", a.VM), api.RestartRequest{EvenIfNoSpare: true}, personName)
		return err
	})
	return nil
}

// maintain is a person who takes a host out of service, or puts it back.
func maintain(on bool) act {
	return func(w *World, a scenario.Action) error {
		what := "put " + a.Host + " back into service"
		if on {
			what = "take " + a.Host + " out of service"
		}
		w.people.ask(what, "", nil, func(ctx context.Context, master *agent.Agent) error {
			return master.SetMaintenance(ctx, a.Host, api.MaintenanceRequest{On: on, EvenIfNoSpare: true}, personName)
		})
		return nil
	}
}

// failMoves has the next migrations from a host break off half way, or lose the
// target's last answer.
func failMoves(w *World, a scenario.Action) error {
	vm := a.VM
	if vm == "" {
		vm = "*"
	}
	f := embedded.MigrateFault{Fails: a.Fails}
	if a.Hang && a.Fails != 0 {
		f = embedded.MigrateFault{Lost: true}
	}
	w.machines[a.Host].hyp.SetMigrateFault(vm, f)
	return nil
}

// cutMoves cuts the ways between hypervisors where the network is cut: migrations go
// over the HA networks.
func (w *World) cutMoves() {
	for i, a := range w.order {
		for _, b := range w.order[i+1:] {
			cut := !w.net.Connected(a, b) || !w.net.Connected(b, a)
			if was := w.apart[[2]string{a, b}]; was != cut {
				w.apart[[2]string{a, b}] = cut
				w.disks.SetCut(a, b, cut)
			}
		}
	}
}
