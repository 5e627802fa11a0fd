package api_test

import (
	"strings"
	"testing"

	"github.com/holdfast-ha/holdfast/cluster/api/apitest"
)

// While hosts are heard once more before a VM is started (O5), explain, status and the list of VMs
// say so, and which are missing; not the reason of before.
func TestWhichHostsAVMWaitsFor(t *testing.T) {
	b := apitest.HostLost()
	mail := b.St.FindVM("mail")
	for _, name := range []string{"kvm2", "kvm3"} {
		o := b.Observed[name]
		o.Unsure = []string{mail.UUID}
		b.Observed[name] = o
	}
	told := func() map[string]string {
		w := world(b)
		e, err := w.ExplainVM("mail")
		if err != nil {
			t.Fatal(err)
		}
		rule := ""
		for _, s := range e.Steps {
			if s.Rule == "O5" {
				rule = s.Text
			}
		}
		problem := ""
		for _, p := range w.Status().Problems {
			if p.VM == "mail" {
				problem = p.Text
			}
		}
		v, err := w.VM("mail")
		if err != nil {
			t.Fatal(err)
		}
		return map[string]string{"the headline": e.Headline, "the problem in status": problem, "the list of VMs": v.Waiting, "the rule": rule}
	}
	const heard = "still to be heard: kvm2, kvm3"
	is := told()
	for where, text := range is {
		want := heard
		if where == "the rule" {
			want = "haadm explain host kvm2"
		}
		if !strings.Contains(text, want) || strings.Contains(text, "no host has room") {
			t.Errorf("%s says %q, want %q and not the reason of before", where, text, want)
		}
	}
	for name, o := range b.Observed {
		o.Unsure = nil
		b.Observed[name] = o
	}
	for where, text := range told() {
		if strings.Contains(text, "heard") || where != "the rule" && !strings.Contains(text, "no host has room") {
			t.Errorf("once they were heard %s says %q", where, text)
		}
	}
}
