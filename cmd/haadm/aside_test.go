package main

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api/apitest"
	"github.com/holdfast-ha/holdfast/fsm"
)

// TestAside is what a person reads elsewhere of a host whose disk went back in time.
func TestAside(t *testing.T) {
	var text strings.Builder
	for _, line := range []string{"status", "hosts list", "hosts show kvm1", "explain host kvm1"} {
		b := apitest.HostLost()
		b.Change(func() {
			st := *b.St
			st.Hosts = maps.Clone(st.Hosts)
			h := *st.Hosts["kvm1"]
			h.Aside = &fsm.Aside{At: apitest.Now.Add(-20 * time.Second), Why: "its data directory holds term 3, vote in term 3, log entry 210, and by the word of kvm2 it has held term 4, vote in term 4, log entry 300"}
			st.Hosts["kvm1"] = &h
			b.St = &st
		})
		got := haadm(t, agent(t, b), nil, strings.Fields(line)...)
		fmt.Fprintf(&text, "$ haadm %s\n%s%sexit %d\n\n", line, got.out, got.errOut, got.code)
		if !strings.Contains(got.out, "aside") {
			t.Errorf("haadm %s does not say that kvm1 stands aside:\n%s", line, got.out)
		}
	}
	golden(t, "aside.txt", text.String())
}
