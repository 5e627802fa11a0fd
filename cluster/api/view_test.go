package api_test

import (
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/api/apitest"
	"github.com/holdfast-ha/holdfast/cluster/lease"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm"
)

// world is what the backend's host would show.
func world(b *apitest.Backend) api.World {
	t, _ := lease.Profile("fast")
	w := api.World{Self: b.Me, State: b.St, Members: b.Servers, Timing: t, Now: apitest.Now}
	if b.Me.IsMaster {
		w.Observed = b.Observed
	}
	return w
}

func vmNamed(b *apitest.Backend, name string) *fsm.VM {
	for _, vm := range b.St.VMs {
		if vm.Name == name {
			return vm
		}
	}
	panic("no VM " + name)
}

// observe changes what the master sees of a host.
func observe(b *apitest.Backend, host string, f func(o *api.HostObservation)) {
	o := b.Observed[host]
	f(&o)
	b.Observed[host] = o
}

func TestStateOfAVM(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(b *apitest.Backend, db1 *fsm.VM) // db1 runs on kvm1
		state  string
		host   string
	}{
		{"runs", func(*apitest.Backend, *fsm.VM) {}, api.VMRunning, "kvm1"},
		{"ordered", func(_ *apitest.Backend, vm *fsm.VM) { vm.Owner.Phase = fsm.PhaseOrdered }, api.VMStarting, "kvm1"},
		{"nobody's", func(_ *apitest.Backend, vm *fsm.VM) { vm.Owner = nil }, api.VMWaiting, ""},
		{"nobody's and shall not run", func(_ *apitest.Backend, vm *fsm.VM) { vm.Owner, vm.Intent = nil, fsm.IntentStop }, api.VMStopped, ""},
		{"seen", func(_ *apitest.Backend, vm *fsm.VM) { vm.Owner, vm.Sighting = nil, &fsm.Sighting{Host: "kvm3"} }, api.VMSeen, "kvm3"},
		{"host suspected", func(b *apitest.Backend, _ *fsm.VM) {
			observe(b, "kvm1", func(o *api.HostObservation) { o.Verdict = "suspect" })
		}, api.VMUnknown, "kvm1"},
		{"host dead", func(b *apitest.Backend, _ *fsm.VM) {
			b.St.Hosts["kvm1"].Status = fsm.HostDead
			observe(b, "kvm1", func(o *api.HostObservation) { o.Verdict = "" })
		}, api.VMUnknown, "kvm1"},
		{"no master", func(b *apitest.Backend, _ *fsm.VM) { b.Me.IsMaster, b.Me.Master = false, "" }, api.VMUnknown, "kvm1"},
		{"paused", func(b *apitest.Backend, vm *fsm.VM) {
			observe(b, "kvm1", func(o *api.HostObservation) {
				o.Domains[0].State, o.Domains[0].Reason = vmm.Paused, vmm.ReasonIOError
			})
		}, api.VMPaused, "kvm1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := apitest.Healthy()
			tc.change(b, vmNamed(b, "db1"))
			v, err := world(b).VM("db1")
			if err != nil {
				t.Fatal(err)
			}
			if v.State != tc.state || v.Host != tc.host {
				t.Errorf("shown as %s on %q, want %s on %q", v.State, v.Host, tc.state, tc.host)
			}
		})
	}
}

func TestProblems(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(b *apitest.Backend)
		want   []string // how each problem begins, worst first
	}{
		{"none", func(*apitest.Backend) {}, nil},
		{"suspected", func(b *apitest.Backend) {
			observe(b, "kvm1", func(o *api.HostObservation) { o.Verdict, o.DeadIn = "suspect", 3200*time.Millisecond })
		}, []string{"critical host kvm1 is suspect: may be declared dead in 3.2s"}},
		{"one network", func(b *apitest.Backend) {
			observe(b, "kvm1", func(o *api.HostObservation) { o.Networks["mgmt"] = time.Minute })
		}, []string{"warning host kvm1 is not heard over mgmt"}},
		{"network never heard", func(b *apitest.Backend) {
			observe(b, "kvm1", func(o *api.HostObservation) { o.Networks["mgmt"] = -1 })
		}, []string{"warning host kvm1 is not heard over mgmt"}},
		{"one network, without volumes", func(b *apitest.Backend) {
			b.St.Policy.Files = map[string][]byte{"cluster.hcl": []byte("cluster \"basement\" {\n  schema = 1\n}\nwarnings {\n  few_heartbeat_volumes = false\n}\n")}
			b.St.Volumes = fsm.VolumeSet{}
			observe(b, "kvm1", func(o *api.HostObservation) { o.Networks["mgmt"] = time.Minute })
		}, []string{"warning host kvm1 is not heard over mgmt: one more network lost and its VMs move"}},
		{"no volumes", func(b *apitest.Backend) { b.St.Policy.Files, b.St.Volumes = nil, fsm.VolumeSet{} },
			[]string{"warning the policy names no heartbeat volume"}},
		{"one volume", func(b *apitest.Backend) {
			b.St.Policy.Files = map[string][]byte{"cluster.hcl": []byte("cluster \"basement\" {\n  schema = 1\n}\nheartbeat_volume \"san\" {\n  path = \"/dev/disk/by-id/wwn-0x6001405f00d-part1\"\n}\n")}
			b.St.Volumes.Volumes = b.St.Volumes.Volumes[:1]
		}, []string{"warning the policy names one heartbeat volume"}},
		{"not in use", func(b *apitest.Backend) {
			b.AddVolume("spare", "/spare", "")
			for _, host := range []string{"kvm1", "kvm2", "kvm3"} {
				b.Volume(host, "spare", func(v *api.VolumeReport) { v.Error = "no such file" })
			}
		}, []string{"warning heartbeat volume spare is not in use: the master, kvm2, cannot use it: no such file"}},
		{"a volume fails on one host", func(b *apitest.Backend) {
			b.Volume("kvm1", "nfs", func(v *api.VolumeReport) { v.State, v.Error = "failing", "input/output error" })
		}, []string{"warning heartbeat volume nfs fails on kvm1: input/output error", "warning fewer heartbeat volumes than the 2 of 2 that a proof needs work on kvm1"}},
		{"a volume hangs everywhere", func(b *apitest.Backend) {
			for _, host := range []string{"kvm1", "kvm2", "kvm3"} {
				b.Volume(host, "nfs", func(v *api.VolumeReport) { v.State = "degraded" })
			}
		}, []string{"warning heartbeat volume nfs fails on kvm1, kvm2, kvm3: an I/O does not end", "warning fewer heartbeat volumes than the 2 of 2 that a proof needs work on kvm1, kvm2, kvm3"}},
		{"one of three fails", func(b *apitest.Backend) {
			b.AddVolume("third", "/third", spareID)
			b.St.Volumes.Volumes = append(b.St.Volumes.Volumes, fsm.Volume{Name: "third", Path: "/third", ID: spareID})
			for _, host := range []string{"kvm1", "kvm2", "kvm3"} {
				b.Volume(host, "third", func(v *api.VolumeReport) { v.InUse, v.State, v.Error = true, "failing", "gone" })
			}
		}, []string{"warning heartbeat volume third fails on kvm1, kvm2, kvm3: gone"}},
		{"the master sees fewer", func(b *apitest.Backend) {
			b.Volume("kvm2", "nfs", func(v *api.VolumeReport) { v.State, v.Error = "failing", "input/output error" })
		}, []string{"warning heartbeat volume nfs fails on kvm2", "warning the master, kvm2, reaches 1 of 2 heartbeat volumes, and kvm1 2", "warning fewer heartbeat volumes"}},
		{"all volumes fail", func(b *apitest.Backend) {
			for _, host := range []string{"kvm1", "kvm2", "kvm3"} {
				for _, name := range []string{"san", "nfs"} {
					b.Volume(host, name, func(v *api.VolumeReport) { v.State, v.Error = "failing", "gone" })
				}
			}
		}, []string{"critical no host reaches the 1 of 2 heartbeat volumes that a takeover needs: a silent host cannot be declared dead by the clock, but only by a fence device or haadm fence confirm; take", "warning heartbeat volume san fails on", "warning heartbeat volume nfs fails on", "warning fewer"}},
		{"opened just now", func(b *apitest.Backend) {
			b.Volume("kvm1", "nfs", func(v *api.VolumeReport) { v.State = "opening" })
		}, nil},
		{"by storage alone", func(b *apitest.Backend) {
			observe(b, "kvm1", func(o *api.HostObservation) {
				o.Verdict, o.Networks = "isolated", map[string]time.Duration{"mgmt": time.Minute, "storage": time.Minute}
			})
		}, []string{"warning host kvm1 is isolated: no network brings its heartbeats, and it lives by the heartbeat volumes alone"}},
		{"no claim stands", func(b *apitest.Backend) {
			observe(b, "kvm1", func(o *api.HostObservation) {
				o.Verdict, o.Suspected, o.Networks, o.Stored = "suspect", true, map[string]time.Duration{"mgmt": time.Minute}, nil
			})
		}, []string{"critical host kvm1 is suspect, and no wait for its death can begin"}},
		{"single network", func(b *apitest.Backend) { b.St.Hosts["kvm3"].Addresses = b.St.Hosts["kvm3"].Addresses[:1] },
			[]string{"warning kvm3 has a single HA network"}},
		{"single network, muted", func(b *apitest.Backend) {
			b.St.Policy.Files = map[string][]byte{"cluster.hcl": append([]byte("warnings {\n  single_network = false\n}\n"), b.St.Policy.Files["cluster.hcl"]...)}
			b.St.Hosts["kvm3"].Addresses = b.St.Hosts["kvm3"].Addresses[:1]
		}, nil},
		{"late is no problem", func(b *apitest.Backend) {
			observe(b, "kvm1", func(o *api.HostObservation) { o.Networks["mgmt"] = time.Second })
		}, nil},
		{"hypervisor", func(b *apitest.Backend) {
			observe(b, "kvm3", func(o *api.HostObservation) { o.HypervisorError = "libvirtd is not there" })
		}, []string{"critical host kvm3 cannot ask its hypervisor: libvirtd is not there"}},
		{"own disk", func(b *apitest.Backend) {
			observe(b, "kvm3", func(o *api.HostObservation) {
				o.DiskError, o.DiskRefuses = "no space left on device", 35*time.Second
			})
		}, []string{"critical host kvm3 has been unable to write to its own disk for 35s: no space left on device; it keeps its lease"}},
		{"joining", func(b *apitest.Backend) {
			b.St.Hosts["kvm3"].Status = fsm.HostJoining
			observe(b, "kvm3", func(o *api.HostObservation) { o.Verdict = "joining" })
		}, []string{"warning host kvm3 has joined"}},
		{"waiting", func(b *apitest.Backend) {
			vm := vmNamed(b, "db1")
			vm.Owner, vm.Waiting = nil, "no host has room"
			observe(b, "kvm1", func(o *api.HostObservation) { o.Domains = nil })
		}, []string{"critical vm db1: shall run, and does not: no host has room"}},
		{"failing", func(b *apitest.Backend) {
			vm := vmNamed(b, "db1")
			vm.Owner.Phase, vm.Failures = fsm.PhaseOrdered, []fsm.Failure{{Host: "kvm3", Detail: "no such disk"}}
		}, []string{"warning vm db1: 1 failed starts, the last on kvm3: no such disk"}},
		{"runs twice", func(b *apitest.Backend) {
			observe(b, "kvm3", func(o *api.HostObservation) {
				o.Domains = append(o.Domains, api.DomainReport{UUID: vmNamed(b, "db1").UUID, Name: "db1", State: vmm.Running})
			})
		}, []string{"critical vm db1 is running on kvm3, but kvm1 owns it"}},
		{"an old report of a host that is not heard is no second run", func(b *apitest.Backend) {
			observe(b, "kvm3", func(o *api.HostObservation) {
				o.Verdict, o.Domains = "suspect", append(o.Domains, api.DomainReport{UUID: vmNamed(b, "db1").UUID, Name: "db1", State: vmm.Running})
			})
		}, []string{"warning host kvm3 is suspect"}},
		{"a voter", func(b *apitest.Backend) { b.Servers[2].Healthy = false }, []string{"critical 2 of 3 voters answer, 2 are needed: the loss of one more"}},
		{"one of five voters", func(b *apitest.Backend) {
			b.Servers = append(b.Servers, api.Member{Name: "kvm4", Voter: true, Healthy: true}, api.Member{Name: "kvm5", Voter: true})
		}, []string{"warning 4 of 5 voters answer, 3 are needed: 1 more may fail"}},
		{"votes to come", func(b *apitest.Backend) { b.Servers[0].Voter, b.Servers[2].Voter = false, false }, []string{"warning 1 of 3 hosts vote"}},
		{"two hosts", func(b *apitest.Backend) { delete(b.St.Hosts, "kvm3"); delete(b.St.VMs, vmNamed(b, "web-1").UUID) }, []string{"warning two hosts"}},
		{"no master", func(b *apitest.Backend) { b.Me.IsMaster, b.Me.Master = false, "" }, []string{"critical no master"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := apitest.Healthy()
			tc.change(b)
			var got []string
			for _, p := range world(b).Status().Problems {
				got = append(got, string(p.Severity)+" "+p.Text)
				if p.Next == "" {
					t.Errorf("%q says no next command", p.Text)
				}
			}
			short := append([]string{}, got...)
			for i := range short {
				if i < len(tc.want) && strings.HasPrefix(short[i], tc.want[i]) {
					short[i] = tc.want[i]
				}
			}
			if d := cmp.Diff(append([]string{}, tc.want...), short); d != "" {
				t.Errorf("problems (-want +got):\n%s", d)
			}
		})
	}
}

func TestUnprotectedVMIsShownWhereItRuns(t *testing.T) {
	b := apitest.Healthy()
	build := b.Observed["kvm3"].Domains[1]
	build.State = vmm.Stopped
	observe(b, "kvm1", func(o *api.HostObservation) { o.Domains = append(o.Domains, build) })
	v, err := world(b).VM("build")
	if err != nil {
		t.Fatal(err)
	}
	if v.Host != "kvm3" || v.State != "running" || v.Protected {
		t.Errorf("build, defined on kvm1 and running on kvm3, is shown as %s on %s", v.State, v.Host)
	}
}

func TestUnprotectedVMOfASilentHostIsUnknown(t *testing.T) {
	b := apitest.Healthy()
	observe(b, "kvm3", func(o *api.HostObservation) { o.Verdict = "suspect" })
	if v, err := world(b).VM("build"); err != nil || v.State != api.VMUnknown {
		t.Errorf("build, last seen running on a host that is not heard, is shown as %q, %v", v.State, err)
	}
	if v, err := world(b).VM("old-mail"); err != nil || v.State != "stopped" {
		t.Errorf("old-mail, last seen stopped there, is shown as %q, %v", v.State, err)
	}
}

func TestTwoVMsOfOneName(t *testing.T) {
	b := apitest.Healthy()
	b.St.VMs["other"] = &fsm.VM{UUID: "other", Name: "db1", Intent: fsm.IntentStop}
	if _, err := world(b).VM("db1"); code(err) != api.CodeConflict || !strings.Contains(err.Error(), "other") {
		t.Errorf("an ambiguous name: %v, want %s and both UUIDs", err, api.CodeConflict)
	}
	if v, err := world(b).VM("other"); err != nil || v.UUID != "other" {
		t.Errorf("by UUID: %+v, %v", v, err)
	}
}

func TestExplanationFollowsCauses(t *testing.T) {
	e, err := world(apitest.HostLost()).ExplainVM("db1")
	if err != nil {
		t.Fatal(err)
	}
	var types []string
	for _, ev := range e.Events {
		types = append(types, ev.Type)
	}
	want := []string{fsm.EventVMProtected, fsm.EventHostSuspected, fsm.EventHostDead, fsm.EventVMAssigned, fsm.EventVMStarted}
	if d := cmp.Diff(want, types); d != "" {
		t.Errorf("events behind db1's place (-want +got):\n%s", d)
	}
}

func TestExplanationOfCausesThatGoInACircleEnds(t *testing.T) {
	b := apitest.Healthy()
	b.St.Events = []fsm.Event{{ID: 1, VM: "db1", Cause: 2, Text: "a"}, {ID: 2, VM: "db1", Cause: 2, Text: "b"}, {ID: 3, VM: "db1", Cause: 99, Text: "c"}}
	e, err := world(b).ExplainVM("db1")
	if err != nil || len(e.Events) != 3 {
		t.Errorf("%d events, %v, want all 3", len(e.Events), err)
	}
}

func TestExplanationIsBounded(t *testing.T) {
	b := apitest.Healthy()
	b.St.Events = nil
	for i := range 100 {
		b.St.Events = append(b.St.Events, fsm.Event{ID: uint64(i + 1), VM: "db1", Cause: uint64(i)})
	}
	e, err := world(b).ExplainVM("db1")
	if err != nil || len(e.Events) != 12 || e.Events[11].ID != 100 {
		t.Errorf("%d events, %v, want the newest 12", len(e.Events), err)
	}
}

func TestEventFilter(t *testing.T) {
	st := apitest.HostLost().St
	for _, tc := range []struct {
		name string
		f    api.EventFilter
		want []uint64
	}{
		{"all", api.EventFilter{}, []uint64{101, 102, 103, 104, 105, 106, 107, 108, 109}},
		{"newest", api.EventFilter{Limit: 2}, []uint64{108, 109}},
		{"first after", api.EventFilter{After: 104, Limit: 2}, []uint64{105, 106}},
		{"after what is kept no more", api.EventFilter{After: 7, Limit: 1}, []uint64{101}},
		{"after the last", api.EventFilter{After: 109}, nil},
		{"vm", api.EventFilter{VM: "db1"}, []uint64{101, 107, 109}},
		{"host, also from and to", api.EventFilter{Host: "kvm3"}, []uint64{103, 107, 109}},
		{"type", api.EventFilter{Type: fsm.EventHostDead}, []uint64{106}},
		{"since", api.EventFilter{Since: apitest.Now.Add(-40 * time.Second)}, []uint64{106, 107, 108, 109}},
		{"none", api.EventFilter{VM: "db1", Type: fsm.EventHostDead}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got []uint64
			for _, e := range tc.f.Select(st) {
				got = append(got, e.ID)
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Errorf("events (-want +got):\n%s", d)
			}
		})
	}
}

func TestTokenStates(t *testing.T) {
	b := apitest.Healthy()
	b.St.Tokens["t0"] = &fsm.Token{ID: "t0", Created: apitest.Now.Add(-100 * time.Hour), Expires: apitest.Now}
	s := httptest.NewServer(api.NewServer(b, api.Options{Caller: certificate, Now: func() time.Time { return apitest.Now }}).Peers())
	defer s.Close()
	l, err := api.NewPeerClient(&network{from: "kvm1", servers: map[string]*httptest.Server{"kvm2": s}}, "kvm2").Tokens(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, tok := range l.Tokens {
		got = append(got, tok.ID+" "+tok.State)
	}
	if d := cmp.Diff([]string{"t0 expired", "t1 used", "t2 open"}, got); d != "" {
		t.Errorf("tokens (-want +got):\n%s", d)
	}
}

// What the policy says of a VM is shown with the block that decided.
func TestRulesOfAVM(t *testing.T) {
	b := apitest.Healthy()
	b.St.Policy.Files = map[string][]byte{"a.hcl": []byte(`cluster "basement" {}
class "batch" {
  priority  = "low"
  admission = "best_effort"
  isolation = "shutdown"
}
vms "databases" {
  match    = { name = "db*" }
  protect  = true
  class    = "batch"
  order    = 3
  failback = "preferred"
}
group "data" {
  vms = ["db1"]
}
`)}
	a, err := cluster(t, b)["kvm2"].client.VM(t.Context(), "db1")
	if err != nil {
		t.Fatal(err)
	}
	want := &api.RulesView{Class: "batch", Priority: "low", Order: 3, Group: "data", Isolation: "shutdown", Failback: "preferred", BestEffort: true, Why: `vms "databases"`}
	if !reflect.DeepEqual(a.VM.Rules, want) {
		t.Errorf("rules %+v, want %+v", a.VM.Rules, want)
	}
	const text = `class batch, priority low, order 3, starts with group data, best effort; when its host is isolated: shutdown; failback: preferred (decided by vms "databases")`
	if got := a.VM.Rules.Text(); got != text {
		t.Errorf("in words %q, want %q", got, text)
	}
}
