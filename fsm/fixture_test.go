package fsm

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"testing"
	"time"
)

// day is when everything in these tests happens; step i of a rig is i seconds later.
var day = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// uuid numbers machines and VMs.
func uuid(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012x", n) }

// secret is the hash of a token's secret, as the state holds it.
func secret(s string) []byte {
	h := sha256.Sum256([]byte(s))
	return h[:]
}

func testHost(name string, n int) Host {
	return Host{Name: name, ID: uuid(0xa000 + n), Addresses: []Address{
		{Network: "mgmt", Addr: fmt.Sprintf("10.0.0.%d:7300", n)},
		{Network: "storage", Addr: fmt.Sprintf("10.0.1.%d:7300", n)},
	}}
}

func testVM(n int, intent Intent) VM {
	return VM{UUID: uuid(n), Name: fmt.Sprintf("vm%d", n), XML: []byte("definition"), XMLHash: fmt.Sprintf("hash%d", n), VCPUs: 2, Memory: 1 << 30, Intent: intent}
}

// rig applies commands to one machine and keeps the log.
type rig struct {
	testing.TB
	m   *Machine
	log [][]byte
}

func newRig(t testing.TB) *rig {
	t.Helper()
	return &rig{TB: t, m: New()}
}

func (r *rig) state() *State {
	s, _, _ := r.m.View()
	return s
}

// meta stamps the next command.
func (r *rig) meta() Meta {
	return Meta{At: day.Add(time.Duration(len(r.log)+1) * time.Second), By: "ann"}
}

func (r *rig) raw(b []byte) Result {
	r.Helper()
	r.log = append(r.log, b)
	return r.m.Apply(uint64(len(r.log)), b).(Result)
}

// do applies a command, whatever becomes of it.
func (r *rig) do(c Command) Result {
	r.Helper()
	b, err := Encode(c)
	if err != nil {
		r.Fatalf("encode %T: %v", c, err)
	}
	return r.raw(b)
}

// must applies a command that has to be accepted.
func (r *rig) must(c Command) any {
	r.Helper()
	res := r.do(c)
	if res.Refusal != nil {
		r.Fatalf("%T refused (%s): %s", c, res.Refusal.Code, res.Refusal.Message)
	}
	return res.Value
}

func (r *rig) addHost(name string, n int) {
	r.Helper()
	id := "t" + name
	r.must(&CreateToken{Meta: r.meta(), Token: Token{ID: id, Hash: secret(id), Created: day, Expires: day.Add(time.Hour), By: "ann"}})
	r.must(&AddHost{Meta: r.meta(), TokenID: id, SecretHash: secret(id), Host: testHost(name, n)})
}

// begin gives the host its next incarnation.
func (r *rig) begin(name string) uint64 {
	r.Helper()
	s := r.state()
	return r.must(&BeginIncarnation{Meta: r.meta(), Epoch: s.Office.Epoch, Host: name, Previous: s.Hosts[name].Incarnation, BootID: "boot", Why: "first start"}).(uint64)
}

// run protects a VM that runs on the host, and has the host confirm it.
func (r *rig) run(n int, host string, incarnation uint64) {
	r.Helper()
	r.must(&Protect{Meta: r.meta(), Epoch: 1, VM: testVM(n, IntentRun), Running: true, Host: host, Incarnation: incarnation})
	r.must(&Report{Meta: r.meta(), Epoch: 1, UUID: uuid(n), Host: host, Incarnation: incarnation, Generation: r.state().VMs[uuid(n)].Generation, Outcome: OutcomeRunning})
}

// newCluster is the state that the table tests start from:
// epoch 1, master a; a and b live, c joining, d dead, each in its first incarnation;
// vm1 runs on b, vm2 waits, vm3 is stopped by a person, vm4 is ordered on a, vm5 was unprotected while b ran it,
// vm6 was seen running on a, which has not confirmed it, vm7 was unprotected when nobody ran it;
// tokens: free, past (expired), named (for host x), ta…td (used).
func newCluster(t testing.TB) *rig {
	t.Helper()
	r := newRig(t)
	r.must(&CreateCluster{Meta: r.meta(), Cluster: Cluster{ID: uuid(1), Name: "prod", Created: day, CACert: []byte("cert"), CAKey: []byte("sealed")},
		Host: testHost("a", 1), Policy: map[string][]byte{"cluster.hcl": []byte("timing {}")}})
	r.must(&TakeOffice{Meta: r.meta(), Master: "a", Epoch: 1})
	r.begin("a")
	for i, name := range []string{"b", "c", "d"} {
		r.addHost(name, i+2)
	}
	r.begin("b")
	r.begin("d")
	r.must(&DeclareDead{Meta: r.meta(), Epoch: 1, Host: "d", Incarnation: 1, Text: "d is dead"})
	r.run(1, "b", 1)
	r.must(&Protect{Meta: r.meta(), Epoch: 1, VM: testVM(2, IntentRun), Host: "b", Incarnation: 1})
	r.must(&Protect{Meta: r.meta(), Epoch: 1, VM: testVM(3, IntentStop), Host: "b", Incarnation: 1})
	r.must(&Protect{Meta: r.meta(), Epoch: 1, VM: testVM(4, IntentRun), Host: "a", Incarnation: 1})
	r.must(&Assign{Meta: r.meta(), Epoch: 1, UUID: uuid(4), Previous: 0, Host: "a", Incarnation: 1, Why: "most free memory"})
	r.run(5, "b", 1)
	r.must(&Unprotect{Meta: r.meta(), UUID: uuid(5)})
	r.must(&Protect{Meta: r.meta(), Epoch: 1, VM: testVM(6, IntentStop), Running: true, Host: "a", Incarnation: 1})
	r.must(&Protect{Meta: r.meta(), Epoch: 1, VM: testVM(7, IntentStop), Host: "b", Incarnation: 1})
	r.must(&Unprotect{Meta: r.meta(), UUID: uuid(7)})
	for _, tok := range []Token{
		{ID: "free", Expires: day.Add(time.Hour)},
		{ID: "past", Expires: day.Add(time.Minute)},
		{ID: "named", Host: "x", Expires: day.Add(time.Hour)},
	} {
		tok.Hash, tok.Created, tok.By = secret(tok.ID), day, "ann"
		r.must(&CreateToken{Meta: r.meta(), Token: tok})
	}
	return r
}

// text is the state as a snapshot holds it; equal texts are equal states.
func text(t testing.TB, s *State) string {
	t.Helper()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetIndent("", " ")
	if err := enc.Encode(s); err != nil {
		t.Fatalf("encode state: %v", err)
	}
	return b.String()
}

func snapshot(t testing.TB, m *Machine) []byte {
	t.Helper()
	write, err := m.Snapshot()
	if err != nil {
		t.Fatalf("snapshot: %v", err)
	}
	var b bytes.Buffer
	if err := write(&b); err != nil {
		t.Fatalf("write snapshot: %v", err)
	}
	return b.Bytes()
}

func mustJSON(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatalf("marshal %T: %v", v, err)
	}
	return b
}
