package sim

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/holdfast-ha/holdfast/integration/sim/scenario"
)

// vmPolicy says of a recorded file's VMs what is policy here: that some cannot move while they
// run and are restarted instead, and that some do not go back.
func vmPolicy(vms []scenario.VM) string {
	text := ""
	if slices.ContainsFunc(vms, func(v scenario.VM) bool { return v.LiveMigratable != nil && !*v.LiveMigratable }) {
		text = "migration {\n  when_not_live = \"restart\"\n}\n"
	}
	if slices.ContainsFunc(vms, func(v scenario.VM) bool { return v.Failback != nil && !*v.Failback }) {
		text += "class \"stays\" {\n  failback = \"never\"\n}\ndefaults {\n  class = \"stays\"\n}\n"
	}
	return text
}

// oneByOne has VMs start as a recorded manager starts those of a host: one after the other, in
// the order of their names. Its events are in that order.
const oneByOne = "restart {\n  max_per_host = 1\n}\n"

// rulePolicy puts a file's affinity rules into the cluster's policy.
func rulePolicy(rules []scenario.Rule) string {
	var b strings.Builder
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
