package main

import (
	"strings"
	"testing"

	"github.com/holdfast-ha/holdfast/cluster/api/apitest"
)

// A VM that could not be restarted elsewhere is never protected as if it could: that is said
// before a person agrees, and again afterwards with the reason.
func TestProtectSaysWhatItIsWorth(t *testing.T) {
	tests := []struct {
		name          string
		change        func(*apitest.Backend)
		before, after []string
		never         string
	}{
		{"it can go elsewhere", func(*apitest.Backend) {}, []string{"+ build on kvm3", "will be restarted on another host when kvm3 dies"}, nil, "!"},
		{"a device ties it", func(b *apitest.Backend) {
			b.Definitions = map[string]string{"build": `<domain type='kvm'><name>build</name><uuid>6b0f5a3e-0000-4000-8000-000000000050</uuid><memory unit='GiB'>16</memory><vcpu>8</vcpu><os><type>hvm</type></os><devices><hostdev mode='subsystem' type='usb'><source><vendor id='0x1234'/><product id='0xbeef'/></source></hostdev></devices></domain>`}
		}, []string{"! build on kvm3", "NOT restarted when kvm3 dies", "build cannot leave kvm3: ", "1234:beef"}, []string{"Protected: build", "! build cannot leave kvm3: ", "1234:beef"}, "will be restarted"},
		{"no host has room now", func(b *apitest.Backend) {
			o := b.Observed["kvm3"]
			for i := range o.Domains {
				if o.Domains[i].Name == "build" {
					o.Domains[i].Memory = 95 << 30
				}
			}
			b.Observed["kvm3"] = o
		}, []string{"! build on kvm3", "no host has room for build now if kvm3 is lost: ", "memory"}, []string{"Protected: build", "! no host has room for build now"}, "will be restarted"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := apitest.Healthy()
			tt.change(b)
			got := haadm(t, agent(t, b), nil, "protect", "build", "--yes")
			if got.code != exitOK {
				t.Errorf("exit %d", got.code)
			}
			for _, x := range tt.before {
				if !strings.Contains(got.errOut, x) {
					t.Errorf("not said beforehand: %q", x)
				}
			}
			for _, x := range tt.after {
				if !strings.Contains(got.out, x) {
					t.Errorf("not said afterwards: %q", x)
				}
			}
			if strings.Contains(got.out+got.errOut, tt.never) {
				t.Errorf("said, and must not be: %q", tt.never)
			}
			if t.Failed() {
				t.Logf("stdout:\n%s\nstderr:\n%s", got.out, got.errOut)
			}
		})
	}
}
