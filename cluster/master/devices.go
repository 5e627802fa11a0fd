package master

import (
	"fmt"
	"slices"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/inventory"
	"github.com/holdfast-ha/holdfast/cluster/whatif"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm/domainxml"
)

// exchanged reports whether the definition of a VM on the host where it counts hands over other
// devices than the one that is known, or devices of another host: what is known is then read
// anew, so that it stays of the host that has the VM.
func exchanged(vm *fsm.VM, host string, x api.DomainReport) bool {
	return len(x.Devices) > 0 && (vm.DevicesOf != host || !slices.Equal(x.Devices, vm.Devices))
}

// devicesOf are the devices of its host that a definition hands over. Hosts that do not tell of
// them are of a version that does not exchange them.
func devicesOf(x api.DomainReport, xml string) []string {
	if len(x.Devices) == 0 {
		return nil
	}
	words, err := domainxml.Devices(xml)
	if err != nil {
		return nil // what is wrong with it is said wherever it is read
	}
	return words
}

// redefineCommand takes over a definition as a host has it now; nil where it cannot be kept.
func redefineCommand(epoch uint64, m fsm.Meta, h *fsm.Host, x api.DomainReport, xml string) fsm.Command {
	packed, err := fsm.PackXML(xml)
	if err != nil {
		return nil
	}
	cmd := &fsm.Redefine{Meta: m, Epoch: epoch, UUID: x.UUID, Name: x.Name, XML: packed, XMLHash: x.XMLHash, VCPUs: x.VCPUs, Memory: x.Memory}
	if cmd.Devices = devicesOf(x, xml); cmd.Devices != nil {
		cmd.Host = h.Name
	}
	return cmd
}

// choices are the devices of their targets that VMs get that people want moved, by UUID.
func choices(in inventory.Input, g *whatif.Granted) (map[string][]string, error) {
	c := inventory.NewChooser(in)
	chosen := map[string][]string{}
	for _, x := range g.Moves {
		words, why := c.Choose(in.State.VMs[x.UUID], x.To)
		if why != "" {
			return nil, fmt.Errorf("%w: %s cannot go to %s: %s", api.ErrRefused, x.VM, x.To, why)
		}
		if x.Cold {
			chosen[x.UUID] = words
		}
	}
	return chosen, nil
}
