package placement_test

import (
	"fmt"

	"github.com/holdfast-ha/holdfast/cluster/placement"
)

func ExampleDecide() {
	const gib = 1 << 30
	c := &placement.Cluster{
		Hosts: []placement.Host{
			{Name: "kvm1", Memory: 64 * gib, Datastores: []string{"nfs"}},
			{Name: "kvm2", Memory: 64 * gib, Datastores: []string{"nfs"}},
			{Name: "kvm3", Memory: 64 * gib},
		},
		VMs: []placement.VM{
			{Name: "db1", Host: "kvm1", Memory: 16 * gib, Datastores: []string{"nfs"}},
			{Name: "web1", Host: "kvm2", Memory: 8 * gib},
		},
	}
	for _, d := range placement.Decide(c, placement.Question{Lost: []string{"kvm1"}}).Decisions {
		fmt.Println(d.Action, d.VM, "on", d.To)
		for _, h := range d.Hosts {
			fmt.Println(" ", h)
		}
	}
	fmt.Println(placement.Tolerate(c, placement.Failures{N: 2}).Why)
	// Output:
	// start db1 on kvm2
	//   kvm1: is lost
	//   kvm2: memory 37.5 % used, 0.00 virtual CPUs per processor, 2 VMs
	//   kvm3: has no datastore nfs
	// any 2 hosts at once may not fail: with kvm1, kvm2 lost db1 would stay down
}
