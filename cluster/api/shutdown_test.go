package api_test

import (
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/api/apitest"
	"github.com/holdfast-ha/holdfast/fsm"
)

// What a VM waits for is told of as long as it does; then the master's word for it counts.
func TestFrozenVM(t *testing.T) {
	for _, tt := range []struct {
		name     string
		do       func(w *api.World)
		frozen   bool
		severity fsm.Severity
		text     string
	}{
		{"its host is off", func(*api.World) {}, true, fsm.Warning, "until 10:15:20 UTC at the latest: `haadm vms retry db1`"},
		{"its host is going down yet", func(w *api.World) { w.State.Hosts["kvm1"].Status = fsm.HostLive }, true, fsm.Warning, "it waits for kvm1"},
		{"it has waited for long enough", func(w *api.World) { w.Now = apitest.Now.Add(16 * time.Minute) }, false, fsm.Critical, "no host has room"},
		{"its host is back", func(w *api.World) {
			w.State.Hosts["kvm1"].Status, w.State.Hosts["kvm1"].Shutdown = fsm.HostLive, nil
		}, false, fsm.Critical, "no host has room"},
		{"its host was removed", func(w *api.World) { delete(w.State.Hosts, "kvm1") }, false, fsm.Critical, "no host has room"},
	} {
		b := apitest.GoingDown()
		vmNamed(b, "db1").Waiting = "no host has room"
		w := world(b)
		tt.do(&w)
		v, err := w.VM("db1")
		if err != nil {
			t.Fatal(err)
		}
		if (v.Frozen != nil) != tt.frozen || !strings.Contains(v.Waiting, tt.text) {
			t.Errorf("%s: frozen %+v, waiting %q; want frozen %v, %q", tt.name, v.Frozen, v.Waiting, tt.frozen, tt.text)
		}
		st, found := w.Status(), false
		for _, p := range st.Problems {
			found = found || p.VM == "db1" && p.Severity == tt.severity && strings.Contains(p.Text, tt.text)
		}
		if want := map[bool]int{true: 1}[tt.frozen]; !found || st.VMs.Waiting != 1 || st.VMs.Frozen != want {
			t.Errorf("%s: %d wait, %d of them frozen, want %d; no problem of severity %s with %q among %+v", tt.name, st.VMs.Waiting, st.VMs.Frozen, want, tt.severity, tt.text, st.Problems)
		}
	}
}
