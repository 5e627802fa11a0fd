package recovery

import (
	"fmt"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/holdfast-ha/holdfast/cluster/inventory"
	"github.com/holdfast-ha/holdfast/cluster/placement"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
)

// drawCluster is up to five hosts on which up to fourteen VMs run, with classes, groups
// and rules, some of them standby.
func drawCluster(t *rapid.T) Input {
	p := config.DefaultPolicy("test")
	p.Classes = map[string]config.Class{"first": {Priority: config.PriorityHighest}, "spare": {Priority: config.PriorityHigh, Admission: config.AdmitBestEffort}}
	p.Hosts, p.VMs, p.Rules = map[string]config.HostRule{}, map[string]config.VMRule{}, map[string]config.Rule{}
	in := Input{Now: now, State: &fsm.State{VMs: map[string]*fsm.VM{}}, Policy: p}
	names := []string{"a", "b", "c", "d", "e"}[:rapid.IntRange(2, 5).Draw(t, "hosts")]
	for _, name := range names {
		h := host(name)
		h.Memory = uint64(rapid.IntRange(2, 8).Draw(t, "memory")) * gib
		in.Hosts = append(in.Hosts, h)
		p.Hosts[name] = config.HostRule{Standby: rapid.IntRange(0, 5).Draw(t, "standby") == 5, FailureDomain: rapid.SampledFrom([]string{"", "left", "right"}).Draw(t, "domain")}
	}
	var vms []string
	for n := range rapid.IntRange(1, 14).Draw(t, "VMs") {
		in.vm(n+1, func(vm *fsm.VM) {
			vm.Memory = uint64(rapid.IntRange(1, 5).Draw(t, "VM's memory")) * gib / 2
			vm.Owner = &fsm.Placement{Host: rapid.SampledFrom(names).Draw(t, "owner"), Phase: fsm.PhaseRunning}
			vm.Home = vm.Owner.Host
			vms = append(vms, vm.Name)
			if c := rapid.SampledFrom([]string{"", "first", "spare"}).Draw(t, "class"); c != "" {
				p.VMs[vm.Name] = config.VMRule{Protect: true, Class: c, Order: rapid.IntRange(0, 2).Draw(t, "order")}
			}
		})
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "rules") {
		r := config.Rule{Kind: rapid.SampledFrom([]string{config.RuleApart, config.RuleTogether, config.RuleOnHosts, config.RuleNotOnHosts}).Draw(t, "kind"), Weight: 1,
			Strength: rapid.SampledFrom([]string{config.RuleMust, config.RuleShould}).Draw(t, "strength"), VMs: rapid.SliceOfNDistinct(rapid.SampledFrom(vms), 1, min(3, len(vms)), rapid.ID).Draw(t, "rule's VMs"), Domain: config.DomainHost}
		switch r.Kind {
		case config.RuleApart:
			r.Domain = rapid.SampledFrom([]string{config.DomainHost, config.DomainFailure}).Draw(t, "apart by")
		case config.RuleOnHosts, config.RuleNotOnHosts:
			r.Hosts = map[string]int64{rapid.SampledFrom(names).Draw(t, "rule's host"): 1}
		}
		p.Rules[fmt.Sprintf("r%d", i)] = r
	}
	if len(vms) > 3 {
		p.Groups = []config.Group{{Name: "front", VMs: vms[:2], Spread: rapid.Bool().Draw(t, "spread"), OnTimeout: config.TimeoutContinue}}
	}
	return in
}

// What the failover plan says of a host is what happens once it is dead.
func TestADeadHostsVMsGoWhereTheFailoverPlanSays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawCluster(t)
		before := inventory.Input{State: in.State, Policy: in.Policy}
		for i := range in.Hosts {
			before.Hosts = append(before.Hosts, in.Hosts[i].Host)
		}
		var b inventory.Builder
		for i, f := range placement.EveryHost(b.Build(before).Cluster) {
			var want, got []string
			for _, d := range f.Decisions {
				want = append(want, fmt.Sprintf("%s to %q", d.VM, d.To))
			}
			after := in
			after.Hosts = append([]Host(nil), in.Hosts...)
			after.State = &fsm.State{VMs: map[string]*fsm.VM{}}
			for uuid, vm := range in.State.VMs {
				is := *vm
				if is.Owner.Host == f.Host {
					is.Owner = nil
				}
				after.State.VMs[uuid] = &is
			}
			if after.Hosts[i].Name != f.Host {
				t.Fatalf("plan %d is for %s, want %s", i, f.Host, after.Hosts[i].Name)
			}
			after.Hosts[i].State, after.Hosts[i].Why = placement.Down, "it is dead"
			for _, s := range Plan(after) {
				got = append(got, fmt.Sprintf("%s to %q", s.VM.Name, s.Host))
			}
			if d := gocmp.Diff(want, got); d != "" {
				t.Fatalf("after the loss of %s the VMs go elsewhere than planned (-planned +done):\n%s", f.Host, d)
			}
		}
	})
}
