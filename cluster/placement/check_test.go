package placement

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// three is three equal hosts of 100 GiB with two VMs of 20 GiB each, and a policy.
func three(a Admission) *Cluster {
	c := &Cluster{Policy: Policy{Admission: a}}
	for _, h := range []string{"kvm1", "kvm2", "kvm3"} {
		c.Hosts = append(c.Hosts, Host{Name: h, Memory: 100 * gibibyte, MHz: 10_000})
		for _, v := range []string{"a", "b"} {
			c.VMs = append(c.VMs, VM{Name: v + "-" + h, Host: h, Memory: 20 * gibibyte})
		}
	}
	return c
}

func TestCheck(t *testing.T) {
	one := Admission{Kind: ByPlacement, Failures: 1}
	vm := func(gib int64) *VM { return &VM{Name: "new", Memory: gib * gibibyte} }
	full := three(one)
	for i := range full.VMs {
		full.VMs[i].Memory = 45 * gibibyte
	}
	fullWarn := *full
	fullWarn.Policy.Admission.Mode = Warn
	off := three(Admission{Kind: ByPlacement, Failures: 1, Mode: Off})
	bound := vm(1)
	bound.Bound = []string{"its disk vda is on this host alone"}
	kept := three(Admission{Kind: ByFailoverHosts, Failures: 1})
	kept.Hosts = append(kept.Hosts, Host{Name: "spare", Memory: 100 * gibibyte, Failover: true})
	light := three(one)
	for i := range light.VMs {
		light.VMs[i].Memory = 10 * gibibyte
	}
	tight := three(one)  // 60 free on each host
	second := three(one) // kvm3 is out of service and empty already
	second.Hosts[2].State, second.VMs = Maintenance, second.VMs[:4]
	slots := three(Admission{Kind: BySlots, Failures: 1})
	percent := three(Admission{Kind: ByPercentage, MemoryPercent: 50})

	tests := []struct {
		name    string
		c       *Cluster
		ch      Change
		refused bool
		answer  Answer
		why     []string // parts of the reason
		ways    []string // parts of ways out, in this order
	}{
		{"a host out of service, with room left", light, Change{Maintenance: "kvm2"}, false, Yes, []string{"any 1 host may fail"}, nil},
		{"a second host out of service, so that one alone is left", second, Change{Maintenance: "kvm2"}, true, No, []string{"no plan could restart a-kvm1 any more"}, []string{"put kvm3 back into service first"}},
		{"a small VM", tight, Change{VM: vm(10)}, false, Yes, []string{"any 1 host may fail"}, nil},
		{"the largest that can be restarted", tight, Change{VM: vm(60)}, false, Yes, nil, nil},
		{
			"one that runs, but not after its host is lost", three(one), Change{VM: vm(60), Host: "kvm1"}, false, Yes, nil, nil,
		},
		{
			"too large for what failures leave", tight, Change{VM: vm(61)}, true, No,
			[]string{"60 GiB", "largest gap"}, []string{"60 GiB of memory, or less"},
		},
		{
			"resized where it runs", tight, Change{VM: &VM{Name: "a-kvm1", Memory: 70 * gibibyte}, Host: "kvm1"}, true, No,
			[]string{"with kvm1 lost", "would stay down"}, []string{"best effort", "set mode = \"warn\" in admission_control", "60 GiB of memory, or less"},
		},
		{"in a cluster that bears nothing already", full, Change{VM: vm(8)}, false, No, []string{"that was so before"}, nil},
		{"and one that does not even fit", full, Change{VM: vm(11)}, true, No, []string{"no host can take it"}, []string{"stop", "10 GiB of memory, or less"}},
		{"warned only", &fullWarn, Change{VM: vm(8)}, false, No, []string{"may not fail"}, nil},
		{"switched off", off, Change{VM: vm(60)}, false, Yes, []string{"off"}, nil},
		{"switched off, and larger than any host", off, Change{VM: vm(200)}, true, No, []string{"no host can take it"}, nil},
		{
			"protected though it cannot move", tight, Change{VM: bound, Host: "kvm1"}, true, No,
			[]string{"cannot be protected", "its disk vda"}, []string{"best effort"},
		},
		{
			"protected while it is stopped, the same", tight, Change{VM: &VM{Name: "new", Status: Stopped, Host: "kvm1", Bound: []string{"a disk", "a CD"}}}, true, No,
			[]string{"cannot leave kvm1: a disk; a CD"}, []string{"best effort"},
		},
		{"on a host that is kept for failover", kept, Change{VM: vm(1), Host: "spare"}, true, No, []string{"only restarts"}, []string{"start new on kvm1"}},
		{"beside hosts that are kept for failover", kept, Change{VM: vm(1)}, false, Yes, []string{"1 of 1"}, nil},
		{"maintenance that leaves enough", light, Change{Maintenance: "kvm1"}, false, Yes, nil, nil},
		{"maintenance that does not", tight, Change{Maintenance: "kvm1"}, true, No, []string{"would stay down"}, []string{"add a host"}},
		{"maintenance where nothing is borne already", full, Change{Maintenance: "kvm1"}, false, No, []string{"that was so before"}, nil},
		{"slots", slots, Change{VM: vm(20)}, false, Yes, []string{"15 slots", "7 used"}, nil},
		{
			"one VM that makes the slots too large", slots, Change{VM: vm(50)}, true, No,
			[]string{"6 slots", "new sets the size"}, []string{"cap the slots at 20480 MiB", "of memory, or less"},
		},
		{"a percentage", percent, Change{VM: vm(20)}, false, Yes, nil, nil},
		{"more than the percentage leaves", percent, Change{VM: vm(40)}, true, No, []string{"160 GiB are required"}, []string{"30 GiB of memory, or less"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.c.Validate(); err != nil {
				t.Fatal(err)
			}
			v := Check(tt.c, tt.ch)
			if v.Refused != tt.refused || v.Answer != tt.answer {
				t.Errorf("refused %v, %v; want %v, %v: %s", v.Refused, v.Answer, tt.refused, tt.answer, v.Why)
			}
			for _, part := range tt.why {
				if !strings.Contains(v.Why, part) {
					t.Errorf("the reason does not say %q: %s", part, v.Why)
				}
			}
			at := 0
			for _, part := range tt.ways {
				i := slices.IndexFunc(v.WaysOut[at:], func(w string) bool { return strings.Contains(w, part) })
				if i < 0 {
					t.Fatalf("no way out says %q: %q", part, v.WaysOut)
				}
				at += i + 1
			}
			if v.Refused && v.Culprit == "" {
				t.Error("a refusal names nobody")
			}
		})
	}
}

// What is admitted can be restarted, and what is refused cannot, wherever it would
// run: by trying everything.
func TestCheckAgainstTryingEverything(t *testing.T) {
	clusters := 3_000
	if testing.Short() {
		clusters = 300
	}
	admitted, refused := 0, 0
	for seed := range clusters {
		rng := rand.New(rand.NewPCG(uint64(seed), 5))
		c := smallCluster(rng.IntN, 5, 6)
		f := Failures{N: 1 + rng.IntN(2)}
		if t := Tolerate(c, f); t.Answer != Yes || len(t.Uncovered) > 0 {
			continue // a cluster that keeps no promise is another test's
		}
		c.Policy.Admission = Admission{Kind: ByPlacement, Failures: f.N}
		vm := VM{Name: "new", Memory: int64(1 + rng.IntN(12)), VCPUs: 1, Datastores: []string{"a"}}
		v := Check(c, Change{VM: &vm})
		possible := false
		for _, h := range c.Hosts {
			after := Change{VM: &vm}.apply(c, h.Name)
			b := newBrute(after, f)
			if i := b.vm("new"); h.State == Up && b.fits(i, nil) && !b.skip["new"] && b.atOnce(f) {
				possible = true
			}
		}
		if possible == v.Refused {
			t.Fatalf("seed %d: refused %v, but possible %v: %s\n%s", seed, v.Refused, possible, v.Why, describe(c))
		}
		if v.Refused {
			refused++
		} else {
			admitted++
		}
	}
	if admitted < clusters/50 || refused < clusters/50 {
		t.Errorf("%d admitted, %d refused of %d: the comparison is lopsided", admitted, refused, clusters)
	}
}

// Without the work to decide, the answer is that nobody knows, and it is not a yes.
func TestCheckOutOfWork(t *testing.T) {
	c := largeCluster(70, 64, 4096, 0.88)
	c.Policy.Admission = Admission{Kind: ByPlacement, Failures: 3}
	c.Policy.Work = 1000
	vm := VM{Name: "new", Memory: 1 << 30, Datastores: []string{"nfs"}}
	v := Check(c, Change{VM: &vm})
	if v.Answer != Unknown || !v.Refused || !strings.Contains(v.Why, "bound on the work") {
		t.Errorf("%v, refused %v: %s", v.Answer, v.Refused, v.Why)
	}
}

func TestLargestVM(t *testing.T) {
	c := three(Admission{Kind: ByPlacement, Failures: 1})
	if got := LargestVM(c, VM{Name: "new"}); got != 60*gibibyte {
		t.Errorf("%d MiB, want 61440", got>>20)
	}
	c.Policy.Admission.Failures = 3 // one is borne, and still is with that VM
	if got := LargestVM(c, VM{Name: "new"}); got != 60*gibibyte {
		t.Errorf("%d MiB, want 61440 where nothing gets worse", got>>20)
	}
	if got := LargestVM(c, VM{Name: "new", Datastores: []string{"san"}}); got != 0 {
		t.Errorf("%d MiB, though no host has its datastore", got>>20)
	}
}

// VMs that no plan can restart are named whatever is reckoned, and in every mode.
func TestUncoveredByEveryRule(t *testing.T) {
	for _, a := range []Admission{
		{Kind: ByPlacement, Failures: 1}, {Kind: ByPlacement, Failures: 0}, {Kind: ByPlacement, Failures: 1, Mode: Off}, {Kind: BySlots, Failures: 1},
		{Kind: ByPercentage, MemoryPercent: 10, Mode: Warn}, {Kind: ByFailoverHosts, Failures: 1, Mode: Warn},
	} {
		c := three(a)
		c.VMs[3].Bound = []string{"its disk is on this host alone"} // b-kvm2
		c.VMs[0].Bound, c.VMs[0].Class = c.VMs[3].Bound, Unprotected
		c.VMs = append(c.VMs, VM{Name: "waits", Status: Waiting, Memory: 500 * gibibyte})
		got := Check(c, Change{}).Uncovered
		if len(got) != 2 || got[0].VM != "b-kvm2" || !strings.Contains(got[0].Why, "its disk is on this host alone") || got[1].VM != "waits" {
			t.Errorf("by %s, mode %v: %+v, want b-kvm2 and waits", a.Kind, a.Mode, got)
		}
		if got := Check(three(a), Change{}).Uncovered; len(got) != 0 {
			t.Errorf("by %s, mode %v: %+v where every VM can leave", a.Kind, a.Mode, got)
		}
	}
}

// A host of which nobody knows how fast its processors are is not one without any.
func TestUnknownSpeed(t *testing.T) {
	for _, a := range []Admission{
		{Kind: BySlots, Failures: 1, MinMHz: 32},
		{Kind: ByPercentage, MinMHz: 32, CPUPercent: 20, MemoryPercent: 20},
		{Kind: ByPercentage, Auto: true, Failures: 1, MinMHz: 32},
	} {
		for _, tt := range []struct {
			name   string
			mhz    []int
			memory int64 // GiB, of each of three VMs on hosts with 4
			want   Answer
			why    string
		}{
			{"none is known", []int{0, 0, 0}, 2, Yes, "by memory alone, as the MHz of h1, h2, h3 are not known"},
			{"one is not known", []int{8000, 0, 8000}, 2, Yes, "as the MHz of h2 are not known"},
			{"too little memory", []int{0, 0, 0}, 4, No, "by memory alone"},
			{"all are known, and too slow", []int{40, 40, 40}, 2, No, ""},
		} {
			t.Run(fmt.Sprint(a.Kind, a.Auto, " ", tt.name), func(t *testing.T) {
				c := &Cluster{Hosts: hosts(4, 4, 4), VMs: on("h1", "h2", "h3"), Policy: Policy{Admission: a}}
				for i := range c.Hosts {
					c.Hosts[i].MHz, c.VMs[i].Memory, c.VMs[i].ReservedMHz = tt.mhz[i], tt.memory*gibibyte, 33
				}
				got := Check(c, Change{})
				if got.Answer != tt.want || !strings.Contains(got.Why, tt.why) || tt.why == "" && strings.Contains(got.Why, "alone") {
					t.Errorf("%v (%s), want %v and %q", got.Answer, got.Why, tt.want, tt.why)
				}
			})
		}
	}
}

// What is said to help can be done: no policy tolerates less than one failure, and where one
// only warns nothing has to be let through.
func TestFewerFailuresCanBeAskedFor(t *testing.T) {
	for _, tt := range []struct {
		name     string
		failures int
		mode     Mode
		memory   int64 // GiB, of one more VM on three hosts with 4
		want     string
	}{
		{"one less", 2, Enforce, 2, "tolerate 1 failure instead of 2"},
		{"none", 1, Enforce, 4, `set mode = "warn" in admission_control`},
		{"none, and it only warns", 1, Warn, 4, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &Cluster{Hosts: hosts(4, 4, 4), VMs: on("h1", "h2"), Policy: Policy{Admission: Admission{Failures: tt.failures, Mode: tt.mode}}}
			for i := range c.VMs {
				c.VMs[i].Memory = 2 * gibibyte
			}
			v := Check(c, Change{VM: &VM{Name: "new", Memory: tt.memory * gibibyte}})
			i := slices.IndexFunc(v.WaysOut, func(s string) bool { return strings.HasPrefix(s, "tolerate") || strings.HasPrefix(s, "set mode") })
			if v.Answer != No || (i < 0) != (tt.want == "") || i >= 0 && !strings.HasPrefix(v.WaysOut[i], tt.want) {
				t.Errorf("%v (%s), ways out %q; want %q among them", v.Answer, v.Why, v.WaysOut, tt.want)
			}
		})
	}
}
