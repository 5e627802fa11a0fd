package whatif

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-ha/holdfast/cluster/inventory"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
)

// brief is a plan of moves, one line each.
func brief(moves []Relocation, stay []Staying) []string {
	out := []string{}
	for _, m := range moves {
		how := ""
		if m.Cold {
			how = ", cold"
		}
		if m.Waits != "" {
			how += ", later"
		}
		out = append(out, fmt.Sprintf("%s to %s%s", m.VM, m.To, how))
	}
	for _, s := range stay {
		out = append(out, s.VM+" stays")
	}
	slices.Sort(out)
	return out
}

func TestServiceOfAHost(t *testing.T) {
	for _, tt := range []struct {
		name  string
		plan  func(*inventory.Builder, inventory.Input) (*Service, error)
		want  []string
		room  string
		last  string
		fails error
	}{
		{"taken out: what is not protected stays", func(b *inventory.Builder, in inventory.Input) (*Service, error) { return TakeOut(b, in, "b") }, []string{"disk to a", "other stays"}, "no", "", nil},
		{"taken out: what is large finds no host", func(b *inventory.Builder, in inventory.Input) (*Service, error) {
			for i := range in.Hosts {
				if in.Hosts[i].Name == "b" {
					in.Hosts[i].Memory = 16 * gib
				}
			}
			return TakeOut(b, in, "a")
		}, []string{"db stays", "lamp to b"}, "no", "", nil},
		{"the last one", func(b *inventory.Builder, in inventory.Input) (*Service, error) {
			for i := range in.Hosts {
				if in.Hosts[i].Name == "b" {
					in.Hosts[i].State = 2 // in maintenance
				}
			}
			return TakeOut(b, in, "a")
		}, []string{"db stays", "lamp stays"}, "no", "b is in maintenance; c is in maintenance", nil},
		{"out already: nothing is left", func(b *inventory.Builder, in inventory.Input) (*Service, error) { return TakeOut(b, in, "c") }, []string{}, "yes", "", nil},
		{"put back: nothing belongs there", func(b *inventory.Builder, in inventory.Input) (*Service, error) { return PutBack(b, in, "c") }, []string{}, "yes", "", nil},
		{"put back: what had to leave returns", func(b *inventory.Builder, in inventory.Input) (*Service, error) {
			for _, vm := range in.State.VMs {
				if vm.Name == "disk" {
					vm.Away = &fsm.Away{Host: "c", Maintenance: true}
				}
			}
			in.Policy.Migration.Failback = config.FailbackMaintenance
			return PutBack(b, in, "c")
		}, []string{"disk to c"}, "yes", "", nil},
		{"no such host", func(b *inventory.Builder, in inventory.Input) (*Service, error) { return TakeOut(b, in, "z") }, nil, "", "", ErrBadQuestion},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, in := rack(t)
			s, err := tt.plan(b, in)
			if !errors.Is(err, tt.fails) {
				t.Fatalf("error %v, want %v", err, tt.fails)
			}
			if tt.fails != nil {
				return
			}
			if d := cmp.Diff(tt.want, brief(s.Moves, s.Stay)); d != "" {
				t.Errorf("plan (-want +got):\n%s\n%+v", d, s)
			}
			if s.Room.Answer != tt.room || s.Last != tt.last {
				t.Errorf("room is left: %s (%s), last: %q; want %s and %q", s.Room.Answer, s.Room.Why, s.Last, tt.room, tt.last)
			}
			for _, x := range s.Stay {
				if x.Why == "" || x.UUID == "" {
					t.Errorf("%+v stays without a reason", x)
				}
			}
		})
	}
}

// What is asked of a plan is what maintenance comes to: of one host the same, of several that
// none of their VMs goes to another of them, and that each is judged with those before it away.
func TestPlanOfMaintenance(t *testing.T) {
	ask := func(change func(*inventory.Input), hosts ...string) (*Plan, *Service) {
		t.Helper()
		b, in := rack(t)
		in.Hosts[2].State = 0 // c is in service
		if change != nil {
			change(&in)
		}
		p, err := Ask(b, in, Question{Maintenance: hosts}, nil)
		if err != nil {
			t.Fatal(err)
		}
		one, err := TakeOut(b, in, hosts[0])
		if err != nil {
			t.Fatal(err)
		}
		return p, one
	}
	p, one := ask(nil, "a")
	one.Problems = nil // they are the plan's
	if diff := cmp.Diff([]Service{*one}, p.Maintenance); diff != "" {
		t.Errorf("the plan is not what taking a out comes to (-taken out +plan):\n%s", diff)
	}
	p, one = ask(nil, "a", "b", "a")
	if len(p.Maintenance) != 2 || p.Maintenance[0].Host != "a" || p.Maintenance[1].Host != "b" {
		t.Fatalf("of a, b and a again it says %+v", p.Maintenance)
	}
	if diff := cmp.Diff(one.Room, p.Maintenance[0].Room); diff != "" {
		t.Errorf("the first is judged as if it was not (-alone +first):\n%s", diff)
	}
	for _, s := range p.Maintenance {
		for _, m := range s.Moves {
			if m.To != "c" {
				t.Errorf("%s goes from %s to %s, which goes into maintenance too", m.VM, m.From, m.To)
			}
		}
	}
	if s := p.Maintenance[1]; s.Room.Answer != "no" || p.Fine {
		t.Errorf("with a away and b going, c alone is room for failures: %+v (fine: %v)", s.Room, p.Fine)
	}
	b, in := rack(t)
	in.Hosts[2].State, in.Hosts[0].State, in.Hosts[0].Why = 0, 2, "as asked for" // a is in maintenance, and empty
	for _, m := range p.Maintenance[0].Moves {
		in.State.VMs[m.UUID].Owner.Host = m.To
	}
	then, err := TakeOut(b, in, "b")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(then.Room, p.Maintenance[1].Room); diff != "" || len(p.Maintenance[0].Moves) == 0 {
		t.Errorf("the second is not judged as if the first was empty (-empty +second):\n%s", diff)
	}
	p, _ = ask(nil, "a", "b", "c")
	if last := p.Maintenance[2].Last; last != "a is in maintenance; b is in maintenance" || p.Fine {
		t.Errorf("the third is the last host because %q (fine: %v)", last, p.Fine)
	}
	for _, q := range []Question{{Maintenance: []string{"z"}}, {Maintenance: []string{"a"}, Fail: []string{"b"}}, {Maintenance: []string{"a"}, FailAny: 1}} {
		if _, err := Ask(&inventory.Builder{}, in, q, nil); !errors.Is(err, ErrBadQuestion) {
			t.Errorf("%+v: %v, want it refused", q, err)
		}
	}
}

func TestGrant(t *testing.T) {
	stop := func(in inventory.Input, name string) {
		for _, vm := range in.State.VMs {
			if vm.Name == name {
				vm.Intent, vm.Owner = fsm.IntentStop, nil
			}
		}
	}
	must := func(name, kind string, vms ...string) map[string]config.Rule {
		return map[string]config.Rule{name: {Kind: kind, Strength: config.RuleMust, VMs: vms}}
	}
	for _, tt := range []struct {
		name   string
		change func(*inventory.Input)
		vms    []string
		host   string
		cold   bool
		want   []string
		says   string // of the first that is refused
		room   string // whether room for failures is left
	}{
		{"where it fits best", nil, []string{"disk"}, "", false, []string{"disk to a"}, "", "yes"},
		{"to a host", nil, []string{"disk"}, "a", false, []string{"disk to a"}, "", "yes"},
		{"cold", nil, []string{"disk"}, "a", true, []string{"disk to a, cold"}, "", "yes"},
		{"named twice", nil, []string{"disk", "disk"}, "a", false, []string{"disk to a"}, "", "yes"},
		{"to where there is no room", func(in *inventory.Input) { in.Hosts[1].Memory = 16 * gib }, []string{"db"}, "b", false, []string{"db stays"}, "b: has 16 GiB of memory for VMs in all", ""},
		{"together, with room for one only", func(in *inventory.Input) { in.Hosts[1].Memory = 28 * gib }, []string{"db", "lamp"}, "b", false, []string{"lamp stays"}, "b: ", ""},
		{"to a host in maintenance", nil, []string{"disk"}, "c", false, []string{"disk stays"}, "c: is in maintenance (new disks)", ""},
		{"to where it is", nil, []string{"disk"}, "b", false, []string{"disk stays"}, "it runs on b already", ""},
		{"on its way", func(in *inventory.Input) {
			for _, vm := range in.State.VMs {
				if vm.Name == "disk" {
					vm.Move = &fsm.Move{ID: 3, Host: "a"}
				}
			}
		}, []string{"disk"}, "a", false, []string{"disk stays"}, "--cancel", ""},
		{"one of two that must be together", func(in *inventory.Input) { in.Policy.Rules = must("pair", config.RuleTogether, "db", "lamp") }, []string{"lamp"}, "b", false, []string{"lamp stays"}, "it must be with db on a (rule pair)", ""},
		{"two that must be together", func(in *inventory.Input) {
			in.Policy.Rules = must("pair", config.RuleTogether, "db", "lamp")
			in.Hosts[0].Memory, in.Hosts[1].Memory = 48*gib, 48*gib
		}, []string{"lamp", "db"}, "b", false, []string{"db to b", "lamp to b"}, "", "yes"},
		{"to one that it must be apart from", func(in *inventory.Input) { in.Policy.Rules = must("apart", config.RuleApart, "db", "disk") }, []string{"disk"}, "a", false, []string{"disk stays"}, "apart", ""},
		{"stopped", func(in *inventory.Input) { stop(*in, "disk") }, []string{"disk"}, "a", false, []string{"disk to a"}, "", ""},
		{"stopped, without a host", func(in *inventory.Input) { stop(*in, "disk") }, []string{"disk"}, "", false, []string{"disk stays"}, "--to HOST", ""},
		{"waiting", func(in *inventory.Input) {
			stop(*in, "disk")
			for _, vm := range in.State.VMs {
				vm.Intent = fsm.IntentRun
			}
		}, []string{"disk"}, "a", false, []string{"disk stays"}, "haadm explain vm disk", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, in := rack(t)
			if tt.change != nil {
				tt.change(&in)
			}
			w := Wish{Host: tt.host, Cold: tt.cold}
			for _, name := range tt.vms {
				w.VMs = append(w.VMs, in.State.FindVM(name).UUID)
			}
			g, err := Grant(b, in, w)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, brief(g.Moves, g.Refused)); d != "" {
				t.Errorf("granted (-want +got):\n%s\n%+v", d, g)
			}
			if tt.says != "" && (len(g.Refused) == 0 || !strings.Contains(g.Refused[0].Why, tt.says)) {
				t.Errorf("refused: %+v, want %q in the reason", g.Refused, tt.says)
			}
			if g.Room.Answer != tt.room {
				t.Errorf("room for failures: %q (%s), want %q", g.Room.Answer, g.Room.Why, tt.room)
			}
		})
	}
	b, in := rack(t)
	for _, w := range []Wish{{VMs: []string{"none"}}, {VMs: []string{in.State.FindVM("db").UUID}, Host: "z"}} {
		if _, err := Grant(b, in, w); !errors.Is(err, ErrBadQuestion) {
			t.Errorf("%+v: %v, want ErrBadQuestion", w, err)
		}
	}
}

func TestPolicyChange(t *testing.T) {
	b, in := rack(t)
	more, other := *in.Policy, *in.Policy
	more.Admission.Tolerate = 2
	other.Classes = map[string]config.Class{}
	if ch := Policy(b, in, &more); ch.Before.Answer != "yes" || ch.After.Answer != "no" || !ch.After.Refused || ch.After.Why == "" {
		t.Errorf("one that asks for more than there is: %+v", ch)
	}
	warns := more
	warns.Admission.Mode = config.AdmissionWarn
	if ch := Policy(b, in, &warns); ch.After.Answer != "no" || ch.After.Refused {
		t.Errorf("one that asks for more and only warns: %+v", ch)
	}
	in.Policy = &more
	other.Admission = more.Admission
	if ch := Policy(b, in, &other); ch.After.Answer != "no" || ch.After.Refused {
		t.Errorf("one that leaves admission control as it was, where room was missing: %+v", ch)
	}
}
