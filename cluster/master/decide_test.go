package master

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/lease"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm"
)

const (
	web = "00000000-0000-4000-8000-00000000000a"
	db  = "00000000-0000-4000-8000-00000000000b"

	elected = time.Hour                 // of the office, on the boot clock
	now     = elected + 100*time.Second // of every table
)

var wall = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func standard(t testing.TB) lease.Timing {
	t.Helper()
	p, ok := lease.Profile("standard")
	if !ok {
		t.Fatal("there is no standard timing")
	}
	return p
}

// scene is the master a and the hosts b and c, all live in incarnation 2, heard
// and acknowledged just now, each with 8 GiB and nothing running, and one
// protected VM that has been stopped by a person.
func scene(t testing.TB) input {
	t.Helper()
	in := input{now: now, wall: wall, self: "a", epoch: 5, elected: elected, timing: standard(t), grace: time.Minute,
		state:  &fsm.State{Office: fsm.Office{Epoch: 5, Master: "a"}, Hosts: map[string]*fsm.Host{}, VMs: map[string]*fsm.VM{}},
		hosts:  map[string]*observed{},
		policy: waitTrusted()}
	for i, name := range []string{"a", "b", "c"} {
		in.state.Hosts[name] = &fsm.Host{Name: name, Status: fsm.HostLive, Incarnation: 2, Verdict: "live", Addresses: []fsm.Address{
			{Network: "mgmt", Addr: fmt.Sprintf("10.0.0.%d:7300", i)}, {Network: "storage", Addr: fmt.Sprintf("10.0.1.%d:7300", i)}}}
		o := newObserved(elected, elected, 2)
		o.run = 77
		o.watch, o.reachedAt = lease.Watch{Heard: now, Acknowledged: now, Elected: elected}, now
		o.networks = map[string]time.Duration{"mgmt": now, "storage": now}
		o.report, o.reportRev, o.reportIncarnation = &api.HostReport{Capacity: vmm.Capacity{CPUs: 8, Memory: 8 << 30}, Guard: "running"}, 1, 2
		in.hosts[name] = o
	}
	in.state.VMs[web] = &fsm.VM{UUID: web, Name: "web", Intent: fsm.IntentStop, Generation: 7, Home: "b", VCPUs: 1, Memory: 1 << 30, XMLHash: "h1", By: "ann"}
	return in
}

func (in *input) vm() *fsm.VM { return in.state.VMs[web] }

// owner gives web to an incarnation of a host.
func (in *input) owner(host string, incarnation uint64, phase fsm.Phase) {
	in.vm().Intent = fsm.IntentRun
	in.vm().Owner = &fsm.Placement{Host: host, Incarnation: incarnation, Generation: 7, Phase: phase}
}

// silent has a host unheard for that long; acknowledged the same.
func (in *input) silent(host string, d time.Duration) {
	w := &in.hosts[host].watch
	w.Heard, w.Acknowledged, in.hosts[host].reachedAt = now-d, now-d, now-d
}

func (in *input) says(host string, o fsm.Outcome, generation uint64) {
	r := in.hosts[host].report
	r.Outcomes = append(r.Outcomes, api.OutcomeReport{UUID: web, Generation: generation, Outcome: string(o), Detail: "so it said"})
}

func (in *input) lists(host, uuid, name string, s vmm.State) *api.DomainReport {
	r := in.hosts[host].report
	r.Domains = append(r.Domains, api.DomainReport{UUID: uuid, Name: name, State: s, VCPUs: 1, Memory: 1 << 30, XMLHash: "h1", Persistent: true})
	return &r.Domains[len(r.Domains)-1]
}

// brief says what a decision comes to, one line each; texts for people are left out.
func brief(d decision) []string {
	var out []string
	for _, s := range d.suspect {
		out = append(out, "suspect "+s.host)
	}
	for _, s := range d.withdraw {
		out = append(out, "withdraw "+s.host)
	}
	for _, s := range d.dead {
		out = append(out, "dead "+s.host)
	}
	for _, c := range d.commands {
		out = append(out, say(c))
	}
	for _, h := range slices.Sorted(maps.Keys(d.wanted)) {
		out = append(out, fmt.Sprintf("want %v of %s", d.wanted[h], h))
	}
	return out
}

func say(c fsm.Command) string {
	switch c := c.(type) {
	case *fsm.SetVerdict:
		return fmt.Sprintf("verdict %s(%d) %s", c.Host, c.Incarnation, c.Verdict)
	case *fsm.DeclareDead:
		return fmt.Sprintf("declare %s(%d) dead", c.Host, c.Incarnation)
	case *fsm.Report:
		return fmt.Sprintf("report %s(%d) generation %d %s", c.Host, c.Incarnation, c.Generation, c.Outcome)
	case *fsm.SetIntent:
		return fmt.Sprintf("intent %s", c.Intent)
	case *fsm.Assign:
		return fmt.Sprintf("assign to %s(%d) after generation %d", c.Host, c.Incarnation, c.Previous)
	case *fsm.Adopt:
		return fmt.Sprintf("adopt from %s(%d) after generation %d", c.Host, c.Incarnation, c.Previous)
	case *fsm.Protect:
		return fmt.Sprintf("protect %s of %s(%d) running=%v by %s", c.VM.Name, c.Host, c.Incarnation, c.Running, c.By)
	case *fsm.Unprotect:
		return "unprotect"
	case *fsm.Redefine:
		return fmt.Sprintf("redefine %s %s", c.Name, c.XMLHash)
	case *fsm.SetWaiting:
		return "waiting: " + c.Why
	case *fsm.Record:
		var types []string
		for _, e := range c.Events {
			types = append(types, e.Type+" "+e.Host)
		}
		return strings.Join(types, ", ")
	case *fsm.StandAside:
		return c.Host + " stands aside"
	case *fsm.TakeOffice:
		return fmt.Sprintf("epoch %d of %s", c.Epoch, c.Master)
	case *fsm.BeginIncarnation:
		return fmt.Sprintf("begin %s after %d", c.Host, c.Previous)
	}
	return fmt.Sprintf("%T", c)
}

func TestDecide(t *testing.T) {
	tm := standard(t)
	bound, wait := tm.SuspectAfter(), tm.Wait()
	suspectedAt := func(in *input, host string, ago time.Duration) {
		in.silent(host, ago+bound)
		in.hosts[host].watch.Suspected = now - ago
	}
	tests := []struct {
		name string
		in   func(*input)
		want []string
	}{
		{"all is well", func(*input) {}, nil},

		{"silent for exactly the bound", func(in *input) { in.silent("b", bound) }, nil},
		{"silent for longer", func(in *input) { in.silent("b", bound+1) }, []string{"suspect b"}},
		{"the new master itself has been silent", func(in *input) { in.silent("a", bound+1) }, []string{"suspect a"}},
		{"silent and not live any more", func(in *input) {
			in.silent("b", time.Hour)
			in.state.Hosts["b"].Status = fsm.HostDead
		}, nil},
		{"suspected and heard since", func(in *input) {
			suspectedAt(in, "b", time.Second)
			in.hosts["b"].watch.Heard = now
		}, []string{"withdraw b"}},
		{"suspected, heard since, and proposed dead before that", func(in *input) {
			suspectedAt(in, "b", wait)
			in.hosts["b"].watch.Heard = now
			in.hosts["b"].condemned = true
		}, nil},
		{"suspected, and the wait is not over", func(in *input) {
			suspectedAt(in, "b", time.Second)
			in.hosts["b"].watch.Acknowledged = now - wait + 1
		}, nil},
		{"suspected, and the wait is over", func(in *input) {
			suspectedAt(in, "b", time.Second)
			in.hosts["b"].watch.Acknowledged = now - wait
		}, []string{"dead b"}},
		{"suspected, never acknowledged, and the election is too recent", func(in *input) {
			suspectedAt(in, "b", time.Second)
			in.hosts["b"].watch.Acknowledged = 0
			in.hosts["b"].watch.Elected = now - wait + 1
		}, nil},
		{"suspected, never acknowledged, and the election is long enough ago", func(in *input) {
			suspectedAt(in, "b", time.Second)
			in.hosts["b"].watch.Acknowledged = 0
			in.hosts["b"].watch.Elected = now - wait
		}, []string{"dead b"}},
		{"suspected by a master before this one, and heard", func(in *input) { in.state.Hosts["b"].Verdict = "suspect" }, []string{"withdraw b"}},
		{"suspected by a master before this one, and not heard by this one yet", func(in *input) {
			in.state.Hosts["b"].Verdict = "suspect"
			in.elected = now - time.Second
			in.hosts["b"] = newObserved(now, in.elected, 2)
		}, nil},

		{"one network is silent", func(in *input) { in.hosts["b"].networks["storage"] = now - 4*bound }, nil},
		{"one network is silent for longer", func(in *input) { in.hosts["b"].networks["storage"] = now - 4*bound - 1 },
			[]string{"network_path_lost b"}},
		{"it has been told", func(in *input) {
			in.hosts["b"].networks["storage"] = now - 4*bound - 1
			in.hosts["b"].quiet["storage"] = true
		}, nil},
		{"it is back", func(in *input) { in.hosts["b"].quiet["storage"] = true }, []string{"network_path_restored b"}},
		{"nothing has come over it in this office", func(in *input) { delete(in.hosts["b"].networks, "storage") }, []string{"network_path_lost b"}},
		{"both are silent: that is the host's silence, not a path's", func(in *input) {
			in.silent("b", time.Minute)
			in.hosts["b"].networks = map[string]time.Duration{"mgmt": now - time.Minute, "storage": now - time.Minute}
			in.hosts["b"].watch.Suspected, in.hosts["b"].watch.Acknowledged = now, now
			in.hosts["b"].quiet["storage"] = true
		}, nil},

		{"it runs as ordered", func(in *input) {
			in.owner("b", 2, fsm.PhaseOrdered)
			in.says("b", fsm.OutcomeRunning, 7)
		}, []string{"report b(2) generation 7 running"}},
		{"it runs, as is known", func(in *input) {
			in.owner("b", 2, fsm.PhaseRunning)
			in.says("b", fsm.OutcomeRunning, 7)
		}, nil},
		{"it crashed", func(in *input) {
			in.owner("b", 2, fsm.PhaseRunning)
			in.says("b", fsm.OutcomeCrashed, 7)
		}, []string{"report b(2) generation 7 crashed"}},
		{"it crashed, and is to be left then", func(in *input) {
			in.owner("b", 2, fsm.PhaseRunning)
			in.says("b", fsm.OutcomeCrashed, 7)
			in.policy.Defaults.OnCrash = config.CrashLeave
		}, []string{"report b(2) generation 7 crashed", "intent stop"}},
		{"an outcome of an earlier generation", func(in *input) {
			in.owner("b", 2, fsm.PhaseRunning)
			in.says("b", fsm.OutcomeCrashed, 6)
		}, nil},
		{"an outcome from a host that does not own it", func(in *input) {
			in.owner("b", 2, fsm.PhaseRunning)
			in.says("c", fsm.OutcomeCrashed, 7)
		}, nil},
		{"an outcome that was sent in an earlier life", func(in *input) {
			in.owner("b", 2, fsm.PhaseRunning)
			in.says("b", fsm.OutcomeCrashed, 7)
			in.hosts["b"].reportIncarnation = 1
		}, nil},
		{"an outcome of what an earlier life of the host owns", func(in *input) {
			in.owner("b", 1, fsm.PhaseRunning)
			in.says("b", fsm.OutcomeCrashed, 7)
		}, nil},
		{"an outcome of a VM that is protected no more", func(in *input) {
			in.says("b", fsm.OutcomeCrashed, 7)
			delete(in.state.VMs, web)
		}, nil},
		{"the host of a sighting confirms it", func(in *input) {
			in.vm().Sighting = &fsm.Sighting{Host: "b", Generation: 7}
			in.says("b", fsm.OutcomeRunning, 7)
		}, []string{"report b(2) generation 7 running"}},
		{"another host speaks of a sighting", func(in *input) {
			in.vm().Sighting = &fsm.Sighting{Host: "b", Generation: 7}
			in.says("c", fsm.OutcomeStopped, 7)
		}, nil},

		{"a person started one that nobody owns", func(in *input) { in.lists("c", web, "web", vmm.Running) }, []string{"adopt from c(2) after generation 7"}},
		{"a person started one that nobody owns, paused", func(in *input) { in.lists("c", web, "web", vmm.Paused) }, nil},
		{"so an earlier life of the host said", func(in *input) {
			in.lists("c", web, "web", vmm.Running)
			in.hosts["c"].reportIncarnation = 1
		}, nil},
		{"so a host said whose hypervisor has been silent since", func(in *input) {
			in.lists("c", web, "web", vmm.Running)
			in.hosts["c"].report.HypervisorError = "it does not answer"
		}, nil},
		{"it runs where it is not owned", func(in *input) {
			in.owner("b", 2, fsm.PhaseRunning)
			in.lists("c", web, "web", vmm.Running)
		}, []string{"vm_runs_elsewhere c"}},
		{"it was seen elsewhere and that is not settled", func(in *input) {
			in.vm().Sighting = &fsm.Sighting{Host: "b", Generation: 7}
			in.lists("c", web, "web", vmm.Running)
		}, nil},

		{"the policy protects one: its definition is asked for", func(in *input) {
			in.policy.Defaults.Protect = config.ProtectAll
			in.lists("b", db, "db", vmm.Running)
		}, []string{"want [" + db + "] of b"}},
		{"the policy protects one whose definition has come", func(in *input) {
			in.policy.Defaults.Protect = config.ProtectAll
			in.lists("b", db, "db", vmm.Running)
			in.hosts["b"].defs[db] = "<domain/>"
		}, []string{`protect db of b(2) running=true by policy: defaults.protect = "all"`}},
		{"the policy protects one that is stopped", func(in *input) {
			in.policy.Defaults.Protect = config.ProtectAll
			in.lists("b", db, "db", vmm.Stopped)
			in.hosts["b"].defs[db] = "<domain/>"
		}, []string{`protect db of b(2) running=false by policy: defaults.protect = "all"`}},
		{"the policy protects one that runs elsewhere", func(in *input) {
			in.policy.Defaults.Protect = config.ProtectAll
			in.lists("b", db, "db", vmm.Stopped)
			in.lists("c", db, "db", vmm.Running)
			in.hosts["b"].defs[db], in.hosts["c"].defs[db] = "<domain/>", "<domain/>"
		}, []string{`protect db of c(2) running=true by policy: defaults.protect = "all"`}},
		{"the policy protects one that is defined on two", func(in *input) {
			in.policy.Defaults.Protect = config.ProtectAll
			in.lists("b", db, "db", vmm.Stopped)
			in.lists("c", db, "db", vmm.Stopped)
			in.hosts["b"].defs[db], in.hosts["c"].defs[db] = "<domain/>", "<domain/>"
		}, []string{`protect db of b(2) running=false by policy: defaults.protect = "all"`}},
		{"the policy protects one that stops existing when it stops", func(in *input) {
			in.policy.Defaults.Protect = config.ProtectAll
			in.lists("b", db, "db", vmm.Stopped).Persistent = false
			in.hosts["b"].defs[db] = "<domain/>"
		}, nil},
		{"the policy protects one whose name is taken", func(in *input) {
			in.policy.Defaults.Protect = config.ProtectAll
			in.lists("b", db, "web", vmm.Stopped)
			in.hosts["b"].defs[db] = "<domain/>"
		}, nil},
		{"the policy protected it and does not any more", func(in *input) { in.vm().By = "policy: vm \"web\"" }, []string{"unprotect"}},
		{"a person of the policy team protected it", func(in *input) { in.vm().By = "policymaker" }, nil},

		{"its definition has changed where it runs", func(in *input) {
			in.owner("b", 2, fsm.PhaseRunning)
			in.lists("b", web, "web", vmm.Running).XMLHash = "h2"
		}, []string{"want [" + web + "] of b"}},
		{"its changed definition has come", func(in *input) {
			in.owner("b", 2, fsm.PhaseRunning)
			in.lists("b", web, "www", vmm.Running).XMLHash = "h2"
			in.hosts["b"].defs[web] = "<domain/>"
		}, []string{"redefine www h2"}},
		{"its definition has changed at home while it waits for a host", func(in *input) {
			in.vm().Intent, in.vm().Memory = fsm.IntentRun, 64<<30
			in.lists("b", web, "web", vmm.Stopped).XMLHash = "h2"
			in.hosts["b"].defs[web] = "<domain/>"
		}, []string{"redefine web h2"}},
		{"another definition lies elsewhere while it waits for a host", func(in *input) {
			in.vm().Intent = fsm.IntentRun
			in.lists("c", web, "web", vmm.Stopped).XMLHash = "h2"
			in.hosts["c"].defs[web] = "<domain/>"
		}, []string{"assign to b(2) after generation 7"}},
		{"its definition has changed while a person has it stopped", func(in *input) {
			in.lists("b", web, "web", vmm.Stopped).XMLHash = "h2"
			in.hosts["b"].defs[web] = "<domain/>"
		}, nil},
		{"an old definition of it lies on another host", func(in *input) {
			in.owner("b", 2, fsm.PhaseRunning)
			in.lists("c", web, "web", vmm.Stopped).XMLHash = "h0"
		}, nil},

		{"nobody owns it and it shall run", func(in *input) { in.vm().Intent = fsm.IntentRun }, []string{"assign to b(2) after generation 7"}},
		{"it shall run, and definitions are being read", func(in *input) { in.vm().Intent, in.unread = fsm.IntentRun, true }, nil},
		{"its home is suspected", func(in *input) {
			in.vm().Intent = fsm.IntentRun
			suspectedAt(in, "b", time.Second)
		}, []string{"assign to a(2) after generation 7"}},
		{"its home is dead", func(in *input) {
			in.vm().Intent = fsm.IntentRun
			in.state.Hosts["b"].Status = fsm.HostDead
		}, []string{"assign to a(2) after generation 7"}},
		{"one kind of change a round", func(in *input) {
			in.vm().Intent = fsm.IntentRun
			in.hosts["b"].quiet["storage"] = true
		}, []string{"network_path_restored b"}},
		{"a live host has not been seen in its new life", func(in *input) {
			in.vm().Intent = fsm.IntentRun
			in.state.Hosts["c"].Incarnation = 3
		}, nil},
		{"a live host has not said yet what room it has", func(in *input) {
			in.vm().Intent = fsm.IntentRun
			in.hosts["c"].report, in.hosts["c"].since = nil, now-4*tm.Heartbeat
		}, nil},
		{"a live host does not say what room it has", func(in *input) {
			in.vm().Intent = fsm.IntentRun
			in.hosts["c"].report, in.hosts["c"].since = nil, now-4*tm.Heartbeat-1
		}, []string{"assign to b(2) after generation 7"}},
		{"its home's hypervisor does not answer", func(in *input) {
			in.vm().Intent = fsm.IntentRun
			in.hosts["b"].report.HypervisorError = "it does not answer"
		}, []string{"assign to a(2) after generation 7"}},
		{"its home is in maintenance", func(in *input) {
			in.vm().Intent = fsm.IntentRun
			in.state.Hosts["b"].Maintenance = &fsm.Maintenance{Since: in.wall, Why: "new disks"}
		}, []string{"assign to a(2) after generation 7"}},
		{"its home is in maintenance and has yet to come up after an election", func(in *input) {
			in.vm().Intent = fsm.IntentRun
			in.state.Hosts["b"].Status, in.state.Hosts["b"].Maintenance = fsm.HostJoining, &fsm.Maintenance{}
			in.elected = now - in.grace + 1
		}, []string{"assign to a(2) after generation 7"}},
		{"its home has no guard", func(in *input) {
			in.vm().Intent = fsm.IntentRun
			in.hosts["b"].report.Guard = "not running"
		}, []string{"assign to a(2) after generation 7"}},
		{"its home has yet to come up after an election", func(in *input) {
			in.vm().Intent = fsm.IntentRun
			in.vm().Waiting = "b, its home, is expected: it has not come up yet"
			in.state.Hosts["b"].Status = fsm.HostJoining
			in.elected = now - in.grace + 1
		}, nil},
		{"its home has not come up in the time it was given", func(in *input) {
			in.vm().Intent = fsm.IntentRun
			in.state.Hosts["b"].Status = fsm.HostJoining
			in.elected = now - in.grace
		}, []string{"assign to a(2) after generation 7"}},
		{"no host can take it", func(in *input) {
			in.vm().Intent = fsm.IntentRun
			in.vm().Memory = 9 << 30
		}, []string{"waiting: no host can take it: a: has 8 GiB of memory for VMs in all, 9.1 GiB of memory are needed; b: has 8 GiB of memory for VMs in all, 9.1 GiB of memory are needed; c: has 8 GiB of memory for VMs in all, 9.1 GiB of memory are needed"}},
		{"no host can take it, and that has been said", func(in *input) {
			in.vm().Intent = fsm.IntentRun
			in.vm().Memory = 9 << 30
			in.vm().Waiting = "no host can take it: a: has 8 GiB of memory for VMs in all, 9.1 GiB of memory are needed; b: has 8 GiB of memory for VMs in all, 9.1 GiB of memory are needed; c: has 8 GiB of memory for VMs in all, 9.1 GiB of memory are needed"
		}, nil},
		{"what runs without a placement takes room", func(in *input) {
			in.vm().Intent = fsm.IntentRun
			in.lists("b", db, "db", vmm.Running).Memory = 7 << 30
		}, []string{"assign to a(2) after generation 7"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := scene(t)
			tt.in(&in)
			if d := cmp.Diff(tt.want, brief(decide(in)), cmpopts.EquateEmpty()); d != "" {
				t.Errorf("the decision differs (-want +got):\n%s", d)
			}
		})
	}
}

// When to look again is what makes suspicions and deaths punctual.
func TestDecideLooksAgainInTime(t *testing.T) {
	tm := standard(t)
	in := scene(t)
	in.silent("c", 300*time.Millisecond)
	if want, got := now-300*time.Millisecond+tm.SuspectAfter(), decide(in).next; got != want {
		t.Errorf("looks again at %v, want %v, when c would be silent for the bound", got-now, want-now)
	}
	in = scene(t)
	for name := range in.hosts {
		if name != "b" {
			delete(in.hosts, name)
		}
	}
	in.silent("b", tm.Wait()-20*time.Millisecond)
	in.hosts["b"].watch.Suspected = now - time.Second
	if want, got := now+20*time.Millisecond, decide(in).next; got != want {
		t.Errorf("looks again at %v, want %v, when b may be declared dead", got-now, want-now)
	}
	in = scene(t)
	in.vm().Intent = fsm.IntentRun
	in.vm().Failures = []fsm.Failure{{Host: "b", At: wall, Crash: true}, {Host: "b", At: wall, Crash: true}}
	for _, o := range in.hosts {
		o.watch.Heard = now + time.Hour
	}
	if want, got := now+5*time.Second, decide(in).next; got != want {
		t.Errorf("looks again at %v, want %v, when the VM may be tried again", got-now, want-now)
	}
}

func TestDeathNamesWhatItRestsOn(t *testing.T) {
	in := scene(t)
	in.silent("b", 20*time.Second)
	in.hosts["b"].watch.Suspected = now - 18*time.Second
	in.hosts["b"].networks = map[string]time.Duration{"mgmt": now - 20*time.Second}
	d := decide(in)
	if len(d.dead) != 1 {
		t.Fatalf("decided %v, want b dead", brief(d))
	}
	c := d.dead[0].cmd.(*fsm.DeclareDead)
	if c.Host != "b" || c.Incarnation != 2 || c.Epoch != 5 || len(c.Evidence) != 2 || !c.Heard.Equal(wall.Add(-20*time.Second)) {
		t.Errorf("proposes %+v, want b(2) in epoch 5, evidence of both networks, heard 20 s ago", c)
	}
}
