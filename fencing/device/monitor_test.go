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
