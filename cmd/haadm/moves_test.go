package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/api/apitest"
	"github.com/holdfast-ha/holdfast/fsm"
)

// vmOf is the UUID of a protected VM of the examples.
func vmOf(t *testing.T, b *apitest.Backend, name string) string {
	t.Helper()
	vm := b.State().FindVM(name)
	if vm == nil {
		t.Fatalf("there is no VM %s", name)
	}
	return vm.UUID
}

// when runs do once the backend's state is as it should be first, or fails the test.
func when(t *testing.T, b *apitest.Backend, is func(*fsm.State) bool, do func()) (done <-chan struct{}) {
	t.Helper()
	end := make(chan struct{})
	go func() {
		defer close(end)
		for {
			changed := b.Changed()
			if is(b.State()) {
				do()
				return
			}
			select {
			case <-changed:
			case <-time.After(20 * time.Second):
				t.Error("the state did not become what it should be first")
				return
			}
		}
	}()
	return end
}

// leaves has the owner of a VM on its way report it gone, and its target report it running.
func leaves(t *testing.T, b *apitest.Backend, uuid string) {
	t.Helper()
	vm := b.State().VMs[uuid]
	report := func(host string, generation, move uint64, outcome fsm.Outcome, detail string) {
		if err := b.Commit(&fsm.Report{Meta: fsm.Meta{At: apitest.Now}, Epoch: b.State().Office.Epoch, UUID: uuid, Host: host, Incarnation: 1, Generation: generation, Outcome: outcome, Move: move, Detail: detail}); err != nil {
			t.Error(err)
		}
	}
	report(vm.Owner.Host, vm.Generation, vm.Move.ID, fsm.OutcomeMoved, "")
	report(vm.Move.Host, vm.Generation+1, 0, fsm.OutcomeRunning, "it stood still for 41 ms")
}

func TestMigrateWaitsUntilItIsThere(t *testing.T) {
	b := apitest.Healthy()
	uuid := vmOf(t, b, "db1")
	moved := when(t, b, func(s *fsm.State) bool { return s.VMs[uuid].Move != nil }, func() { leaves(t, b, uuid) })
	got := haadm(t, agent(t, b), nil, "vms", "migrate", "db1", "--to", "kvm3", "--yes", "--json")
	<-moved
	var a struct {
		Schema int
		VMs    []struct {
			VM, From, To, State, Text string
		}
	}
	if err := json.Unmarshal([]byte(got.out), &a); err != nil || got.code != exitOK || a.Schema != 1 || len(a.VMs) != 1 {
		t.Fatalf("exit %d (%v):\n%s%s", got.code, err, got.out, got.errOut)
	}
	if v := a.VMs[0]; v.VM != "db1" || v.From != "kvm1" || v.To != "kvm3" || v.State != "moved" || !strings.Contains(v.Text, "41 ms") {
		t.Errorf("it says %+v", v)
	}
	if !strings.Contains(got.errOut, "stood still for 41 ms") {
		t.Errorf("the measured pause is not shown while it waits:\n%s", got.errOut)
	}
}

func TestMigrateSaysThatAMoveFailed(t *testing.T) {
	b := apitest.Healthy()
	uuid := vmOf(t, b, "db1")
	failed := when(t, b, func(s *fsm.State) bool { return s.VMs[uuid].Move != nil }, func() {
		if err := b.Commit(&fsm.EndMove{Meta: fsm.Meta{At: apitest.Now}, Epoch: b.State().Office.Epoch, UUID: uuid, Move: b.State().VMs[uuid].Move.ID, Why: "kvm3's libvirt does not answer"}); err != nil {
			t.Error(err)
		}
	})
	got := haadm(t, agent(t, b), nil, "vms", "migrate", "db1", "--to", "kvm3", "--yes")
	<-failed
	if got.code != exitFailed || !strings.Contains(got.out, "failed") || !strings.Contains(got.out, "kvm3's libvirt does not answer") || !strings.Contains(got.errOut, "haadm explain vm db1") {
		t.Errorf("exit %d:\n%s%s", got.code, got.out, got.errOut)
	}
}

// The wait for an empty host ends when it is empty.
func TestMaintenanceWaitsUntilTheHostIsEmpty(t *testing.T) {
	b := apitest.Healthy()
	var gone []<-chan struct{}
	for _, name := range []string{"db1", "mail"} {
		uuid := vmOf(t, b, name)
		gone = append(gone, when(t, b, func(s *fsm.State) bool { return s.Hosts["kvm1"].Maintenance != nil }, func() {
			if err := b.Commit(&fsm.BeginMove{Meta: fsm.Meta{At: apitest.Now}, Epoch: b.State().Office.Epoch, UUID: uuid, Previous: 1, Host: "kvm2", Incarnation: 1, Why: "kvm1 is in maintenance"}); err != nil {
				t.Error(err)
			}
			leaves(t, b, uuid)
		}))
	}
	got := haadm(t, agent(t, b), nil, "maintenance", "enter", "kvm1", "--yes", "--why", "memory")
	for _, g := range gone {
		<-g
	}
	if got.code != exitOK || !strings.Contains(got.out, "kvm1 is in maintenance and empty") || !strings.Contains(got.errOut, "mail was moved from kvm1 to kvm2") {
		t.Errorf("exit %d:\n%s%s", got.code, got.out, got.errOut)
	}
	if m := b.State().Hosts["kvm1"].Maintenance; m == nil || m.Why != "memory" {
		t.Errorf("the state has %+v", m)
	}
	again := haadm(t, agent(t, b), nil, "maintenance", "enter", "kvm1")
	if again.code != exitOK || !strings.Contains(again.errOut, "already") {
		t.Errorf("asked again: exit %d:\n%s%s", again.code, again.out, again.errOut)
	}
}

// A VM that nothing moves ends the wait, with a status that says that the host is not empty.
func TestMaintenanceSaysWhatStays(t *testing.T) {
	b := apitest.Healthy()
	web := vmOf(t, b, "web-1")
	gone := when(t, b, func(s *fsm.State) bool { return s.Hosts["kvm3"].Maintenance != nil }, func() {
		if err := b.Commit(&fsm.BeginMove{Meta: fsm.Meta{At: apitest.Now}, Epoch: b.State().Office.Epoch, UUID: web, Previous: 1, Host: "kvm2", Incarnation: 1, Why: "kvm3 is in maintenance"}); err != nil {
			t.Error(err)
		}
		leaves(t, b, web)
	})
	got := haadm(t, agent(t, b), nil, "maintenance", "enter", "kvm3", "--yes")
	<-gone
	if got.code != exitFailed || !strings.Contains(got.out, "VMs left: 1") || !strings.Contains(got.out, "build: it is not protected") {
		t.Errorf("exit %d:\n%s%s", got.code, got.out, got.errOut)
	}
}

// Nobody takes out the last host that takes VMs, and admission control is overridden by name alone.
// While every move fails, a person who waits reads which VM it is, why, and when it is tried again: once.
func TestMaintenanceNamesWhatBlocks(t *testing.T) {
	b := apitest.Healthy()
	b.St.Hosts["kvm3"].Maintenance = &fsm.Maintenance{Since: apitest.Now.Add(-time.Minute)}
	b.St.VMs[vmOf(t, b, "web-1")].MoveFailures = []fsm.Failure{{Host: "kvm2", Generation: 1, At: apitest.Now.Add(-10 * time.Second), Detail: "the target's libvirt does not answer"}}
	got := haadm(t, agent(t, b), nil, "maintenance", "enter", "kvm3", "--timeout", "600ms")
	flat := strings.Join(strings.Fields(got.errOut), " ")
	const want = "! web-1 is there yet: its last move, to kvm2, came to nothing: the target's libvirt does not answer; the next try is at 10:00:20, 'haadm vms retry web-1' tries at once"
	if got.code != 1 || strings.Count(flat, want) != 1 || strings.Count(flat, "! build is there yet") != 1 {
		t.Errorf("exit %d, want once %q and once of build:\n%s", got.code, want, got.errOut)
	}
}

func TestMaintenanceIsRefused(t *testing.T) {
	lost := apitest.Healthy()
	for _, name := range []string{"kvm1", "kvm2"} {
		lost.St.Hosts[name].Maintenance = &fsm.Maintenance{Since: apitest.Now}
	}
	got := haadm(t, agent(t, lost), nil, "maintenance", "enter", "kvm3", "--yes", "--even-if-no-spare")
	if got.code != exitRefused || !strings.Contains(got.errOut, "last host that takes VMs: kvm1 is in maintenance; kvm2 is in maintenance") || len(lost.Did()) != 0 {
		t.Errorf("exit %d, did %q:\n%s%s", got.code, lost.Did(), got.out, got.errOut)
	}

	tight := apitest.Healthy()
	tight.St.Policy.Files["cluster.hcl"] = append(tight.St.Policy.Files["cluster.hcl"], "\nadmission_control {\n  mode = \"enforce\"\n  host_failures {\n    tolerate = 2\n  }\n}\n"...)
	got = haadm(t, agent(t, tight), nil, "maintenance", "enter", "kvm1", "--yes")
	if got.code != exitRefused || !strings.Contains(got.errOut, "--even-if-no-spare") || !strings.Contains(got.errOut, "not enough room for failures") || len(tight.Did()) != 0 {
		t.Errorf("exit %d, did %q:\n%s%s", got.code, tight.Did(), got.out, got.errOut)
	}
	got = haadm(t, agent(t, tight), nil, "maintenance", "enter", "kvm1", "--yes", "--even-if-no-spare", "--no-wait")
	if got.code != exitOK || tight.State().Hosts["kvm1"].Maintenance == nil || !strings.Contains(strings.Join(tight.Did(), " "), "even if no spare: true") {
		t.Errorf("exit %d, did %q:\n%s%s", got.code, tight.Did(), got.out, got.errOut)
	}
}

// A restart is one wish: it asks once, and waits until the VM runs in a later generation.
func TestRestartIsOneWish(t *testing.T) {
	b := apitest.Healthy()
	uuid := vmOf(t, b, "db1")
	say := func(outcome fsm.Outcome) {
		vm := b.State().VMs[uuid]
		if err := b.Commit(&fsm.Report{Meta: fsm.Meta{At: apitest.Now}, Epoch: b.State().Office.Epoch, UUID: uuid, Host: "kvm1", Incarnation: 1, Generation: vm.Generation, Outcome: outcome}); err != nil {
			t.Error(err)
		}
	}
	stopped := when(t, b, func(s *fsm.State) bool { return s.VMs[uuid].Restart != nil }, func() { say(fsm.OutcomeReleased) })
	started := when(t, b, func(s *fsm.State) bool { return s.VMs[uuid].Owner == nil }, func() {
		vm := b.State().VMs[uuid]
		if err := b.Commit(&fsm.Assign{Meta: fsm.Meta{At: apitest.Now}, Epoch: b.State().Office.Epoch, UUID: uuid, Previous: vm.Generation, Host: "kvm1", Incarnation: 1, Round: 1, Why: "its home"}); err != nil {
			t.Error(err)
		}
		say(fsm.OutcomeRunning)
	})
	got := haadm(t, agent(t, b), nil, "vms", "restart", "db1", "--yes")
	<-stopped
	<-started
	if got.code != exitOK || !strings.Contains(got.out, "db1 is running on kvm1") {
		t.Errorf("exit %d:\n%s%s", got.code, got.out, got.errOut)
	}
	if did := strings.Join(b.Did(), "; "); strings.Count(did, ";") != 0 || !strings.HasPrefix(did, "restart "+uuid) {
		t.Errorf("it asked for %q, want one restart", did)
	}
}

// Nobody has to wait; a stop in the middle ends the wait, and says that somebody wants it down.
func TestRestartWithoutWaiting(t *testing.T) {
	b := apitest.Healthy()
	socket := agent(t, b)
	uuid := vmOf(t, b, "db1")
	got := haadm(t, socket, nil, "vms", "restart", "db1", "--yes", "--no-wait", "--why", "new kernel", "--even-if-no-spare")
	if got.code != exitOK || !strings.Contains(got.out, "asked to shut down") || !strings.Contains(got.errOut, "haadm events --follow") {
		t.Errorf("exit %d:\n%s%s", got.code, got.out, got.errOut)
	}
	if did := strings.Join(b.Did(), "; "); !strings.Contains(did, "new kernel, even if no spare: true") {
		t.Errorf("it asked for %q", did)
	}
	shown := haadm(t, socket, nil, "vms", "show", "db1")
	explained := haadm(t, socket, nil, "explain", "vm", "db1")
	if !strings.Contains(shown.out, "restarting") || !strings.Contains(explained.out, "to be started again: new kernel") {
		t.Errorf("it is shown as\n%s\nand explained as\n%s", shown.out, explained.out)
	}
	stopped := when(t, b, func(s *fsm.State) bool { return len(b.Did()) > 1 }, func() {
		if err := b.Commit(&fsm.SetIntent{Meta: fsm.Meta{At: apitest.Now}, UUID: uuid, Intent: fsm.IntentStop}); err != nil {
			t.Error(err)
		}
	})
	again := haadm(t, socket, nil, "vms", "restart", "db1", "--yes")
	<-stopped
	if again.code != exitFailed || !strings.Contains(again.errOut, "already") || !strings.Contains(again.out, "somebody wants it to stop") {
		t.Errorf("asked again, and stopped by another: exit %d:\n%s%s", again.code, again.out, again.errOut)
	}
}

// The answers as JSON have what the tables show.
func TestMaintenanceAsJSON(t *testing.T) {
	socket := agent(t, apitest.Serviced())
	var l api.HostList
	if err := json.Unmarshal([]byte(haadm(t, socket, nil, "maintenance", "list", "--json").out), &l); err != nil {
		t.Fatal(err)
	}
	if len(l.Hosts) != 1 || l.Hosts[0].Maintenance == nil || *l.Hosts[0].Maintenance.Left != 2 || len(l.Hosts[0].Maintenance.Staying) != 1 || l.Schema != api.Schema {
		t.Errorf("the list is %+v", l)
	}
	var a api.MaintenanceAnswer
	got := haadm(t, socket, nil, "maintenance", "enter", "kvm3", "--no-wait", "--json")
	if err := json.Unmarshal([]byte(got.out), &a); err != nil || got.code != exitOK {
		t.Fatalf("exit %d, %v:\n%s%s", got.code, err, got.out, got.errOut)
	}
	if a.Empty || len(a.Running) != 2 || a.Running[0].Move == nil || a.Running[1].Blocked == "" || a.Back == nil {
		t.Errorf("the answer is %+v", a)
	}
}

// onText does something once, when a text is written.
type onText struct {
	strings.Builder
	text string
	do   func()
}

func (w *onText) Write(b []byte) (int, error) {
	n, err := w.Builder.Write(b)
	if w.do != nil && strings.Contains(w.String(), w.text) {
		w.do()
		w.do = nil
	}
	return n, err
}

// A guest that has shut down a moment before somebody wants it running is started, though the
// cluster learns of its end after the wish; what somebody else wants meanwhile stands.
func TestStartOfAGuestThatHasJustEnded(t *testing.T) {
	for _, tt := range []struct {
		name    string
		end     func(t *testing.T, b *apitest.Backend, uuid string)
		started bool
	}{
		{"its guest shut it down", func(t *testing.T, b *apitest.Backend, uuid string) {
			vm := b.State().VMs[uuid]
			if err := b.Commit(&fsm.Report{Meta: fsm.Meta{At: apitest.Now}, Epoch: b.State().Office.Epoch, UUID: uuid, Host: vm.Owner.Host, Incarnation: vm.Owner.Incarnation, Generation: vm.Generation, Outcome: fsm.OutcomeStopped, Detail: "shut down"}); err != nil {
				t.Error(err)
			}
		}, true},
		{"somebody else stopped it", func(t *testing.T, b *apitest.Backend, uuid string) {
			if err := b.Commit(&fsm.SetIntent{Meta: fsm.Meta{At: apitest.Now}, UUID: uuid, Intent: fsm.IntentStop, Why: "disk work"}); err != nil {
				t.Error(err)
			}
		}, false},
		{"it runs on", func(*testing.T, *apitest.Backend, string) {}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := apitest.Healthy()
			uuid := vmOf(t, b, "db1")
			before := len(b.Did())
			errOut := &onText{text: "db1 shall run already", do: func() { tt.end(t, b, uuid) }}
			p := &program{stdin: strings.NewReader(""), stdout: &strings.Builder{}, stderr: errOut, environ: []string{"HAADM_SOCKET=" + agent(t, b)}, now: func() time.Time { return apitest.Now }, zone: time.UTC}
			p.run(t.Context(), []string{"vms", "start", "db1", "--yes", "--timeout", "50ms"})
			if asked := len(b.Did()) > before; asked != tt.started || (b.State().VMs[uuid].Intent == fsm.IntentRun) != (tt.started || tt.name == "it runs on") {
				t.Errorf("asked for a start: %v, want %v; it shall %s\n%s", asked, tt.started, b.State().VMs[uuid].Intent, errOut.String())
			}
		})
	}
}
