package master

import (
	"fmt"

	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm"
)

// twice tells people of VMs that a host says it runs while another owns them (I8): their
// disks may have two writers. The host itself ends them; this is so that nobody has to
// find out from a disk. Each is told once, as long as it lasts.
func twice(in input, m fsm.Meta, h *fsm.Host, o *observed, d *decision) {
	r := o.present()
	if r == nil || r.HypervisorError != "" || !o.reached(in.now, in.timing) {
		return // an old list says nothing of what runs there now
	}
	told := map[string]bool{}
	d.twice[h.Name] = told
	for _, x := range r.Domains {
		vm := in.state.VMs[x.UUID]
		if x.State != vmm.Running || vm == nil || vm.Owner == nil || vm.Owner.Host == h.Name {
			continue
		}
		told[x.UUID] = true
		if o.twice[x.UUID] {
			continue
		}
		e := fsm.Event{Type: "vm_runs_elsewhere", Severity: fsm.Critical, Host: h.Name, VM: vm.Name,
			Text: fmt.Sprintf("%s runs on %s, and %s owns it: its disk may have two writers. Look at what wrote to it last; %s ends it within three heartbeat intervals",
				vm.Name, h.Name, vm.Owner.Host, h.Name)}
		d.commands = append(d.commands, &fsm.Record{Meta: m, Epoch: in.epoch, Events: []fsm.Event{e}})
	}
}
