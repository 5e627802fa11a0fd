package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/holdfast-ha/holdfast/cluster/api/apitest"
)

// TestWhatPeopleRead runs command lines against clusters in several conditions
// and compares everything that a person sees, and the exit status.
func TestWhatPeopleRead(t *testing.T) {
	for _, world := range []struct {
		file  string
		make  func() *apitest.Backend
		lines []string
	}{
		{"healthy.txt", apitest.Healthy, []string{
			"status", "hosts list", "hosts list -o wide", "hosts show kvm1", "hosts show kvm3", "vms list", "vms list --protected -o wide", "vms show db1", "vms show build",
			"storage list", "storage show nfs", "storage show cloud",
			"cluster members", "cluster token list", "explain vm db1", "explain vm build", "explain host kvm1", "events", "config show",
			"protect build --yes", "protect build mail --yes", "protect mail --yes", "unprotect db1 --yes", "cluster token create --host kvm4 --ttl 30m", "cluster token revoke t2", "cluster transfer-master kvm3 --yes",
			"cluster leave kvm1 --yes", "cluster bootstrap --yes", "wait settled", "wait host kvm1 live", "wait vm db1 paused --timeout 1ms",
		}},
		{"hostlost.txt", apitest.HostLost, []string{
			"status", "hosts list", "hosts show kvm1", "vms list", "vms show mail", "vms show db1", "explain vm mail", "explain vm db1", "explain host kvm1", "events", "events -o wide", "events --vm db1", "events --type vm_started",
			"events --since 39s", "cluster members",
		}},
		{"maintenance.txt", apitest.Serviced, []string{
			"status", "hosts list", "hosts list -o wide", "hosts show kvm3", "maintenance list", "maintenance enter kvm3 --timeout 1ms", "maintenance enter kvm3 --no-wait", "maintenance leave kvm3 --yes", "maintenance leave kvm2",
			"maintenance enter kvm1", "maintenance enter kvm1 --yes --why memory --no-wait", "maintenance enter kvm2 --yes --no-wait", "maintenance enter kvm9",
			"vms list", "vms show web-1", "vms show db1", "vms history web-1", "explain vm web-1", "explain vm db1", "explain host kvm3", "capacity", "plan",
		}},
		{"goingdown.txt", apitest.GoingDown, []string{
			"status", "hosts list", "hosts show kvm1", "hosts show kvm3", "vms list", "vms show db1", "explain vm db1", "explain vm web-1", "explain host kvm1", "explain host kvm3",
			"plan", "plan --fail kvm2", "plan --fail-any 1", "plan --maintenance kvm2", "capacity", "vms retry db1 --yes",
		}},
		{"moves.txt", apitest.Healthy, []string{
			"vms migrate db1", "vms migrate db1 --yes --no-wait", "vms migrate db1 --to kvm3 --yes --no-wait --why quieter", "vms migrate db1 --to kvm3 --yes --timeout 1ms", "vms migrate db1 --to kvm1 --yes", "vms migrate db1 --to kvm9",
			"vms migrate build --to kvm1", "vms migrate nothing", "vms migrate db1 --cancel --yes", "vms migrate db1 --cancel --to kvm3",
			"vms stop db1 --yes --no-wait", "vms stop db1", "vms start db1", "vms stop build --yes", "vms restart db1 --no-wait", "vms retry db1",
		}},
		{"stopped.txt", apitest.Serviced, []string{
			"vms start db2 --yes --no-wait", "vms restart db2", "vms migrate db2 --to kvm1 --yes", "vms migrate db2 --to kvm2 --yes", "vms migrate db2 --to kvm3", "vms migrate web-1 --to kvm1", "vms migrate web-1 --cancel --yes", "vms retry db1 --yes", "vms retry db2 --yes",
		}},
		{"storage.txt", apitest.StorageTrouble, []string{
			"status", "hosts list", "hosts list -o wide", "hosts show kvm1", "hosts show kvm3", "storage list", "storage list -o wide", "storage show nfs", "storage show spare", "explain host kvm1", "explain host kvm3",
		}},
		{"volumelost.txt", apitest.VolumeLost, []string{"storage list", "storage list -o wide", "storage show old", "storage show nfs", "hosts list"}},
		{"nomaster.txt", apitest.NoMaster, []string{
			"status", "hosts list", "vms list", "explain vm db1", "explain host kvm1", "storage list", "cluster members", "protect build --yes", "unprotect db1 --yes", "cluster token create", "wait quorum --timeout 1ms",
		}},
		{"single.txt", apitest.Single, []string{
			"status", "hosts list", "storage list", "protect a --yes", "cluster bootstrap --name basement --timing-profile fast --yes", "cluster bootstrap", "cluster bootstrap --timing-profile quick --yes", "cluster join xyz --yes",
		}},
	} {
		t.Run(world.file, func(t *testing.T) {
			var b strings.Builder
			for _, line := range world.lines {
				got := haadm(t, agent(t, world.make()), nil, strings.Fields(line)...)
				fmt.Fprintf(&b, "$ haadm %s\n%s", line, got.out)
				for _, l := range strings.SplitAfter(got.errOut, "\n") {
					if l != "" {
						fmt.Fprintf(&b, "2> %s", l)
					}
				}
				fmt.Fprintf(&b, "exit %d\n\n", got.code)
			}
			golden(t, world.file, b.String())
		})
	}
}
