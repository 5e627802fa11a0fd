package placement

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// unseenCluster draws a small cluster with devices and huge pages, under one of the rules that see nothing
// of them. With roomy all that can run out is what they do not see.
func unseenCluster(rng *rand.Rand, roomy bool) *Cluster {
	c := smallCluster(rng.IntN, 6, 9)
	for i := range c.Hosts {
		h := &c.Hosts[i]
		h.MHz, h.Failover = 1000*h.CPUs, rng.IntN(6) == 0
		h.Extra = map[string]int64{DevicePool + "gpu": int64(rng.IntN(4)), "huge pages": int64(rng.IntN(9))}
		if roomy {
			h.Memory, h.CPUs = 1000, 1000
		}
	}
	for i := range c.VMs {
		v := &c.VMs[i]
		h := c.Hosts[slices.IndexFunc(c.Hosts, func(h Host) bool { return h.Name == v.Host })]
		v.Extra = map[string]int64{}
		for what, most := range map[string]int{DevicePool + "gpu": 2, "huge pages": 5} {
			left := h.Extra[what]
			for _, o := range c.VMs[:i] {
				if o.Host == v.Host {
					left -= o.Extra[what]
				}
			}
			if n := int64(1 + rng.IntN(most)); rng.IntN(2) == 0 && left >= n {
				v.Extra[what] = n
			}
		}
	}
	c.Policy.Admission = Admission{Kind: []AdmissionKind{BySlots, ByPercentage, ByFailoverHosts}[rng.IntN(3)], Failures: 1 + rng.IntN(2), Domains: rng.IntN(4) == 0, Auto: rng.IntN(2) == 0, CPUPercent: 5, MemoryPercent: 5}
	if !roomy {
		return c
	}
	c.VMs = slices.DeleteFunc(c.VMs, func(v VM) bool { return len(v.Extra) == 0 })
	for i := range c.Rules {
		c.Rules[i].VMs = slices.DeleteFunc(c.Rules[i].VMs, func(name string) bool {
			return !slices.ContainsFunc(c.VMs, func(v VM) bool { return v.Name == name })
		})
	}
	c.Rules = slices.DeleteFunc(c.Rules, func(r Rule) bool { // mates that are apart already tell nothing that is as certain
		at := ""
		return r.Kind == Together && slices.ContainsFunc(c.VMs, func(v VM) bool {
			torn := slices.Contains(r.VMs, v.Name) && v.Status == Running && at != "" && at != v.Host
			if slices.Contains(r.VMs, v.Name) && v.Status == Running {
				at = v.Host
			}
			return torn
		})
	})
	return c
}

// enough is what the sums of a verdict say by themselves.
func enough(v Verdict, a Admission) bool {
	switch a.Kind {
	case BySlots:
		return v.Slots.Capacity >= a.Failures
	case ByPercentage:
		return v.Percentages.Enough()
	}
	ready := 0
	for _, s := range v.Failover {
		if s == FailoverReady {
			ready++
		}
	}
	return ready >= a.Failures
}

// By sums too, no two VMs count on one device: where nothing else is short the answer is that of trying
// everything, and nothing that can be placed is refused for it.
func TestWhatSumsDoNotSeeAgainstTryingEverything(t *testing.T) {
	clusters := 3_000
	if testing.Short() {
		clusters = 1_000
	}
	counts := map[string]int{}
	for seed := range clusters {
		rng := rand.New(rand.NewPCG(uint64(seed), *bruteStream))
		roomy := seed%2 == 0
		c := unseenCluster(rng, roomy)
		a := c.Policy.Admission
		f := Failures{N: a.Failures, Domains: a.Domains}
		can := newBrute(c, f).atOnce(f)
		v := Check(c, Change{})
		sums := enough(v, a)
		if v.unseen && can || roomy && (v.Answer == Yes) != (sums && can) {
			t.Fatalf("seed %d: by %s, %s: %v (%s); by its sums alone %v, in truth %v\n%s", seed, a.Kind, f, v.Answer, v.Why, sums, can, describe(c))
		}
		if v.unseen {
			counts["refused"]++
		}
		if v.Answer == Yes && can {
			counts["admitted"]++
		}
		if len(c.VMs) == 0 || !roomy {
			continue
		}
		// The same of one VM more.
		one := c.VMs[rng.IntN(len(c.VMs))]
		before := without(c, one.Name)
		x := Check(before, Change{VM: &one, Host: one.Host})
		if !x.Refused && one.Class == Protected && one.Status == Running && !can || x.Refused && x.unseen && can {
			t.Fatalf("seed %d: by %s, %s: one more, %s on %s: refused %v (%s); in truth %v\n%s", seed, a.Kind, f, one.Name, one.Host, x.Refused, x.Why, can, describe(c))
		}
		if x.Refused && x.unseen {
			counts["one more refused"]++
		}
	}
	for _, k := range []string{"refused", "admitted", "one more refused"} {
		if counts[k] < clusters/100 {
			t.Errorf("only %d of %d clusters were of the sort %q: the comparison is lopsided", counts[k], clusters, k)
		}
	}
	t.Logf("%d clusters: %v", clusters, counts)
}

// Two VMs of one host do not count on the one device that is free, by whatever rule; what has nothing to do
// with devices is not refused for it.
func TestTwoVMsDoNotCountOnOneDevice(t *testing.T) {
	const gpu = DevicePool + "gpu"
	two := func(free int64) *Cluster {
		c := &Cluster{Hosts: hosts(32, 32, 32), VMs: on("h1")}
		c.Hosts[0].Extra, c.Hosts[1].Extra = map[string]int64{gpu: 2}, map[string]int64{gpu: free}
		c.VMs[0].Memory, c.VMs[0].Extra = gibibyte, map[string]int64{gpu: 1}
		return c
	}
	for _, kind := range []AdmissionKind{BySlots, ByPercentage, ByFailoverHosts, ByPlacement} {
		t.Run(string(kind), func(t *testing.T) {
			for _, tt := range []struct {
				name    string
				free    int64
				edit    func(c *Cluster, ch *Change)
				refused bool
				why     string
			}{
				{"a device for each", 2, func(*Cluster, *Change) {}, false, ""},
				{"one for both", 1, func(*Cluster, *Change) {}, true, "needs 1 of " + gpu},
				{"the same as best effort", 1, func(_ *Cluster, ch *Change) { ch.VM.Class = BestEffort }, false, ""},
				{"the other is best effort", 1, func(c *Cluster, _ *Change) { c.VMs[0].Class = BestEffort }, false, ""},
				{"they run on two hosts", 1, func(c *Cluster, _ *Change) {
					c.Hosts[2].Extra = map[string]int64{gpu: 1}
					c.VMs[0].Host = "h3"
				}, false, ""},
				{"one takes no device", 1, func(_ *Cluster, ch *Change) { ch.VM.Extra = nil }, false, ""},
				{"one takes none, and two count on one already", 1, func(c *Cluster, ch *Change) {
					more := *ch.VM
					more.Name, more.Host = "more", "h1"
					c.VMs = append(c.VMs, more)
					ch.VM.Extra = nil
				}, false, "that was so before"},
				{"two that do already, and a third", 1, func(c *Cluster, ch *Change) {
					more := *ch.VM
					more.Name, more.Host = "more", "h1"
					c.VMs = append(c.VMs, more)
					c.Hosts[0].Extra[gpu] = 3
				}, kind != ByPlacement, ""},
				{"nothing is kept", 1, func(c *Cluster, _ *Change) { c.Policy.Admission.Failures = 0 }, false, ""},
				{"maintenance of the host that has a device for each", 2, func(c *Cluster, ch *Change) {
					c.Hosts[2].Extra = map[string]int64{gpu: 1}
					c.VMs = append(c.VMs, *ch.VM)
					c.VMs[1].Host = "h1"
					*ch = Change{Maintenance: "h2"}
				}, true, "with h1 lost new would stay down"},
			} {
				t.Run(tt.name, func(t *testing.T) {
					c := two(tt.free)
					c.Policy.Admission = Admission{Kind: kind, Failures: 1, Auto: true}
					if kind == ByFailoverHosts {
						c.Hosts = append(c.Hosts, Host{Name: "spare", Memory: 32 * gibibyte, Failover: true})
					}
					ch := Change{VM: &VM{Name: "new", Memory: gibibyte, Extra: map[string]int64{gpu: 1}}, Host: "h1"}
					tt.edit(c, &ch)
					if v := Check(c, ch); v.Refused != tt.refused || !strings.Contains(v.Why, tt.why) {
						t.Errorf("refused %v (%s), want %v, with %q", v.Refused, v.Why, tt.refused, tt.why)
					}
				})
			}
		})
	}
}
