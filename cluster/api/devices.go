package api

import (
	"fmt"
	"maps"
	"slices"

	"github.com/holdfast-ha/holdfast/cluster/inventory"
	"github.com/holdfast-ha/holdfast/fsm"
)

// DeviceView is a device of its host that a VM has.
type DeviceView struct {
	Device string `json:"device"` // as a word, such as "pci:0000:41:00.0"
	// Pool is the devices block of the policy that names it; empty: none does.
	Pool string `json:"pool,omitempty"`
}

// String is it for people.
func (v DeviceView) String() string {
	if v.Pool == "" {
		return v.Device + " (in no pool)"
	}
	return v.Device + " (pool " + v.Pool + ")"
}

// devices are those of its host that a VM has now.
func (w World) devices(vm *fsm.VM, host string) (all []DeviceView) {
	for _, word := range vm.DevicesOn(host) {
		all = append(all, DeviceView{Device: word, Pool: w.policy().DevicePool(host, word)})
	}
	return all
}

// PoolView is a pool of devices as it stands.
type PoolView struct {
	Name    string           `json:"name"`
	Devices []PoolDeviceView `json:"devices"` // by host, and in the policy's order
}

// PoolDeviceView is a device of a pool; without a VM, and without a reason against it, it is free.
type PoolDeviceView struct {
	Host   string `json:"host"`
	Device string `json:"device"` // as a word, such as "pci:0000:41:00.0"
	// VM has it, or will have it where it goes.
	VM string `json:"vm,omitempty"`
	// Missing says why it cannot be handed to a guest, Closed why its host is given no VMs.
	Missing string `json:"missing,omitempty"`
	Closed  string `json:"closed,omitempty"`
}

// poolsOf are the pools that a VM takes devices of. Who has what only the master knows.
func (w World) poolsOf(vm *fsm.VM) (all []PoolView) {
	if w.Picture == nil || len(vm.Devices) == 0 {
		return nil
	}
	var names []string
	for _, word := range vm.Devices {
		names = append(names, w.policy().DevicePool(vm.DevicesOf, word))
	}
	for _, p := range inventory.Pools(*w.Picture) {
		if !slices.Contains(names, p.Name) {
			continue
		}
		v := PoolView{Name: p.Name}
		for _, d := range p.Devices {
			v.Devices = append(v.Devices, PoolDeviceView{Host: d.Host, Device: d.Word, VM: d.VM, Missing: d.Missing, Closed: d.Closed})
		}
		all = append(all, v)
	}
	return all
}

// deviceProblems are devices that the policy names and that their hosts cannot hand to a guest.
func (w World) deviceProblems() (out []Problem) {
	policy := w.policy()
	for _, pool := range slices.Sorted(maps.Keys(policy.Devices)) {
		hosts := policy.Devices[pool].Hosts
		for _, host := range slices.Sorted(maps.Keys(hosts)) {
			for _, word := range hosts[host] {
				if why := w.Observed[host].Devices[word]; why != "" {
					out = append(out, Problem{Severity: fsm.Warning, Next: "haadm explain host " + host,
						Text: fmt.Sprintf("%s cannot hand out the device %s of pool %s: %s; it counts as missing", host, word, pool, why)})
				}
			}
		}
	}
	return out
}
