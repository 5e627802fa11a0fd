package inventory_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-ha/holdfast/cluster/inventory"
	"github.com/holdfast-ha/holdfast/cluster/placement"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
)

// A question about a VM that nobody protects is about the one that the picture has, wherever
// that runs, and never about another that has its name.
func TestStranger(t *testing.T) {
	const gib = 1 << 30
	in := inventory.Input{Policy: &config.Policy{}, State: &fsm.State{VMs: map[string]*fsm.VM{"1": {UUID: "1", Name: "db", Memory: gib, Owner: &fsm.Placement{Host: "kvm1"}}}},
		Hosts: []inventory.Host{
			{Name: "kvm1", Memory: 8 * gib, CPUs: 4, Domains: []inventory.Domain{{UUID: "1", Name: "db", Running: true, Memory: gib}, {UUID: "2", Name: "web", Running: true, Memory: gib}, {UUID: "3", Name: "off", Memory: gib}}},
			{Name: "kvm2", Memory: 8 * gib, CPUs: 4, Domains: []inventory.Domain{{UUID: "2", Name: "web", Running: true, Memory: gib}}},
		}}
	inv := (&inventory.Builder{}).Build(in)
	for _, tt := range []struct {
		name string
		d    inventory.Domain
		host string
		want string
	}{
		{"a new one", inventory.Domain{UUID: "4", Name: "wiki"}, "kvm1", "wiki"},
		{"a new one with a protected VM's name", inventory.Domain{UUID: "4", Name: "db"}, "kvm2", "db on kvm2"},
		{"one without a name", inventory.Domain{UUID: "4"}, "kvm2", " on kvm2"},
		{"one that is defined and does not run", inventory.Domain{UUID: "3", Name: "off"}, "kvm1", "off"},
		{"one that runs there", inventory.Domain{UUID: "2", Name: "web"}, "kvm1", "web"},
		{"one that runs there and elsewhere", inventory.Domain{UUID: "2", Name: "web"}, "kvm2", "web on kvm2"},
		{"one that comes from elsewhere under another name", inventory.Domain{UUID: "2", Name: "other"}, "kvm3", "web on kvm2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.d.Memory, tt.d.VCPUs = 2*gib, 3
			want := placement.VM{Name: tt.want, Status: placement.Running, Host: tt.host, Memory: 2 * gib, Overhead: 64 << 20, VCPUs: 3, Class: placement.Unprotected}
			if d := cmp.Diff(want, inv.Stranger(tt.d, tt.host)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
	if _, taken := inv.UUIDs["wiki"]; taken {
		t.Error("a question left a name in the picture")
	}
}
