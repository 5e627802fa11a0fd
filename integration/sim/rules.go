package sim

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/holdfast-ha/holdfast/integration/sim/scenario"
)

// rulePolicy puts a file's affinity rules into the cluster's policy. A recorded manager
// starts the VMs of a host one after the other, in the order of their names, and its events
// are in that order.
func rulePolicy(rules []scenario.Rule, inOrder bool) string {
	var b strings.Builder
	if inOrder {
		b.WriteString("restart {\n  max_per_host = 1\n}\n")
	}
	kinds := map[string]string{"host_affinity": "on_hosts", "keep_together": "together", "keep_apart": "apart"}
	for i, r := range rules {
		strength := "should"
		if r.Strict {
			strength = "must"
		}
		vms := make([]string, 0, len(r.VMs))
		for _, vm := range r.VMs {
			vms = append(vms, fmt.Sprintf("%q", vm))
		}
		fmt.Fprintf(&b, "rule \"r%d\" {\n  kind = %q\n  strength = %q\n  vms = [%s]\n", i, kinds[r.Type], strength, strings.Join(vms, ", "))
		if len(r.Hosts) > 0 {
			b.WriteString("  hosts = {\n")
			for _, h := range slices.Sorted(maps.Keys(r.Hosts)) {
				fmt.Fprintf(&b, "    %q = %d\n", h, r.Hosts[h])
			}
			b.WriteString("  }\n")
		}
		b.WriteString("}\n")
	}
	return b.String()
}
