package inventory

import (
	"fmt"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/placement"
	"github.com/holdfast-ha/holdfast/fsm"
)

func TestWhatMovesWhileItRuns(t *testing.T) {
	for name, tt := range map[string]struct {
		top, devices string
		live, bound  bool
	}{
		"plain":            {"", "", true, false},
		"host-passthrough": {"<cpu mode='host-passthrough'/>", "", false, false},
		"a PCI device":     {"", "<hostdev mode='subsystem' type='pci'><source><address bus='1'/></source></hostdev>", false, true},
		"local NVRAM":      {"<os firmware='efi'><type>hvm</type></os>", "", true, false},
	} {
		v := find(t, build(t, Input{State: state(vm(t, "a", "kvm1", definition("a", tt.top, tt.devices))), Policy: policy(t, ""), Hosts: []Host{host("kvm1")}}), "a")
		if v.Live != tt.live || (len(v.Bound) > 0) != tt.bound {
			t.Errorf("%s: live is %v, want %v; bound is %q", name, v.Live, tt.live, v.Bound)
		}
	}
}

// BenchmarkBuild makes the picture of 64 hosts and 4,096 VMs whose definitions have been read.
func BenchmarkBuild(b *testing.B) {
	text := `datastore "nfs" { path = "/srv/vm" }` + "\n"
	for i := range 50 {
		text += fmt.Sprintf("rule \"r%d\" {\n  kind     = \"apart\"\n  strength = \"must\"\n  match    = { name = \"v%d?\" }\n}\n", i, i)
	}
	in := Input{State: state(), Policy: policy(b, text)}
	for i := range 64 {
		in.Hosts = append(in.Hosts, host(fmt.Sprintf("kvm%d", i)))
	}
	for i := range 4096 {
		name := fmt.Sprintf("v%d", i)
		v := vm(b, name, fmt.Sprintf("kvm%d", i%64), definition(name, "", `<disk type='file' device='disk'><source file='/srv/vm/a'/><target dev='vda'/></disk><interface type='bridge'><source bridge='br0'/></interface>`))
		in.State.VMs[v.UUID] = v
		h := &in.Hosts[i%64]
		h.Domains = append(h.Domains, Domain{UUID: v.UUID, Name: name, Running: true, VCPUs: 2, Memory: 8 * gib})
	}
	builder := &Builder{}
	builder.Build(in)
	b.ReportAllocs()
	for b.Loop() {
		builder.Build(in)
	}
}

// A host that was never heard keeps no VM away by what it has.
func TestAgilityOfAnUnknownHost(t *testing.T) {
	in := Input{State: state(vm(t, "a", "kvm1", definition("a", "", ""))), Policy: policy(t, `placement {
  cpu_overcommit = 2
}
`), Hosts: []Host{host("kvm1"), {Name: "kvm2", State: placement.Down}}}
	a, _ := build(t, in).Agility("a")
	if !a.Agile || len(a.Hosts) != 2 || len(a.Hosts[1].Reasons) > 0 {
		t.Errorf("agility: %+v", a)
	}
}

// A VM that is on its way takes room on both hosts, once on each, though both hypervisors list it.
func TestAVMOnItsWay(t *testing.T) {
	v := vm(t, "db", "a", "")
	v.Move = &fsm.Move{ID: 7, Host: "b", Incarnation: 1}
	in := Input{State: state(v), Policy: policy(t, ""), Hosts: []Host{host("a"), host("b"), host("c")}}
	for i := range 2 {
		in.Hosts[i].Domains = []Domain{{UUID: v.UUID, Name: "db", Running: true, VCPUs: 2, Memory: 8 * gib}}
	}
	inv := build(t, in)
	if got := find(t, inv, "db"); got.Host != "a" || got.Moving != "b" {
		t.Errorf("db is on %q, on its way to %q, want a and b", got.Host, got.Moving)
	}
	if len(inv.Cluster.VMs) != 1 {
		t.Errorf("there are %d VMs in the picture, want 1: %+v", len(inv.Cluster.VMs), inv.Cluster.VMs)
	}
}

// A VM that may not be moved right now says why; moves that came to nothing are waited out,
// longer each time.
func TestWhatHoldsUpMoves(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	failed := func(n int) (all []fsm.Failure) {
		for range n {
			all = append(all, fsm.Failure{Host: "b", At: at, Detail: "it did not converge"})
		}
		return all
	}
	for n, want := range map[int]time.Duration{1: 30 * time.Second, 2: time.Minute, 3: 2 * time.Minute, 8: time.Hour} {
		if got := MoveAgain(&fsm.VM{MoveFailures: failed(n)}).Sub(at); got != want {
			t.Errorf("after %d failures the next move waits for %v, want %v", n, got, want)
		}
	}
	if got := MoveAgain(&fsm.VM{}); !got.IsZero() {
		t.Errorf("without a failure it waits until %v", got)
	}
	for _, tt := range []struct {
		name string
		edit func(v *fsm.VM, in *Input)
		want string
	}{
		{"it runs", func(*fsm.VM, *Input) {}, ""},
		{"it is being started", func(v *fsm.VM, _ *Input) { v.Owner.Phase = fsm.PhaseOrdered }, "it is being started"},
		{"it is restarted", func(v *fsm.VM, _ *Input) { v.Restart = &fsm.Restart{ID: 9} }, "it is being restarted"},
		{"it shall stop", func(v *fsm.VM, _ *Input) { v.Intent = fsm.IntentStop }, "it is to stop"},
		{"its host cannot send it", func(_ *fsm.VM, in *Input) { in.Hosts[0].Frozen = "its hypervisor does not answer" }, "nothing can be moved from a: its hypervisor does not answer"},
		{"a move failed", func(v *fsm.VM, in *Input) { v.MoveFailures, in.Now = failed(1), at.Add(29*time.Second) }, "its last move came to nothing (it did not converge), and is tried again at 12:00:30 UTC"},
		{"a move failed a while ago", func(v *fsm.VM, in *Input) { v.MoveFailures, in.Now = failed(1), at.Add(30*time.Second) }, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := vm(t, "db", "a", "")
			in := Input{State: state(v), Policy: policy(t, ""), Hosts: []Host{host("a"), host("b")}, Now: at}
			tt.edit(v, &in)
			if got := find(t, build(t, in), "db").Held; got != tt.want {
				t.Errorf("held: %q, want %q", got, tt.want)
			}
		})
	}
}

// With balance a VM that waits for a start has no home: it goes where there is least load.
func TestBalanceOnStart(t *testing.T) {
	for mode, want := range map[string]string{"off": "a", "on_start": "", "automatic": ""} {
		v := vm(t, "db", "", "")
		v.Home = "a"
		in := Input{State: state(v), Policy: policy(t, "balance {\n  mode = \""+mode+"\"\n}\n"), Hosts: []Host{host("a"), host("b")}}
		if got := find(t, build(t, in), "db").Home; got != want {
			t.Errorf("with mode %q its home is %q, want %q", mode, got, want)
		}
	}
}
