package fsm

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Every command, accepted and refused, in the state that newCluster describes.
func TestCommands(t *testing.T) {
	m := Meta{At: day.Add(10 * time.Minute), By: "ann"}
	live := func(host string, inc uint64) func(t *testing.T, s *State) {
		return func(t *testing.T, s *State) {
			if !s.Live(host, inc) {
				t.Errorf("%s in incarnation %d is not live: %+v", host, inc, s.Hosts[host])
			}
		}
	}
	owner := func(n int, host string, inc, gen uint64, phase Phase) func(t *testing.T, s *State) {
		return func(t *testing.T, s *State) {
			vm := s.VMs[uuid(n)]
			if vm.Owner == nil {
				t.Fatalf("vm%d has no owner", n)
			}
			o := *vm.Owner
			o.At, o.Why = time.Time{}, ""
			if diff := cmp.Diff(Placement{Host: host, Incarnation: inc, Generation: gen, Phase: phase}, o); diff != "" || vm.Generation != gen {
				t.Errorf("owner of vm%d at generation %d (-want +got):\n%s", n, vm.Generation, diff)
			}
		}
	}
	free := func(n int, gen uint64, home, waiting string, intent Intent) func(t *testing.T, s *State) {
		return func(t *testing.T, s *State) {
			vm := s.VMs[uuid(n)]
			if vm.Owner != nil || vm.Sighting != nil || vm.Generation != gen || vm.Home != home || vm.Intent != intent || !strings.Contains(vm.Waiting, waiting) {
				t.Errorf("vm%d is %+v (owner %+v); want it free at generation %d, home %s, waiting %q, intent %s", n, vm, vm.Owner, gen, home, waiting, intent)
			}
		}
	}
	sighted := func(n int, host string, gen uint64, waiting string) func(t *testing.T, s *State) {
		return func(t *testing.T, s *State) {
			vm := s.VMs[uuid(n)]
			if vm.Owner != nil || vm.Sighting == nil || vm.Sighting.Host != host || vm.Sighting.Generation != gen || vm.Generation != gen || !strings.Contains(vm.Waiting, waiting) {
				t.Errorf("vm%d is %+v (sighting %+v); want it seen on %s at generation %d, waiting %q", n, vm, vm.Sighting, host, gen, waiting)
			}
			if s.Loose[uuid(n)] != "" {
				t.Errorf("protected vm%d is still noted as loose on %s", n, s.Loose[uuid(n)])
			}
		}
	}
	report := func(n int, host string, inc, gen uint64, o Outcome) *Report {
		return &Report{Meta: m, Epoch: 1, UUID: uuid(n), Host: host, Incarnation: inc, Generation: gen, Outcome: o, Detail: "as seen"}
	}
	join := func(token, word, host string, n int) *AddHost {
		return &AddHost{Meta: m, TokenID: token, SecretHash: secret(word), Host: testHost(host, n)}
	}
	late := join("free", "free", "x", 9)
	late.At = day.Add(2 * time.Hour)

	tests := []struct {
		name  string
		c     Command
		code  Code   // empty: accepted
		says  string // in the refusal
		event string // type of the newest event when accepted; empty: no new event
		holds func(t *testing.T, s *State)
	}{
		{name: "CreateCluster/again", c: &CreateCluster{Meta: m, Cluster: Cluster{ID: uuid(2), Name: "other"}, Host: testHost("z", 9)}, code: CodeConflict, says: `already belongs to cluster "prod"`},

		{name: "TakeOffice/next", c: &TakeOffice{Meta: m, Master: "b", Epoch: 2}, event: EventMasterElected, holds: func(t *testing.T, s *State) {
			if diff := cmp.Diff(Office{Epoch: 2, Master: "b", Since: m.At}, s.Office); diff != "" {
				t.Errorf("office (-want +got):\n%s", diff)
			}
		}},
		{name: "TakeOffice/same epoch", c: &TakeOffice{Meta: m, Master: "b", Epoch: 1}, code: CodeStale, says: "the last one is 1"},
		{name: "TakeOffice/epoch skipped", c: &TakeOffice{Meta: m, Master: "b", Epoch: 3}, code: CodeStale, says: "epoch 3"},
		{name: "TakeOffice/stranger", c: &TakeOffice{Meta: m, Master: "z", Epoch: 2}, code: CodeNotFound, says: "z is not a member"},

		{name: "CreateToken/new", c: &CreateToken{Meta: m, Token: Token{ID: "n", Hash: secret("n"), Expires: m.At.Add(time.Second)}}, event: EventTokenCreated},
		{name: "CreateToken/id taken", c: &CreateToken{Meta: m, Token: Token{ID: "free", Hash: secret("n"), Expires: m.At.Add(time.Second)}}, code: CodeConflict, says: "exists already"},
		{name: "CreateToken/long expired ones go", c: &CreateToken{Meta: Meta{At: day.Add(30 * 24 * time.Hour)}, Token: Token{ID: "n", Hash: secret("n"), Expires: day.Add(31 * 24 * time.Hour)}}, event: EventTokenCreated, holds: func(t *testing.T, s *State) {
			if len(s.Tokens) != 1 || s.Tokens["n"] == nil {
				t.Errorf("tokens are %v, want n alone", s.Tokens)
			}
		}},

		{name: "RevokeToken/unused", c: &RevokeToken{Meta: m, ID: "free"}, event: EventTokenRevoked, holds: func(t *testing.T, s *State) {
			if s.Tokens["free"] != nil {
				t.Error("the token is still there")
			}
		}},
		{name: "RevokeToken/unknown", c: &RevokeToken{Meta: m, ID: "none"}, code: CodeNotFound, says: "no token none"},
		{name: "RevokeToken/used", c: &RevokeToken{Meta: m, ID: "tb"}, code: CodeConflict, says: "was used by b"},

		{name: "AddHost/with a token", c: join("free", "free", "x", 9), event: EventHostJoined, holds: func(t *testing.T, s *State) {
			h := s.Hosts["x"]
			if h == nil || h.Status != HostJoining || h.Slot != 5 || s.Tokens["free"].UsedBy != "x" || s.Live("x", 0) {
				t.Errorf("host %+v, token %+v", h, s.Tokens["free"])
			}
		}},
		{name: "AddHost/with its own token", c: join("named", "named", "x", 9), event: EventHostJoined},
		{name: "AddHost/unknown token", c: join("none", "none", "x", 9), code: CodeDenied, says: "not known"},
		{name: "AddHost/wrong secret", c: join("free", "guess", "x", 9), code: CodeDenied, says: "wrong secret"},
		{name: "AddHost/no secret", c: &AddHost{Meta: m, TokenID: "free", Host: testHost("x", 9)}, code: CodeDenied, says: "wrong secret"},
		{name: "AddHost/token used", c: join("tb", "tb", "x", 9), code: CodeDenied, says: "already used by b"},
		{name: "AddHost/asked again by the same machine", c: join("tb", "tb", "b", 2), holds: func(t *testing.T, s *State) {
			if s.Hosts["b"].Slot != 2 || s.Slots != 4 {
				t.Errorf("b is %+v now, of %d slots", s.Hosts["b"], s.Slots)
			}
		}},
		{name: "AddHost/token expired", c: late, code: CodeDenied, says: "expired at 2026-03-01 13:00:00 UTC"},
		{name: "AddHost/token of another host", c: join("named", "named", "y", 9), code: CodeDenied, says: "for host x"},
		{name: "AddHost/name taken", c: join("free", "free", "b", 9), code: CodeConflict, says: "named b is a member already"},
		{name: "AddHost/address taken", c: join("free", "free", "x", 2), code: CodeConflict, says: "already b's"},

		{name: "RemoveHost/joining", c: &RemoveHost{Meta: m, Host: "c"}, event: EventHostLeft, holds: func(t *testing.T, s *State) {
			if s.Hosts["c"] != nil {
				t.Error("c is still there")
			}
		}},
		{name: "RemoveHost/dead", c: &RemoveHost{Meta: m, Host: "d"}, event: EventHostLeft},
		{name: "RemoveHost/owner", c: &RemoveHost{Meta: m, Host: "b"}, code: CodeInvalid, says: "owns 1 protected VMs (vm1)"},
		{name: "RemoveHost/master", c: &RemoveHost{Meta: m, Host: "a"}, code: CodeInvalid, says: "is the master"},
		{name: "RemoveHost/stranger", c: &RemoveHost{Meta: m, Host: "z"}, code: CodeNotFound},

		{name: "UpdateHost/new address", c: &UpdateHost{Meta: m, Host: "b", Addresses: testHost("b", 77).Addresses}, holds: func(t *testing.T, s *State) {
			if s.Hosts["b"].Addresses[0].Addr != "10.0.0.77:7300" {
				t.Errorf("addresses are %v", s.Hosts["b"].Addresses)
			}
		}},
		{name: "UpdateHost/another's address", c: &UpdateHost{Meta: m, Host: "b", Addresses: testHost("a", 1).Addresses}, code: CodeConflict, says: "already a's"},
		{name: "UpdateHost/stranger", c: &UpdateHost{Meta: m, Host: "z", Addresses: testHost("z", 9).Addresses}, code: CodeNotFound},

		{name: "BeginIncarnation/first", c: &BeginIncarnation{Meta: m, Epoch: 1, Host: "c", Why: "first start"}, event: EventHostAvailable, holds: live("c", 1)},
		{name: "BeginIncarnation/after death", c: &BeginIncarnation{Meta: m, Epoch: 1, Host: "d", Previous: 1, Why: "rebooted"}, event: EventHostAvailable, holds: live("d", 2)},
		{name: "BeginIncarnation/of an owner releases", c: &BeginIncarnation{Meta: m, Epoch: 1, Host: "b", Previous: 1, Why: "lease ended"}, event: EventHostAvailable, holds: free(1, 1, "b", "b stopped it (lease ended)", IntentRun)},
		{name: "BeginIncarnation/old epoch", c: &BeginIncarnation{Meta: m, Epoch: 0, Host: "c"}, code: CodeStale, says: "epoch 1 (a) has begun"},
		{name: "BeginIncarnation/asked twice", c: &BeginIncarnation{Meta: m, Epoch: 1, Host: "b", Previous: 0}, code: CodeStale, says: "its last one is 1"},
		{name: "BeginIncarnation/from the future", c: &BeginIncarnation{Meta: m, Epoch: 1, Host: "b", Previous: 2}, code: CodeStale},
		{name: "BeginIncarnation/stranger", c: &BeginIncarnation{Meta: m, Epoch: 1, Host: "z"}, code: CodeNotFound},

		{name: "SetVerdict/suspect", c: &SetVerdict{Meta: m, Epoch: 1, Host: "b", Incarnation: 1, Verdict: "suspect", Text: "silent"}, event: EventHostSuspected, holds: live("b", 1)},
		{name: "SetVerdict/unchanged", c: &SetVerdict{Meta: m, Epoch: 1, Host: "b", Incarnation: 1, Verdict: "live"}},
		{name: "SetVerdict/old epoch", c: &SetVerdict{Meta: m, Epoch: 9, Host: "b", Incarnation: 1, Verdict: "suspect"}, code: CodeStale},
		{name: "SetVerdict/old incarnation", c: &SetVerdict{Meta: m, Epoch: 1, Host: "b", Incarnation: 7, Verdict: "suspect"}, code: CodeStale, says: "in incarnation 1, not 7"},
		{name: "SetVerdict/dead host", c: &SetVerdict{Meta: m, Epoch: 1, Host: "d", Incarnation: 1, Verdict: "live"}, code: CodeStale, says: "is dead"},
		{name: "SetVerdict/stranger", c: &SetVerdict{Meta: m, Epoch: 1, Host: "z", Incarnation: 1, Verdict: "suspect"}, code: CodeNotFound},

		{name: "DeclareDead/owner", c: &DeclareDead{Meta: m, Epoch: 1, Host: "b", Incarnation: 1, Text: "b is dead"}, event: EventHostDead, holds: func(t *testing.T, s *State) {
			if s.Live("b", 1) || s.Hosts["b"].Status != HostDead {
				t.Errorf("b is %+v", s.Hosts["b"])
			}
			free(1, 1, "b", "b was declared dead", IntentRun)(t, s)
		}},
		{name: "DeclareDead/twice", c: &DeclareDead{Meta: m, Epoch: 1, Host: "d", Incarnation: 1}, code: CodeStale, says: "is dead"},
		{name: "DeclareDead/joining", c: &DeclareDead{Meta: m, Epoch: 1, Host: "c", Incarnation: 1}, code: CodeStale},
		{name: "DeclareDead/next life", c: &DeclareDead{Meta: m, Epoch: 1, Host: "b", Incarnation: 2}, code: CodeStale},
		{name: "DeclareDead/old epoch", c: &DeclareDead{Meta: m, Epoch: 0, Host: "b", Incarnation: 1}, code: CodeStale},
		{name: "DeclareDead/stranger", c: &DeclareDead{Meta: m, Epoch: 1, Host: "z", Incarnation: 1}, code: CodeNotFound},

		{name: "ConfirmOff/owner", c: &ConfirmOff{Meta: m, Epoch: 1, Host: "b", Incarnation: 1, Text: "b is off"}, event: EventHostDead, holds: free(1, 1, "b", "b was declared dead", IntentRun)},
		{name: "ConfirmOff/what it never confirmed", c: &ConfirmOff{Meta: m, Epoch: 1, Host: "a", Incarnation: 1, Text: "a is off"}, event: EventVMStopped, holds: func(t *testing.T, s *State) {
			free(6, 2, "a", "a, where it was seen running, is off, says ann", IntentRun)(t, s)
		}},
		{name: "ConfirmOff/dead already", c: &ConfirmOff{Meta: m, Epoch: 1, Host: "d", Incarnation: 1}},
		{name: "ConfirmOff/next life", c: &ConfirmOff{Meta: m, Epoch: 1, Host: "b", Incarnation: 2}, code: CodeStale},
		{name: "ConfirmOff/old epoch", c: &ConfirmOff{Meta: m, Epoch: 0, Host: "b", Incarnation: 1}, code: CodeStale},
		{name: "ConfirmOff/stranger", c: &ConfirmOff{Meta: m, Epoch: 1, Host: "z", Incarnation: 1}, code: CodeNotFound},

		{name: "SetVolumes/first", c: &SetVolumes{Meta: m, Epoch: 1, Volumes: []Volume{{Name: "hb", Path: "/dev/hb", ID: uuid(9)}}}, event: EventVolumesChanged, holds: func(t *testing.T, s *State) {
			if s.Volumes.Revision != 1 || len(s.Volumes.Volumes) != 1 || len(s.OldVolumes.Volumes) != 0 {
				t.Errorf("volumes are %+v, were %+v", s.Volumes, s.OldVolumes)
			}
		}},
		{name: "SetVolumes/changed meanwhile", c: &SetVolumes{Meta: m, Epoch: 1, Previous: 1}, code: CodeConflict, says: "revision 0, not 1"},
		{name: "SetVolumes/old epoch", c: &SetVolumes{Meta: m, Epoch: 0}, code: CodeStale},
		{name: "NoteVolumes/known", c: &NoteVolumes{Meta: m, Epoch: 1, Host: "b", Incarnation: 1}},
		{name: "NoteVolumes/from the future", c: &NoteVolumes{Meta: m, Epoch: 1, Host: "b", Incarnation: 1, Revision: 1}, code: CodeInvalid, says: "the newest is 0"},
		{name: "NoteVolumes/next life", c: &NoteVolumes{Meta: m, Epoch: 1, Host: "b", Incarnation: 2}, code: CodeStale},
		{name: "NoteVolumes/old epoch", c: &NoteVolumes{Meta: m, Epoch: 0, Host: "b", Incarnation: 1}, code: CodeStale},
		{name: "BeginMove/running", c: &BeginMove{Meta: m, Epoch: 1, UUID: uuid(1), Previous: 1, Host: "a", Incarnation: 1, Why: "asked"}, event: EventVMMoveOrdered, holds: owner(1, "b", 1, 1, PhaseRunning)},
		{name: "BeginMove/stopped", c: &BeginMove{Meta: m, Epoch: 1, UUID: uuid(3), Previous: 0, Host: "b", Incarnation: 1}, event: EventVMMoved, holds: free(3, 0, "b", "", IntentStop)},
		{name: "BeginMove/where it runs", c: &BeginMove{Meta: m, Epoch: 1, UUID: uuid(1), Previous: 1, Host: "b", Incarnation: 1}, code: CodeConflict, says: "already"},
		{name: "BeginMove/ordered only", c: &BeginMove{Meta: m, Epoch: 1, UUID: uuid(4), Previous: 1, Host: "b", Incarnation: 1}, code: CodeConflict, says: "does not run"},
		{name: "BeginMove/to the dead", c: &BeginMove{Meta: m, Epoch: 1, UUID: uuid(1), Previous: 1, Host: "d", Incarnation: 1}, code: CodeStale, says: "dead"},
		{name: "BeginMove/another generation", c: &BeginMove{Meta: m, Epoch: 1, UUID: uuid(1), Previous: 9, Host: "a", Incarnation: 1}, code: CodeStale},
		{name: "BeginMove/sighted", c: &BeginMove{Meta: m, Epoch: 1, UUID: uuid(6), Previous: 2, Host: "b", Incarnation: 1}, code: CodeConflict, says: "confirmed"},
		{name: "EndMove/none", c: &EndMove{Meta: m, Epoch: 1, UUID: uuid(1), Move: 3}, code: CodeStale},
		{name: "SetMaintenance/on", c: &SetMaintenance{Meta: m, Host: "b", On: true, Why: "memory"}, event: EventHostInMaintenance, holds: owner(1, "b", 1, 1, PhaseRunning)},
		{name: "SetMaintenance/off already", c: &SetMaintenance{Meta: m, Host: "b"}},
		{name: "RetryVM/nothing failed", c: &RetryVM{Meta: m, UUID: uuid(1)}},
		{name: "RetryVM/stopped", c: &RetryVM{Meta: m, UUID: uuid(3)}, code: CodeConflict, says: "haadm vms start"},
		{name: "RetryVM/stranger", c: &RetryVM{Meta: m, UUID: uuid(9)}, code: CodeNotFound},
		{name: "RestartVM/running", c: &RestartVM{Meta: m, UUID: uuid(1), Previous: 1, Why: "asked"}, event: EventVMRestartOrdered, holds: owner(1, "b", 1, 1, PhaseRunning)},
		{name: "RestartVM/ordered only", c: &RestartVM{Meta: m, UUID: uuid(4), Previous: 1}, code: CodeConflict, says: "does not run"},
		{name: "RestartVM/stopped", c: &RestartVM{Meta: m, UUID: uuid(3)}, code: CodeConflict, says: "does not run"},
		{name: "RestartVM/sighted", c: &RestartVM{Meta: m, UUID: uuid(6), Previous: 2}, code: CodeConflict, says: "does not run"},
		{name: "RestartVM/another generation", c: &RestartVM{Meta: m, UUID: uuid(1), Previous: 9}, code: CodeStale, says: "generation 1, not 9"},
		{name: "RestartVM/stranger", c: &RestartVM{Meta: m, UUID: uuid(9)}, code: CodeNotFound},
		{name: "SetMaintenance/stranger", c: &SetMaintenance{Meta: m, Host: "z", On: true}, code: CodeNotFound},

		{name: "NoteWatchdog/new", c: &NoteWatchdog{Meta: m, Epoch: 1, Host: "b", Incarnation: 1, Watchdog: Watchdog{Word: 1, Timeout: 3 * time.Second}}, event: EventWatchdogChanged, holds: func(t *testing.T, s *State) {
			if s.Hosts["b"].Watchdog != (Watchdog{1, 3 * time.Second}) {
				t.Errorf("the watchdog is %+v", s.Hosts["b"].Watchdog)
			}
		}},
		{name: "NoteWatchdog/next life", c: &NoteWatchdog{Meta: m, Epoch: 1, Host: "b", Incarnation: 2, Watchdog: Watchdog{Word: 1}}, code: CodeStale},
		{name: "NoteWatchdog/old epoch", c: &NoteWatchdog{Meta: m, Epoch: 0, Host: "b", Incarnation: 1, Watchdog: Watchdog{Word: 1}}, code: CodeStale},
		{name: "NoteVolumes/stranger", c: &NoteVolumes{Meta: m, Epoch: 1, Host: "z", Incarnation: 1}, code: CodeNotFound},

		{name: "Protect/running", c: &Protect{Meta: m, Epoch: 1, VM: testVM(8, IntentStop), Running: true, Host: "a", Incarnation: 1}, event: EventVMProtected, holds: func(t *testing.T, s *State) {
			sighted(8, "a", 2, "")(t, s) // above vm5's, which was unprotected at generation 1
			if s.VMs[uuid(8)].Intent != IntentRun {
				t.Errorf("a VM that runs has intent %s", s.VMs[uuid(8)].Intent)
			}
		}},
		{name: "Protect/not running", c: &Protect{Meta: m, Epoch: 1, VM: testVM(8, IntentStop), Host: "a", Incarnation: 1}, event: EventVMProtected, holds: free(8, 1, "a", "", IntentStop)},
		{name: "Protect/unprotected when nobody ran it", c: &Protect{Meta: m, Epoch: 1, VM: testVM(7, IntentRun), Host: "a", Incarnation: 1}, event: EventVMProtected, holds: free(7, 1, "a", "", IntentRun)},
		{name: "Protect/where it ran when unprotected", c: &Protect{Meta: m, Epoch: 1, VM: testVM(5, IntentRun), Running: true, Host: "b", Incarnation: 1}, event: EventVMProtected, holds: sighted(5, "b", 2, "")},
		{name: "Protect/elsewhere than it ran when unprotected", c: &Protect{Meta: m, Epoch: 1, VM: testVM(5, IntentRun), Host: "a", Incarnation: 1}, event: EventVMProtected, holds: sighted(5, "b", 2, "b ran it when it was unprotected")},
		{name: "Protect/runs elsewhere than it ran when unprotected", c: &Protect{Meta: m, Epoch: 1, VM: testVM(5, IntentStop), Running: true, Host: "a", Incarnation: 1}, event: EventVMProtected, holds: sighted(5, "b", 2, "b ran it when it was unprotected")},
		{name: "Protect/already", c: &Protect{Meta: m, Epoch: 1, VM: testVM(1, IntentRun), Host: "a"}, code: CodeConflict, says: "protected already, by ann"},
		{name: "Protect/name taken", c: &Protect{Meta: m, Epoch: 1, VM: VM{UUID: uuid(8), Name: "vm1", XML: []byte("x"), Intent: IntentRun}, Host: "a"}, code: CodeConflict, says: "another VM named vm1"},
		{name: "Protect/dead host", c: &Protect{Meta: m, Epoch: 1, VM: testVM(8, IntentRun), Running: true, Host: "d", Incarnation: 1}, code: CodeStale},
		{name: "Protect/joining host", c: &Protect{Meta: m, Epoch: 1, VM: testVM(8, IntentRun), Running: true, Host: "c", Incarnation: 0}, code: CodeStale},
		{name: "Protect/old incarnation", c: &Protect{Meta: m, Epoch: 1, VM: testVM(8, IntentRun), Running: true, Host: "a", Incarnation: 9}, code: CodeStale},
		{name: "Protect/stranger", c: &Protect{Meta: m, Epoch: 1, VM: testVM(8, IntentRun), Host: "z"}, code: CodeNotFound},
		{name: "Protect/old epoch", c: &Protect{Meta: m, Epoch: 2, VM: testVM(8, IntentRun), Host: "a"}, code: CodeStale},

		{name: "Unprotect/owned", c: &Unprotect{Meta: m, UUID: uuid(1)}, event: EventVMUnprotected, holds: func(t *testing.T, s *State) {
			if s.VMs[uuid(1)] != nil {
				t.Error("vm1 is still protected")
			}
		}},
		{name: "Unprotect/unknown", c: &Unprotect{Meta: m, UUID: uuid(9)}, code: CodeNotFound},

		{name: "Redefine/new definition", c: &Redefine{Meta: m, Epoch: 1, UUID: uuid(1), Name: "renamed", XML: []byte("new"), XMLHash: "h", VCPUs: 4, Memory: 2}, event: EventVMRedefined, holds: func(t *testing.T, s *State) {
			owner(1, "b", 1, 1, PhaseRunning)(t, s)
			if vm := s.VMs[uuid(1)]; vm.Name != "renamed" || string(vm.XML) != "new" || vm.XMLHash != "h" || vm.VCPUs != 4 || vm.Memory != 2 {
				t.Errorf("vm1 is %+v", vm)
			}
		}},
		{name: "Redefine/same", c: &Redefine{Meta: m, Epoch: 1, UUID: uuid(1), Name: "vm1", XML: []byte("definition"), XMLHash: "hash1"}},
		{name: "Redefine/name taken", c: &Redefine{Meta: m, Epoch: 1, UUID: uuid(1), Name: "vm2", XML: []byte("new"), XMLHash: "h"}, code: CodeConflict, says: "has that name"},
		{name: "Redefine/unknown", c: &Redefine{Meta: m, Epoch: 1, UUID: uuid(9), Name: "vm9", XML: []byte("new")}, code: CodeNotFound},
		{name: "Redefine/old epoch", c: &Redefine{Meta: m, Epoch: 0, UUID: uuid(1), Name: "vm1", XML: []byte("new"), XMLHash: "h"}, code: CodeStale},

		{name: "Assign/waiting", c: &Assign{Meta: m, Epoch: 1, UUID: uuid(2), Host: "a", Incarnation: 1, Why: "free"}, event: EventVMAssigned, holds: owner(2, "a", 1, 1, PhaseOrdered)},
		{name: "Assign/running elsewhere", c: &Assign{Meta: m, Epoch: 1, UUID: uuid(1), Previous: 1, Host: "a", Incarnation: 1}, code: CodeConflict, says: "neither died nor released"},
		{name: "Assign/seen running", c: &Assign{Meta: m, Epoch: 1, UUID: uuid(6), Previous: 2, Host: "a", Incarnation: 1}, code: CodeConflict, says: "has not confirmed yet"},
		{name: "Assign/ordered already", c: &Assign{Meta: m, Epoch: 1, UUID: uuid(4), Previous: 1, Host: "b", Incarnation: 1}, code: CodeConflict, says: "owned by a"},
		{name: "Assign/decided twice", c: &Assign{Meta: m, Epoch: 1, UUID: uuid(4), Previous: 0, Host: "b", Incarnation: 1}, code: CodeStale, says: "at generation 1, not 0"},
		{name: "Assign/future generation", c: &Assign{Meta: m, Epoch: 1, UUID: uuid(2), Previous: 5, Host: "a", Incarnation: 1}, code: CodeStale},
		{name: "Assign/stopped by a person", c: &Assign{Meta: m, Epoch: 1, UUID: uuid(3), Host: "a", Incarnation: 1}, code: CodeConflict, says: "stopped by a person"},
		{name: "Assign/to the dead", c: &Assign{Meta: m, Epoch: 1, UUID: uuid(2), Host: "d", Incarnation: 1}, code: CodeStale, says: "is dead"},
		{name: "Assign/to a joining host", c: &Assign{Meta: m, Epoch: 1, UUID: uuid(2), Host: "c", Incarnation: 1}, code: CodeStale},
		{name: "Assign/to an old incarnation", c: &Assign{Meta: m, Epoch: 1, UUID: uuid(2), Host: "a", Incarnation: 2}, code: CodeStale},
		{name: "Assign/to a stranger", c: &Assign{Meta: m, Epoch: 1, UUID: uuid(2), Host: "z", Incarnation: 1}, code: CodeNotFound},
		{name: "Assign/unknown VM", c: &Assign{Meta: m, Epoch: 1, UUID: uuid(9), Host: "a", Incarnation: 1}, code: CodeNotFound},
		{name: "Assign/old epoch", c: &Assign{Meta: m, Epoch: 0, UUID: uuid(2), Host: "a", Incarnation: 1}, code: CodeStale, says: "epoch 0"},

		{name: "Adopt/stopped one runs again", c: &Adopt{Meta: m, Epoch: 1, UUID: uuid(3), Host: "b", Incarnation: 1}, event: EventVMSeenRunning, holds: sighted(3, "b", 1, "")},
		{name: "Adopt/seen already", c: &Adopt{Meta: m, Epoch: 1, UUID: uuid(6), Previous: 2, Host: "b", Incarnation: 1}, code: CodeConflict, says: "seen running on a"},
		{name: "Adopt/owned", c: &Adopt{Meta: m, Epoch: 1, UUID: uuid(1), Previous: 1, Host: "a", Incarnation: 1}, code: CodeConflict},
		{name: "Adopt/placed meanwhile", c: &Adopt{Meta: m, Epoch: 1, UUID: uuid(4), Previous: 0, Host: "b", Incarnation: 1}, code: CodeStale},
		{name: "Adopt/by the dead", c: &Adopt{Meta: m, Epoch: 1, UUID: uuid(3), Host: "d", Incarnation: 1}, code: CodeStale},
		{name: "Adopt/unknown VM", c: &Adopt{Meta: m, Epoch: 1, UUID: uuid(9), Host: "a", Incarnation: 1}, code: CodeNotFound},
		{name: "Adopt/old epoch", c: &Adopt{Meta: m, Epoch: 3, UUID: uuid(3), Host: "b", Incarnation: 1}, code: CodeStale},

		{name: "Report/running", c: report(4, "a", 1, 1, OutcomeRunning), event: EventVMStarted, holds: owner(4, "a", 1, 1, PhaseRunning)},
		{name: "Report/running again", c: report(1, "b", 1, 1, OutcomeRunning)},
		{name: "Report/guards what was seen", c: report(6, "a", 1, 2, OutcomeRunning), event: EventVMStarted, holds: owner(6, "a", 1, 2, PhaseRunning)},
		{name: "Report/does not run what was seen", c: report(6, "a", 1, 2, OutcomeReleased), event: EventVMStopped, holds: free(6, 2, "a", "a does not run it any more", IntentRun)},
		{name: "Report/what was seen was stopped", c: report(6, "a", 1, 2, OutcomeStopped), event: EventVMStopped, holds: free(6, 2, "a", "", IntentStop)},
		{name: "Report/another's sighting", c: report(6, "b", 1, 2, OutcomeRunning), code: CodeStale},
		{name: "Report/an older sighting", c: report(6, "a", 1, 1, OutcomeRunning), code: CodeStale},
		{name: "Report/sighting, by an old incarnation", c: report(6, "a", 2, 2, OutcomeReleased), code: CodeStale, says: "in incarnation 1, not 2"},
		{name: "Report/stopped", c: report(1, "b", 1, 1, OutcomeStopped), event: EventVMStopped, holds: free(1, 1, "b", "", IntentStop)},
		{name: "Report/crashed", c: report(1, "b", 1, 1, OutcomeCrashed), event: EventVMCrashed, holds: free(1, 1, "b", "it crashed on b", IntentRun)},
		{name: "Report/start failed", c: report(4, "a", 1, 1, OutcomeStartFailed), event: EventVMStartFailed, holds: func(t *testing.T, s *State) {
			free(4, 1, "a", "its start on a failed: as seen", IntentRun)(t, s)
			if diff := cmp.Diff([]Failure{{Host: "a", Generation: 1, At: m.At, Detail: "as seen"}}, s.VMs[uuid(4)].Failures); diff != "" {
				t.Errorf("failures (-want +got):\n%s", diff)
			}
		}},
		{name: "Report/released", c: report(4, "a", 1, 1, OutcomeReleased), event: EventVMStopped, holds: free(4, 1, "a", "a gave it back: as seen", IntentRun)},
		{name: "Report/old generation", c: report(1, "b", 1, 0, OutcomeReleased), code: CodeStale, says: "not its own any more"},
		{name: "Report/old incarnation", c: report(1, "b", 2, 1, OutcomeReleased), code: CodeStale},
		{name: "Report/another host", c: report(1, "a", 1, 1, OutcomeCrashed), code: CodeStale},
		{name: "Report/owned by nobody", c: report(2, "b", 1, 0, OutcomeRunning), code: CodeStale},
		{name: "Report/unknown VM", c: report(9, "b", 1, 1, OutcomeRunning), code: CodeNotFound},
		{name: "Report/old epoch", c: &Report{Meta: m, Epoch: 0, UUID: uuid(1), Host: "b", Incarnation: 1, Generation: 1, Outcome: OutcomeStopped}, code: CodeStale},

		{name: "SetIntent/run", c: &SetIntent{Meta: m, UUID: uuid(3), Intent: IntentRun}, event: EventVMIntentChanged, holds: free(3, 0, "b", "a person wants it", IntentRun)},
		{name: "SetIntent/stop", c: &SetIntent{Meta: m, UUID: uuid(1), Intent: IntentStop}, event: EventVMIntentChanged, holds: owner(1, "b", 1, 1, PhaseRunning)},
		{name: "SetIntent/unchanged", c: &SetIntent{Meta: m, UUID: uuid(3), Intent: IntentStop}},
		{name: "SetIntent/unknown", c: &SetIntent{Meta: m, UUID: uuid(9), Intent: IntentStop}, code: CodeNotFound},

		{name: "ApplyPolicy/next", c: &ApplyPolicy{Meta: m, Previous: 0, Files: map[string][]byte{"x.hcl": []byte("x")}}, event: EventPolicyApplied, holds: func(t *testing.T, s *State) {
			if diff := cmp.Diff(Policy{Revision: 1, Files: map[string][]byte{"x.hcl": []byte("x")}, By: "ann", At: m.At}, s.Policy); diff != "" {
				t.Errorf("policy (-want +got):\n%s", diff)
			}
		}},
		{name: "ApplyPolicy/changed meanwhile", c: &ApplyPolicy{Meta: m, Previous: 1}, code: CodeConflict, says: "plan again"},

		{name: "Record/event", c: &Record{Meta: m, Epoch: 1, Events: []Event{{Type: "disk_slow", Text: "slow"}}}, event: "disk_slow"},
		{name: "Record/old epoch", c: &Record{Meta: m, Epoch: 0, Events: []Event{{Type: "disk_slow"}}}, code: CodeStale},

		{name: "SetWaiting/new reason", c: &SetWaiting{Meta: m, Epoch: 1, UUID: uuid(2), Why: "no memory"}, event: EventVMNoHost, holds: free(2, 0, "b", "no memory", IntentRun)},
		{name: "SetWaiting/seen running", c: &SetWaiting{Meta: m, Epoch: 1, UUID: uuid(6), Why: "no memory"}, holds: sighted(6, "a", 2, "")},
		{name: "SetWaiting/owned", c: &SetWaiting{Meta: m, Epoch: 1, UUID: uuid(1), Why: "no memory"}, holds: owner(1, "b", 1, 1, PhaseRunning)},
		{name: "SetWaiting/unknown", c: &SetWaiting{Meta: m, Epoch: 1, UUID: uuid(9), Why: "no memory"}, code: CodeNotFound},
		{name: "SetWaiting/old epoch", c: &SetWaiting{Meta: m, Epoch: 2, UUID: uuid(2), Why: "no memory"}, code: CodeStale},
	}
	seen := map[Type]bool{}
	for _, tt := range tests {
		seen[tt.c.kind()] = true
		t.Run(tt.name, func(t *testing.T) {
			r := newCluster(t)
			old := r.state()
			before := text(t, old)
			res := r.do(tt.c)
			s := r.state()
			if after := text(t, old); after != before {
				t.Errorf("an earlier View changed (-before +after):\n%s", cmp.Diff(before, after))
			}
			if tt.code == "" {
				if res.Refusal != nil {
					t.Fatalf("refused (%s): %s", res.Refusal.Code, res.Refusal.Message)
				}
				if tt.event == "" && s.LastEvent != old.LastEvent {
					t.Errorf("an event was recorded: %+v", s.Events[len(s.Events)-1])
				}
				if last := s.Events[len(s.Events)-1]; tt.event != "" && (last.Type != tt.event || last.ID != s.LastEvent || last.ID <= old.LastEvent) {
					t.Errorf("newest event is %+v, want %s", last, tt.event)
				}
				if tt.holds != nil {
					tt.holds(t, s)
				}
				return
			}
			if res.Refusal == nil {
				t.Fatalf("accepted, answer %v; want it refused with %s", res.Value, tt.code)
			}
			if res.Refusal.Code != tt.code || !strings.Contains(res.Refusal.Message, tt.says) {
				t.Errorf("refused with %s: %s\nwant %s and %q in the text", res.Refusal.Code, res.Refusal.Message, tt.code, tt.says)
			}
			if after := text(t, s); after != before || s != old {
				t.Errorf("refused, but the state changed:\n%s", cmp.Diff(before, after))
			}
		})
	}
	for typ := Type(1); blank(typ) != nil; typ++ {
		if !seen[typ] {
			t.Errorf("no case for command type %d (%T)", typ, blank(typ))
		}
	}
}

// Nothing but CreateCluster may be first in a log.
func TestNothingBeforeTheCluster(t *testing.T) {
	r := newRig(t)
	res := r.do(&TakeOffice{Meta: r.meta(), Master: "a", Epoch: 1})
	if res.Refusal == nil || res.Refusal.Code != CodeConflict {
		t.Fatalf("answer %+v, want a conflict", res)
	}
}

// A host that left and a VM that was let go come back above where they were.
func TestNumbersGoOnAfterAReturn(t *testing.T) {
	r := newCluster(t)
	r.must(&RemoveHost{Meta: r.meta(), Host: "d"})
	r.must(&AddHost{Meta: r.meta(), TokenID: "free", SecretHash: secret("free"), Host: testHost("d", 4)})
	if h := r.state().Hosts["d"]; h.Incarnation != 1 || h.Slot != 5 || r.state().Live("d", 1) {
		t.Errorf("d came back as %+v, want joining after incarnation 1, in a new slot", h)
	}
	if i := r.begin("d"); i != 2 {
		t.Errorf("d began incarnation %d, want 2", i)
	}
	r.must(&Unprotect{Meta: r.meta(), UUID: uuid(6)})
	r.must(&Protect{Meta: r.meta(), Epoch: 1, VM: testVM(5, IntentRun), Running: true, Host: "b", Incarnation: 1})
	if g := r.state().VMs[uuid(5)].Generation; g != 3 {
		t.Errorf("vm5 came back at generation %d, want one above the 2 that others have reached", g)
	}
}

// A host that was sent away with a VM that it may still run cannot leave unseen,
// and a VM that was unprotected while a host ran it waits for that host's word:
// nobody else starts it meanwhile, whatever becomes of that host's incarnation.
func TestUnprotectedWhileRunning(t *testing.T) {
	elsewhere := func(r *rig) *Assign {
		return &Assign{Meta: r.meta(), Epoch: 1, UUID: uuid(5), Previous: r.state().VMs[uuid(5)].Generation, Host: "a", Incarnation: 1, Why: "free"}
	}
	r := newCluster(t)
	r.must(&DeclareDead{Meta: r.meta(), Epoch: 1, Host: "b", Incarnation: 1})
	r.must(&Protect{Meta: r.meta(), Epoch: 1, VM: testVM(5, IntentRun), Host: "a", Incarnation: 1})
	if res := r.do(elsewhere(r)); res.Refusal == nil {
		t.Fatal("placed on a, although b let its processes of unprotected VMs live when its lease ended")
	}
	if res := r.do(&RemoveHost{Meta: r.meta(), Host: "b"}); res.Refusal == nil {
		t.Fatal("b was removed, although it may still run vm5")
	}
	r.begin("b")
	r.must(&Report{Meta: r.meta(), Epoch: 1, UUID: uuid(5), Host: "b", Incarnation: 2, Generation: r.state().VMs[uuid(5)].Generation, Outcome: OutcomeReleased})
	r.must(elsewhere(r))

	// A person moved it to a meanwhile: a owns it once b has said that it has gone.
	r = newCluster(t)
	r.must(&Protect{Meta: r.meta(), Epoch: 1, VM: testVM(5, IntentRun), Running: true, Host: "a", Incarnation: 1})
	r.must(&Report{Meta: r.meta(), Epoch: 1, UUID: uuid(5), Host: "b", Incarnation: 1, Generation: r.state().VMs[uuid(5)].Generation, Outcome: OutcomeStopped})
	r.must(&Adopt{Meta: r.meta(), Epoch: 1, UUID: uuid(5), Previous: r.state().VMs[uuid(5)].Generation, Host: "a", Incarnation: 1})
	r.must(&Report{Meta: r.meta(), Epoch: 1, UUID: uuid(5), Host: "a", Incarnation: 1, Generation: r.state().VMs[uuid(5)].Generation, Outcome: OutcomeRunning})
	if vm := r.state().VMs[uuid(5)]; vm.Owner == nil || vm.Owner.Host != "a" || vm.Intent != IntentRun {
		t.Errorf("vm5 is %+v, owner %+v; want it owned by a", vm, vm.Owner)
	}

	// When b never comes back, a person's removal of it is the word.
	r = newCluster(t)
	r.must(&DeclareDead{Meta: r.meta(), Epoch: 1, Host: "b", Incarnation: 1})
	r.must(&RemoveHost{Meta: r.meta(), Host: "b"})
	r.must(&Protect{Meta: r.meta(), Epoch: 1, VM: testVM(5, IntentRun), Host: "a", Incarnation: 1})
	r.must(elsewhere(r))
}

// What a command says of a host's standing counts for nothing: only Apply numbers lives.
func TestStandingIsNotTakenFromTheCommand(t *testing.T) {
	forged := func(name string, n int) Host {
		h := testHost(name, n)
		h.Slot, h.Status, h.Incarnation, h.BootID, h.Verdict = 900, HostLive, 1<<64-1, "boot", "live"
		h.Evidence = []Evidence{{Signal: "forged"}}
		return h
	}
	check := func(t *testing.T, h *Host) {
		t.Helper()
		if h.Status != HostJoining || h.Incarnation != 0 || h.Slot > 9 || h.BootID != "" || h.Verdict != "" || h.Evidence != nil {
			t.Errorf("host %+v: its standing came from the command", h)
		}
	}
	r := newRig(t)
	r.must(&CreateCluster{Meta: r.meta(), Cluster: Cluster{ID: uuid(1), Name: "prod"}, Host: forged("a", 1)})
	check(t, r.state().Hosts["a"])
	r.must(&CreateToken{Meta: r.meta(), Token: Token{ID: "t", Hash: secret("t"), Expires: day.Add(time.Hour)}})
	r.must(&AddHost{Meta: r.meta(), TokenID: "t", SecretHash: secret("t"), Host: forged("b", 2)})
	check(t, r.state().Hosts["b"])

	r.must(&TakeOffice{Meta: r.meta(), Master: "a", Epoch: 1})
	r.begin("a")
	vm := testVM(1, IntentRun)
	vm.Generation, vm.Owner, vm.Sighting = 1<<63, &Placement{Host: "b", Incarnation: 7}, &Sighting{Host: "b", Generation: 9}
	vm.Failures, vm.Waiting, vm.WaitingSince = []Failure{{Host: "x"}}, "forged", day
	r.must(&Protect{Meta: r.meta(), Epoch: 1, VM: vm, Running: true, Host: "a", Incarnation: 1})
	got := r.state().VMs[vm.UUID]
	if got.Generation != 1 || got.Owner != nil || got.Sighting.Host != "a" || got.Failures != nil || got.Waiting != "" || !got.WaitingSince.IsZero() {
		t.Errorf("VM %+v, owner %+v: its standing came from the command", got, got.Owner)
	}
}
