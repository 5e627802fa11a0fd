package master

import (
	"slices"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/volumes"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/storagehb/format"
)

// A host that only the volumes bring says by its VM table what it gave back and what ended.
func TestVMTableOfAHostHeardByStorage(t *testing.T) {
	id, err := format.ParseUUID(web)
	if err != nil {
		t.Fatal(err)
	}
	crashed := "report b(2) generation 7 crashed"
	for _, tt := range []struct {
		name  string
		state format.VMState
		is    func(in *input, table *format.VMTable)
		want  []string
	}{
		{"it crashed", format.VMCrashed, nil, []string{crashed}},
		{"it crashed, and is to be left then", format.VMCrashed, func(in *input, _ *format.VMTable) { in.policy.Defaults.OnCrash = config.CrashLeave }, []string{crashed, "intent stop"}},
		{"it was stopped because of isolation", format.VMStoppedIsolated, nil, []string{"report b(2) generation 7 released"}},
		{"it runs", format.VMRunning, nil, nil},
		{"it was stopped, by whomever", format.VMStopped, nil, nil},
		{"so says its last life", format.VMCrashed, func(_ *input, table *format.VMTable) { table.Incarnation = 1 }, nil},
		{"of an earlier generation", format.VMCrashed, func(_ *input, table *format.VMTable) { table.VMs[0].Generation = 6 }, nil},
		{"it is another host's by now", format.VMCrashed, func(in *input, _ *format.VMTable) { in.owner("c", 2, fsm.PhaseRunning) }, nil},
		{"the network brings the host", format.VMCrashed, func(in *input, _ *format.VMTable) { in.hosts["b"].networks["mgmt"] = now }, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := scene(t)
			in.owner("b", 2, fsm.PhaseRunning)
			in.state.Hosts["b"].Slot = 2
			table := format.VMTable{Incarnation: 2, Run: 77, Seq: 4, VMs: []format.VM{{UUID: id, Generation: 7, State: tt.state}}}
			o := in.hosts["b"]
			o.networks = map[string]time.Duration{"mgmt": now - time.Minute}
			o.stored.at, o.stored.beat = now, format.Heartbeat{Incarnation: 2, Run: 77, Seq: 9, TableSeq: 4}
			if tt.is != nil {
				tt.is(&in, &table)
			}
			h := in.state.Hosts["b"]
			in.volumes = &volumes.View{Tables: map[int]format.VMTable{volumes.Slot(h): table}}
			var d decision
			givenBack(in, fsm.Meta{At: wall}, h, o, &d)
			if got := brief(d); !slices.Equal(got, tt.want) {
				t.Errorf("it comes to %q, want %q", got, tt.want)
			}
		})
	}
}
