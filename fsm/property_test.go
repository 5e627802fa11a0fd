package fsm

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// Whatever is in the log, by whomever: what docs/safety.md promises of the state
// holds after each entry. The rules are kept by the ledger, which looks at the
// commands that were accepted and knows nothing of how Apply decides.
//
// Tried, each seen to fail here: placeable without the check of Owner, of
// Sighting, of the generation, and of the host's incarnation or status; Report
// without the check of host, incarnation or generation, also where it confirms a
// sighting; DeclareDead and BeginIncarnation without release; BeginIncarnation
// and TakeOffice without compare-and-set; inEpoch that accepts all; Assign that
// keeps the generation; RemoveHost of an owner, or of a host with a sighting;
// retired incarnations and generations not kept; Unprotect that forgets who ran
// or was seen to run the VM, Protect that does not ask; editVM and editHost
// without copies of host, VM and Owner; each write… without the copy of its map;
// a snapshot without Loose. What a ring of thousands of events can get wrong is
// in TestEventRing, what Decode and Restore have to refuse in their own tests.
func TestProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, twin, returned := New(), New(), New()
		led := newLedger()
		type view struct {
			s    *State
			text []byte
			at   int
		}
		var views []view
		prev := compact(t, &State{})
		var start []Command
		if rapid.IntRange(0, 4).Draw(t, "from nothing") > 0 {
			start = threeHosts()
		}
		steps := len(start) + rapid.IntRange(20, 120).Draw(t, "steps")
		for i := 1; i <= steps; i++ {
			old, _, _ := m.View()
			var entry []byte
			if i <= len(start) {
				entry = encode(t, start[i-1])
			} else {
				entry = drawEntry(t, drawCommand(t, old, i))
			}
			res := m.Apply(uint64(i), entry).(Result)
			if other := twin.Apply(uint64(i), entry).(Result); string(compact(t, res)) != string(compact(t, other)) {
				t.Fatalf("two machines answered differently:\n%s\n%s", compact(t, res), compact(t, other))
			}
			returned.Apply(uint64(i), entry)
			s, index, _ := m.View()
			if index != uint64(i) {
				t.Fatalf("index %d after entry %d", index, i)
			}
			now := compact(t, s)
			if res.Refusal != nil {
				if s != old || !bytes.Equal(prev, now) {
					t.Fatalf("refused (%s), but the state changed:\n%s", res.Refusal.Message, cmp.Diff(string(prev), string(now)))
				}
			} else {
				accepted, err := Decode(entry)
				if err != nil {
					t.Fatalf("accepted what cannot be decoded: %v", err)
				}
				var office struct{ Epoch *uint64 }
				if err := json.Unmarshal(encode(t, accepted)[2:], &office); err != nil {
					t.Fatalf("entry %d: %v", i, err)
				}
				if _, takes := accepted.(*TakeOffice); office.Epoch != nil && !takes && *office.Epoch != old.Office.Epoch {
					t.Fatalf("entry %d, %s: decided in epoch %d, accepted in epoch %d", i, entry, *office.Epoch, old.Office.Epoch)
				}
				if err := led.accepted(accepted, old); err != nil {
					t.Fatalf("entry %d, %s: %v", i, entry, err)
				}
			}
			if err := led.check(s); err != nil {
				t.Fatalf("after entry %d, %s: %v", i, entry, err)
			}
			prev = now
			if rapid.IntRange(0, 9).Draw(t, "look") == 0 {
				views = append(views, view{s, now, i})
			}
			if rapid.IntRange(0, 9).Draw(t, "return") == 0 {
				var b bytes.Buffer
				write, err := returned.Snapshot()
				if err == nil {
					err = write(&b)
				}
				returned = New()
				if err == nil {
					err = returned.Restore(&b)
				}
				if err != nil {
					t.Fatalf("a snapshot after entry %d: %v", i, err)
				}
			}
		}
		last, index, _ := m.View()
		for name, other := range map[string]*Machine{"the twin": twin, "the one that came back from snapshots": returned} {
			s, i, _ := other.View()
			if a, b := string(compact(t, last)), string(compact(t, s)); a != b || i != index {
				t.Fatalf("%s is at index %d, not %d, or in another state:\n%s", name, i, index, cmp.Diff(a, b))
			}
		}
		for _, v := range views {
			if now := compact(t, v.s); !bytes.Equal(v.text, now) {
				t.Fatalf("the view taken after entry %d changed later:\n%s", v.at, cmp.Diff(string(v.text), string(now)))
			}
		}
	})
}

func compact(t interface{ Fatalf(string, ...any) }, v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatalf("marshal %T: %v", v, err)
	}
	return b
}

// holder is who may run a VM. Incarnation 0: that host, in whichever life, since
// it runs it without guarding it.
type holder struct {
	host        string
	incarnation uint64
}

// ledger is what the accepted commands say about who may run what.
type ledger struct {
	holds       map[string]holder            // by UUID, also of VMs that are not protected any more
	placed      map[string]map[uint64]holder // by UUID and generation: who was ever given it
	generation  map[string]uint64            // highest ever, by UUID
	incarnation map[string]uint64            // highest ever, by host name
	over        map[holder]bool              // lives that have ended
	epoch       uint64
	event       uint64
	slots       map[uint16]string  // slot → machine and join moment
	proves      map[proof]uint64   // revision of the volumes
	words       map[proof]Watchdog // what it says of its watchdog
}

// proof is who proves by volumes.
type proof struct {
	machine     string
	incarnation uint64
}

func newLedger() *ledger {
	return &ledger{holds: map[string]holder{}, placed: map[string]map[uint64]holder{}, generation: map[string]uint64{},
		incarnation: map[string]uint64{}, over: map[holder]bool{}, slots: map[uint16]string{}, proves: map[proof]uint64{}, words: map[proof]Watchdog{}}
}

// accepted notes what a command that was carried out on old ends.
func (l *ledger) accepted(c Command, old *State) error {
	end := func(h holder) {
		l.over[h] = true
		for uuid, by := range l.holds {
			if by == h {
				delete(l.holds, uuid)
			}
		}
	}
	switch c := c.(type) {
	case *DeclareDead:
		end(holder{c.Host, c.Incarnation})
	case *BeginIncarnation:
		end(holder{c.Host, c.Previous})
	case *ConfirmOff: // somebody vouches that nothing runs there
		end(holder{c.Host, c.Incarnation})
		end(holder{c.Host, 0})
	case *RemoveHost: // a person says that nothing of it is left
		end(holder{c.Host, old.Hosts[c.Host].Incarnation})
		end(holder{c.Host, 0})
	case *Report:
		by := l.holds[c.UUID]
		if c.Outcome != OutcomeRunning && c.Outcome != OutcomeMoveFailed && by.host == c.Host && (by.incarnation == 0 || by.incarnation == c.Incarnation) && c.Generation == old.VMs[c.UUID].Generation {
			delete(l.holds, c.UUID)
		}
	case *Protect:
		if _, held := l.holds[c.VM.UUID]; c.Running && !held {
			l.holds[c.VM.UUID] = holder{host: c.Host}
		}
	case *Adopt:
		if g := old.VMs[c.UUID].Generation; g != c.Previous {
			return fmt.Errorf("adopted after generation %d, which %s was at, not %d", g, c.UUID, c.Previous)
		}
		if _, held := l.holds[c.UUID]; !held {
			l.holds[c.UUID] = holder{host: c.Host}
		}
	case *Assign:
		if g := old.VMs[c.UUID].Generation; g != c.Previous {
			return fmt.Errorf("placed after generation %d, which %s was at, not %d", g, c.UUID, c.Previous)
		}
	case *Unprotect: // from now on its host does not stop it when the lease ends
		if by, held := l.holds[c.UUID]; held {
			l.holds[c.UUID] = holder{host: by.host}
		}
	}
	return nil
}

// check holds the state against everything noted so far.
func (l *ledger) check(s *State) error {
	if s.Office.Epoch < l.epoch || s.Office.Epoch > l.epoch+1 {
		return fmt.Errorf("epoch went from %d to %d", l.epoch, s.Office.Epoch)
	}
	l.epoch = s.Office.Epoch
	for name, h := range s.Hosts {
		if h.Incarnation < l.incarnation[name] {
			return fmt.Errorf("%s went from incarnation %d back to %d", name, l.incarnation[name], h.Incarnation)
		}
		l.incarnation[name] = h.Incarnation
		if h.Status == HostLive && (h.Incarnation == 0 || l.over[holder{name, h.Incarnation}]) {
			return fmt.Errorf("%s lives in incarnation %d, which is over", name, h.Incarnation)
		}
		if h.Status == HostLive && h.Volumes != s.Volumes.Revision && h.Volumes+1 != s.Volumes.Revision {
			return fmt.Errorf("%s may prove with revision %d of the volumes, the newest is %d: two sets at most are in use", name, h.Volumes, s.Volumes.Revision)
		}
		machine := name + h.Joined.String()
		now := proof{machine, h.Incarnation}
		if h.Volumes < l.proves[now] {
			return fmt.Errorf("%s went back from revision %d of the volumes to %d", name, l.proves[now], h.Volumes)
		}
		l.proves[now] = h.Volumes
		if w := h.Watchdog; w.Word < l.words[now].Word || w.Word == l.words[now].Word && w != l.words[now] {
			return fmt.Errorf("what %s says of its watchdog went from %+v to %+v", name, l.words[now], w)
		}
		l.words[now] = h.Watchdog
		if was, ok := l.slots[h.Slot]; ok && was != machine {
			return fmt.Errorf("slot %d of %s was given to %s", h.Slot, was, machine)
		}
		l.slots[h.Slot] = machine
	}
	names, handed := map[string]string{}, map[string]string{}
	for uuid, vm := range s.VMs {
		var has []string
		if o := vm.Owner; o != nil {
			for _, w := range o.Devices {
				has = append(has, o.Host+" "+w)
			}
		}
		if v := vm.Move; v != nil {
			for _, w := range v.Devices {
				has = append(has, v.Host+" "+w)
			}
		}
		for _, device := range has {
			if other := handed[device]; other != "" {
				return fmt.Errorf("%s was chosen for both %s and %s", device, other, vm.Name)
			}
			handed[device] = vm.Name
		}
		if other, twice := names[vm.Name]; twice {
			return fmt.Errorf("%s and %s are both named %s", other, uuid, vm.Name)
		}
		names[vm.Name] = uuid
		if err := l.checkVM(s, vm); err != nil {
			return fmt.Errorf("%s: %w", vm.Name, err)
		}
	}
	return l.checkEvents(s)
}

func (l *ledger) checkVM(s *State, vm *VM) error {
	if vm.Generation < l.generation[vm.UUID] {
		return fmt.Errorf("it went from generation %d back to %d", l.generation[vm.UUID], vm.Generation)
	}
	l.generation[vm.UUID] = vm.Generation
	if len(vm.Failures) > failuresKept {
		return fmt.Errorf("%d failures are kept", len(vm.Failures))
	}
	if v := vm.Move; v != nil {
		switch h := s.Hosts[v.Host]; {
		case vm.Owner == nil || vm.Owner.Phase != PhaseRunning || vm.Intent != IntentRun || vm.Owner.Host == v.Host:
			return fmt.Errorf("it is on its way to %s, but its owner is %+v and it shall %s", v.Host, vm.Owner, vm.Intent)
		case h == nil || h.Status != HostLive || h.Incarnation != v.Incarnation || h.Maintenance != nil:
			return fmt.Errorf("it is on its way to incarnation %d of %+v", v.Incarnation, h)
		}
	}
	if vm.Restart != nil && (vm.Owner == nil || vm.Owner.Phase != PhaseRunning || vm.Intent != IntentRun || vm.Move != nil) {
		return fmt.Errorf("it is being restarted, but its owner is %+v, its move %+v and it shall %s", vm.Owner, vm.Move, vm.Intent)
	}
	by, held := l.holds[vm.UUID]
	if vm.Sighting != nil && (!held || by.host != vm.Sighting.Host) {
		return fmt.Errorf("it is sighted on %s, but %+v holds it", vm.Sighting.Host, by)
	}
	o := vm.Owner
	if o == nil {
		if held && vm.Sighting == nil {
			return fmt.Errorf("nobody owns it, although %+v has neither died nor released it", by)
		}
		return nil
	}
	me := holder{o.Host, o.Incarnation}
	h := s.Hosts[o.Host]
	switch {
	case h == nil || h.Status != HostLive || h.Incarnation != o.Incarnation || l.over[me]:
		return fmt.Errorf("its owner %+v is not a live incarnation (host %+v)", me, h)
	case o.Generation != vm.Generation:
		return fmt.Errorf("it is at generation %d, its owner at %d", vm.Generation, o.Generation)
	case vm.Sighting != nil:
		return fmt.Errorf("it is owned by %+v and sighted on %s", me, vm.Sighting.Host)
	case held && by != me && by != holder{host: o.Host}:
		return fmt.Errorf("it was given to %+v, although %+v has neither died nor released it", me, by)
	}
	if l.placed[vm.UUID] == nil {
		l.placed[vm.UUID] = map[uint64]holder{}
	}
	if first, given := l.placed[vm.UUID][o.Generation]; given && first != me {
		return fmt.Errorf("generation %d was given to %+v and to %+v", o.Generation, first, me)
	}
	l.placed[vm.UUID][o.Generation] = me
	l.holds[vm.UUID] = me
	return nil
}

func (l *ledger) checkEvents(s *State) error {
	if len(s.Events) > EventsKept || s.LastEvent < l.event {
		return fmt.Errorf("%d events, the last of them %d after %d", len(s.Events), s.LastEvent, l.event)
	}
	l.event = s.LastEvent
	for i, e := range s.Events {
		if e.ID != s.LastEvent-uint64(len(s.Events)-1-i) || e.Cause >= e.ID {
			return fmt.Errorf("event %d of %d is %+v, the last is %d", i, len(s.Events), e, s.LastEvent)
		}
	}
	return nil
}

// threeHosts is how most clusters begin: three live members and a protected VM on each.
func threeHosts() []Command {
	m := Meta{At: day, By: "ann"}
	all := []Command{
		&CreateCluster{Meta: m, Cluster: Cluster{ID: uuid(1), Name: "prod"}, Host: testHost("h0", 1)},
		&TakeOffice{Meta: m, Master: "h0", Epoch: 1},
	}
	for i, name := range []string{"h0", "h1", "h2"} {
		if i > 0 {
			all = append(all, &CreateToken{Meta: m, Token: Token{ID: name, Hash: secret(name), Expires: day.Add(time.Hour)}},
				&AddHost{Meta: m, TokenID: name, SecretHash: secret(name), Host: testHost(name, i+1)})
		}
		all = append(all, &BeginIncarnation{Meta: m, Epoch: 1, Host: name, Why: "first start"},
			&Protect{Meta: m, Epoch: 1, VM: testVM(i+1, IntentRun), Running: true, Host: name, Incarnation: 1},
			&Report{Meta: m, Epoch: 1, UUID: uuid(i + 1), Host: name, Incarnation: 1, Generation: 1, Outcome: OutcomeRunning})
	}
	return all
}

// drawCommand makes a command that is lawful in s as often as not.
func drawCommand(t *rapid.T, s *State, step int) Command {
	m := Meta{At: day.Add(time.Duration(step) * time.Second), By: "ann"}
	if s.Cluster.ID == "" && rapid.IntRange(0, 9).Draw(t, "first") > 0 {
		return &CreateCluster{Meta: m, Cluster: Cluster{ID: uuid(1), Name: "prod"}, Host: testHost("h0", 1), Policy: map[string][]byte{"a": []byte("b")}}
	}
	wild := func() bool { return rapid.IntRange(0, 9).Draw(t, "wild") == 0 }
	small := func() uint64 { return rapid.Uint64Range(0, 4).Draw(t, "number") }
	hosts := []string{"h0", "h1", "h2"}
	host := rapid.SampledFrom(hosts).Draw(t, "host")
	n := rapid.IntRange(1, 3).Draw(t, "vm")
	epoch, incarnation, generation := s.Office.Epoch, uint64(1), uint64(0)
	if h := s.Hosts[host]; h != nil {
		incarnation = h.Incarnation
	}
	vm := s.VMs[uuid(n)]
	if vm != nil {
		generation = vm.Generation
	}
	// A proposer that lags, or lies, names other numbers.
	for _, x := range []*uint64{&epoch, &incarnation, &generation} {
		if wild() {
			*x = small()
		}
	}
	life := max(incarnation, 1)
	if wild() {
		life = rapid.Uint64Range(1, 4).Draw(t, "life")
	}
	definition := testVM(n, rapid.SampledFrom([]Intent{IntentRun, IntentStop}).Draw(t, "intent"))
	if wild() {
		definition.Name = "vm2"
	}
	handed := func(label string) []string {
		return []string{rapid.SampledFrom([]string{"pci:0000:01:00.0", "pci:0000:02:00.0"}).Draw(t, label)}
	}
	var chosen []string
	if rapid.Bool().Draw(t, "with devices") {
		definition.Devices = handed("its device")
	}
	if vm != nil && vm.Devices != nil {
		chosen = handed("chosen")
	}
	token := fmt.Sprintf("t%d", rapid.IntRange(1, 4).Draw(t, "token"))
	switch rapid.SampledFrom(weighted).Draw(t, "type") {
	case TypeTakeOffice:
		return &TakeOffice{Meta: m, Master: host, Epoch: epoch + 1}
	case TypeCreateToken:
		return &CreateToken{Meta: m, Token: Token{ID: token, Hash: secret(token), Expires: m.At.Add(time.Minute)}}
	case TypeRevokeToken:
		return &RevokeToken{Meta: m, ID: token}
	case TypeAddHost:
		for _, name := range hosts { // most often one that is not a member
			if s.Hosts[name] == nil && !wild() {
				host = name
				break
			}
		}
		return &AddHost{Meta: m, TokenID: token, SecretHash: secret(token), Host: testHost(host, slices.Index(hosts, host)+1)}
	case TypeRemoveHost:
		return &RemoveHost{Meta: m, Host: host}
	case TypeUpdateHost:
		return &UpdateHost{Meta: m, Host: host, Addresses: testHost("x", rapid.IntRange(1, 9).Draw(t, "address")).Addresses}
	case TypeBeginIncarnation:
		return &BeginIncarnation{Meta: m, Epoch: epoch, Host: host, Previous: incarnation, BootID: "boot", Why: "rebooted"}
	case TypeSetVerdict:
		return &SetVerdict{Meta: m, Epoch: epoch, Host: host, Incarnation: life, Verdict: rapid.SampledFrom([]string{"live", "suspect"}).Draw(t, "verdict"),
			Evidence: []Evidence{{Signal: "x", Age: time.Duration(step)}}}
	case TypeDeclareDead:
		return &DeclareDead{Meta: m, Epoch: epoch, Host: host, Incarnation: life}
	case TypeConfirmOff:
		return &ConfirmOff{Meta: m, Epoch: epoch, Host: host, Incarnation: life}
	case TypeSetVolumes:
		revision := s.Volumes.Revision
		if wild() {
			revision = small()
		}
		return &SetVolumes{Meta: m, Epoch: epoch, Previous: revision, Volumes: []Volume{{Name: "hb", Path: "/hb", ID: uuid(rapid.IntRange(1, 9).Draw(t, "volume"))}}}
	case TypeBeginMove:
		if vm != nil && vm.Owner != nil && host == vm.Owner.Host && !wild() { // most often to another host
			host = hosts[(slices.Index(hosts, host)+1)%len(hosts)]
			if h := s.Hosts[host]; h != nil {
				life = max(h.Incarnation, 1)
			}
		}
		cold := rapid.Bool().Draw(t, "cold")
		if !cold {
			chosen = nil
		}
		return &BeginMove{Meta: m, Epoch: epoch, UUID: uuid(n), Previous: generation, Host: host, Incarnation: life, Cold: cold, Devices: chosen}
	case TypeEndMove:
		return &EndMove{Meta: m, Epoch: epoch, UUID: uuid(n), Move: drawMove(t, vm)}
	case TypeSetMaintenance:
		return &SetMaintenance{Meta: m, Host: host, On: rapid.IntRange(0, 3).Draw(t, "on") == 0}
	case TypeRetryVM:
		return &RetryVM{Meta: m, UUID: uuid(n)}
	case TypeRestartVM:
		return &RestartVM{Meta: m, UUID: uuid(n), Previous: generation}
	case TypeStandAside:
		return &StandAside{Meta: m, Epoch: epoch, Host: host, Why: "older"}
	case TypeDisarmCluster:
		return &DisarmCluster{Meta: m, For: DisarmLeast, Why: "new switches"}
	case TypeArmCluster:
		c := &ArmCluster{Meta: m}
		if s.Disarmed != nil && rapid.Bool().Draw(t, "over") {
			c.Over, c.Epoch = s.Disarmed.ID, epoch
		}
		return c
	case TypeWarnArms:
		c := &WarnArms{Meta: m, Epoch: epoch, Disarm: 1}
		if s.Disarmed != nil {
			c.Disarm = s.Disarmed.ID
		}
		return c
	case TypeHoldHost:
		return &HoldHost{Meta: m, Epoch: epoch, Host: host, Off: rapid.Bool().Draw(t, "off")}
	case TypeNoteWatchdog:
		return &NoteWatchdog{Meta: m, Epoch: epoch, Host: host, Incarnation: life,
			Watchdog: Watchdog{Word: rapid.Uint64Range(1, 5).Draw(t, "word"), Timeout: time.Duration(rapid.IntRange(0, 1).Draw(t, "watchdog")) * time.Second}}
	case TypeNoteVolumes:
		revision := s.Volumes.Revision
		if wild() {
			revision = small()
		}
		return &NoteVolumes{Meta: m, Epoch: epoch, Host: host, Incarnation: life, Revision: revision}
	case TypeProtect:
		return &Protect{Meta: m, Epoch: epoch, VM: definition, Running: rapid.Bool().Draw(t, "running"), Host: host, Incarnation: life}
	case TypeUnprotect:
		return &Unprotect{Meta: m, UUID: uuid(n)}
	case TypeRedefine:
		return &Redefine{Meta: m, Epoch: epoch, UUID: uuid(n), Name: definition.Name, XML: []byte("new"), XMLHash: fmt.Sprint(small()), Host: host, Devices: definition.Devices}
	case TypeAssign:
		return &Assign{Meta: m, Epoch: epoch, UUID: uuid(n), Previous: generation, Host: host, Incarnation: life, Devices: chosen, Why: "free"}
	case TypeReport:
		if vm != nil && !wild() { // most often by the one whose word counts
			switch {
			case vm.Owner != nil:
				host, life = vm.Owner.Host, vm.Owner.Incarnation
			case vm.Sighting != nil && s.Hosts[vm.Sighting.Host] != nil:
				host = vm.Sighting.Host
				life = max(s.Hosts[host].Incarnation, 1)
			}
		}
		r := &Report{Meta: m, Epoch: epoch, UUID: uuid(n), Host: host, Incarnation: life, Generation: generation, Detail: "as seen",
			Outcome: rapid.SampledFrom([]Outcome{OutcomeRunning, OutcomeRunning, OutcomeRunning, OutcomeStopped, OutcomeCrashed, OutcomeStartFailed, OutcomeReleased, OutcomeMoved, OutcomeMoved, OutcomeMoveFailed}).Draw(t, "outcome")}
		if r.Outcome == OutcomeMoved || r.Outcome == OutcomeMoveFailed {
			r.Move = drawMove(t, vm)
		}
		return r
	case TypeSetIntent:
		return &SetIntent{Meta: m, UUID: uuid(n), Intent: definition.Intent}
	case TypeApplyPolicy:
		return &ApplyPolicy{Meta: m, Previous: small(), Files: map[string][]byte{"a": {byte(step)}}}
	case TypeRecord:
		return &Record{Meta: m, Epoch: epoch, Events: make([]Event, 1+small())}
	case TypeSetWaiting:
		return &SetWaiting{Meta: m, Epoch: epoch, UUID: uuid(n), Why: fmt.Sprint(small())}
	case TypeAdopt:
		return &Adopt{Meta: m, Epoch: epoch, UUID: uuid(n), Previous: generation, Host: host, Incarnation: life}
	default:
		return &CreateCluster{Meta: m, Cluster: Cluster{ID: uuid(2), Name: "other"}, Host: testHost(host, 9)}
	}
}

// drawMove is the VM's move, most often.
func drawMove(t *rapid.T, vm *VM) uint64 {
	if vm == nil || vm.Move == nil || rapid.IntRange(0, 9).Draw(t, "other move") == 0 {
		return rapid.Uint64Range(1, 9).Draw(t, "move")
	}
	return vm.Move.ID
}

// weighted are the types to draw from, those that move VMs more often.
var weighted = func() []Type {
	var all []Type
	for n := range 256 {
		if blank(Type(n)) != nil {
			all = append(all, Type(n))
		}
	}
	for range 3 {
		all = append(all, TypeAssign, TypeReport, TypeProtect, TypeBeginIncarnation, TypeCreateToken, TypeAddHost)
	}
	return append(all, TypeBeginMove, TypeBeginMove, TypeBeginMove, TypeRestartVM, TypeAssign, TypeReport, TypeReport, TypeDeclareDead, TypeUnprotect)
}()

// encode does what Encode does, but does not look at what it encodes.
func encode(t interface{ Fatalf(string, ...any) }, c Command) []byte {
	return append([]byte{commandVersion, byte(c.kind())}, compact(t, c)...)
}

// drawEntry encodes the command, one time in ten damaged.
func drawEntry(t *rapid.T, c Command) []byte {
	if r, ok := c.(*Record); ok {
		for i := range r.Events {
			r.Events[i].Type = "tick"
		}
	}
	entry := encode(t, c)
	switch rapid.IntRange(0, 39).Draw(t, "damage") {
	case 0:
		return entry[:rapid.IntRange(0, len(entry)-1).Draw(t, "cut")]
	case 1:
		entry[rapid.IntRange(0, len(entry)-1).Draw(t, "where")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
	case 2:
		return rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "garbage")
	case 3:
		entry[1] = rapid.Byte().Draw(t, "other type")
	}
	return entry
}
