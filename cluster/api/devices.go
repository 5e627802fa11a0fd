package api

import (
	"fmt"
	"maps"
	"slices"

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
