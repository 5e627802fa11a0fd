package whatif

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/inventory"
	"github.com/holdfast-ha/holdfast/cluster/placement"
	"github.com/holdfast-ha/holdfast/fsm"
)

// A VM that waits for the host that it was shut down with is no failure to place, and starts in no
// case, as long as it waits.
func TestPlanOfAFrozenVM(t *testing.T) {
	began := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name   string
		do     func(*inventory.Input)
		frozen bool
		starts string // where db starts if b is lost; "-": it stays down
	}{
		{"its host is off", func(*inventory.Input) {}, true, ""},
		{"it waits for ever", func(in *inventory.Input) { in.Policy.Shutdown.FreezeTimeout, in.Now = 0, began.Add(99*time.Hour) }, true, ""},
		{"it has waited for long enough", func(in *inventory.Input) { in.Now = began.Add(15 * time.Minute) }, false, "-"},
		{"its host is back", func(in *inventory.Input) { in.Hosts[0].State = placement.Up }, false, "a"},
		{"a person wants it elsewhere", func(in *inventory.Input) { in.State.VMs["db"].Frozen = nil }, false, "-"},
		{"a person stopped it", func(in *inventory.Input) { in.State.VMs["db"].Intent = fsm.IntentStop }, false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, in := rack(t)
			in.Hosts[0].State, in.Hosts[0].Why, in.Now = placement.Down, "it is dead", began.Add(5*time.Minute)
			in.State.VMs["db"].Owner, in.State.VMs["db"].Frozen = nil, &fsm.Frozen{Host: "a", Since: began, Reboot: true}
			in.State.VMs["lamp"].Owner, in.State.VMs["lamp"].Intent = nil, fsm.IntentStop
			in.State.VMs["disk"].Owner, in.State.VMs["disk"].Intent = nil, fsm.IntentStop
			tt.do(&in)
			p, err := Ask(b, in, Question{Fail: []string{"b"}}, nil)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			for _, d := range p.Failovers[0].Decisions {
				if d.VM != "db" {
					continue
				}
				if got != "" {
					t.Errorf("db is decided about twice: %+v", p.Failovers[0].Decisions)
				}
				if got = d.To; d.Action == placement.StayDown {
					got = "-"
				}
			}
			if isFrozen := slices.ContainsFunc(p.Frozen, func(f Frozen) bool { return f.VM == "db" && f.Host == "a" && f.Why != "" }); got != tt.starts || isFrozen != tt.frozen || p.Fine != (tt.starts != "-") {
				t.Errorf("frozen %v (%+v), it starts at %q, fine %v; want frozen %v, started at %q", isFrozen, p.Frozen, got, p.Fine, tt.frozen, tt.starts)
			}
			// What was reckoned before knows nothing of who waits, and is not gone by.
			inv := b.Build(in)
			each, err := Ask(b, in, Question{}, &Outlook{Inventory: inv, Hosts: placement.EveryHost(inv.Cluster)})
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range each.Failovers {
				if slices.ContainsFunc(f.Decisions, func(d Decision) bool { return d.VM == "db" }) && tt.frozen {
					t.Errorf("with %v lost: %+v, though db waits for a", f.Hosts, f.Decisions)
				}
			}
			// Room for failures is reckoned without it, and it is told of.
			room, err := Room(b, in, Hypothesis{}, nil)
			if err != nil {
				t.Fatal(err)
			}
			told := slices.ContainsFunc(room.Frozen, func(f Frozen) bool { return f.VM == "db" })
			if waits := strings.Contains(room.Admission.Why, "db"); told != tt.frozen || waits != (tt.starts == "-") {
				t.Errorf("capacity tells of db: %v, and counts it as one to be placed: %v (%s)", told, waits, room.Admission.Why)
			}
			// Maintenance of the host that it waits for ends that.
			service, err := TakeOut(b, in, "a")
			if err != nil {
				t.Fatal(err)
			}
			if waits := strings.Contains(service.Room.Why, "db"); waits != (tt.frozen || tt.starts == "-") && tt.starts != "a" {
				t.Errorf("with a in maintenance db is one to be placed: %v (%s)", waits, service.Room.Why)
			}
			// A file of it says the same while it waits.
			var file bytes.Buffer
			if err := json.NewEncoder(&file).Encode(b.NewFile(in)); err != nil {
				t.Fatal(err)
			}
			f, err := inventory.ReadFile(&file)
			if err != nil {
				t.Fatal(err)
			}
			read, err := f.Input()
			if err != nil {
				t.Fatal(err)
			}
			if vm := read.State.VMs["db"]; (vm.Frozen != nil) != tt.frozen || read.Frozen(vm) != tt.frozen {
				t.Errorf("the file has it frozen: %+v, want %v", vm.Frozen, tt.frozen)
			}
		})
	}
}
