package device

import (
	"context"
	"testing"
	"time"
)

func TestMonitor(t *testing.T) {
	b := newBench(t)
	b.agent("fence_fake", nil)
	findings := make(chan Status, 100)
	m := NewMonitor(func(s Status) { findings <- s })
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	next := func(what string, ok bool, power Power) {
		t.Helper()
		select {
		case s := <-findings:
			if s.Device != "bmc" || s.OK != ok || s.Power != power {
				t.Errorf("%s: %+v", what, s)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: nothing was found", what)
		}
	}
	d := b.device("bmc", "fence_fake", nil)
	d.spec.Check = time.Second // less than a policy may ask for
	m.Set([]*Device{d})
	next("at first", true, PowerOn)
	b.put("power", "off\n")
	next("switched off", true, PowerOff)
	b.agent("fence_broken", map[string]string{"status": "exit 1"})
	m.Set([]*Device{b.device("bmc", "fence_broken", nil)})
	next("another device of that name", false, PowerUnknown)
	if list := m.Statuses(); len(list) != 1 || list[0].OK {
		t.Errorf("statuses: %+v", list)
	}
	m.Note(d, Status{Device: "bmc", OK: true, Power: PowerOn}) // of the device before
	broken := b.device("bmc", "fence_broken", nil)
	m.Note(broken, Status{Device: "bmc", Skipped: true})
	m.Note(broken, Status{Device: "bmc", OK: true, Power: PowerOn, Text: "somebody else asked it"})
	next("somebody else's finding", true, PowerOn)
	if list := m.Statuses(); len(list) != 1 || list[0].Text != "somebody else asked it" {
		t.Errorf("statuses: %+v", list)
	}
	m.Set(nil)
	if list := m.Statuses(); len(list) != 0 {
		t.Errorf("of no devices: %+v", list)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if len(findings) != 0 {
		t.Errorf("told again without a change: %+v", <-findings)
	}
}

// A device that calls a host off which is heard switches something else.
func TestMonitorDistrusts(t *testing.T) {
	for _, tt := range []struct {
		name  string
		heard bool
	}{{"host that is heard", true}, {"host that is silent", false}} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			b.agent("fence_fake", nil)
			b.put("power", "off\n")
			d := b.device("bmc", "fence_fake", nil)
			findings := make(chan Status, 1)
			m := NewMonitor(func(s Status) { findings <- s })
			m.Compare(func(device string, after time.Duration) bool {
				if device != "bmc" || after <= b.clock() {
					t.Errorf("asked whether the host of %s was heard after %v; the check was at %v", device, after, b.clock())
				}
				return tt.heard
			})
			m.Set([]*Device{d})
			ctx, cancel := context.WithCancel(context.Background())
			ended := make(chan error, 1)
			go func() { ended <- m.Run(ctx) }()
			var s Status
			select {
			case s = <-findings:
			case <-time.After(30 * time.Second):
				t.Error("nothing was found")
			}
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			if s.OK == tt.heard || s.Power != PowerOff {
				t.Errorf("found %+v", s)
			}
			if tries, _ := d.Off(t.Context()); tries[0].Done == tt.heard {
				t.Errorf("taken for proof: %+v", tries)
			}
			b.put("power", "on\n")
			if s := d.Check(t.Context()); !s.OK {
				t.Errorf("it says on: %+v", s)
			}
			if tries, _ := d.Off(t.Context()); !tries[0].Done {
				t.Errorf("after it has said on: %+v", tries)
			}
		})
	}
}
