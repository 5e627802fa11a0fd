package device

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// onTheWay is more than a heartbeat takes from one host to another.
const onTheWay = 2 * time.Second

// Monitor checks devices again and again, each as often as it asks for, so that a
// device that would fail is known before it is needed.
type Monitor struct {
	changed func(Status)                                  // may be nil
	heard   func(device string, after time.Duration) bool // may be nil
	wake    chan struct{}

	mu      sync.Mutex // guards what follows
	devices map[string]*Device
	last    map[string]Status
}

// NewMonitor returns a monitor of no devices. changed, if not nil, is called from
// a device's own goroutine with the first finding and with each that differs from
// the one before in OK or Power.
func NewMonitor(changed func(Status)) *Monitor {
	return &Monitor{changed: changed, wake: make(chan struct{}, 1), devices: map[string]*Device{}, last: map[string]Status{}}
}

// Compare has findings held against what is heard: heard reports whether the host of
// a device was heard after a moment of the runner's boot clock. A device that calls
// a host off which is heard is reported as not OK, and is not used to switch off
// until it says on (Distrust). Call it before Run.
func (m *Monitor) Compare(heard func(device string, after time.Duration) bool) { m.heard = heard }

// Set says which devices are checked from now on. A device that is new, or is
// another one than before under its name, is checked at once.
func (m *Monitor) Set(devices []*Device) {
	m.mu.Lock()
	next := map[string]*Device{}
	for _, d := range devices {
		next[d.name] = d
	}
	for name := range m.last {
		if next[name] != m.devices[name] {
			delete(m.last, name)
		}
	}
	m.devices = next
	m.mu.Unlock()
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// Statuses lists the last finding of each device that has one, by name.
func (m *Monitor) Statuses() []Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []Status
	for _, name := range slices.Sorted(maps.Keys(m.last)) {
		list = append(list, m.last[name])
	}
	return list
}

// Run checks until ctx ends, and returns when the last check has.
func (m *Monitor) Run(ctx context.Context) error {
	running := map[*Device]context.CancelFunc{}
	var all sync.WaitGroup
	defer all.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for {
		m.mu.Lock()
		wanted := maps.Clone(m.devices)
		m.mu.Unlock()
		for d, stop := range running {
			if wanted[d.name] != d {
				stop()
				delete(running, d)
			}
		}
		for _, d := range wanted {
			if running[d] == nil {
				of, stop := context.WithCancel(ctx)
				running[d] = stop
				all.Go(func() { m.watch(of, d) })
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-m.wake:
		}
	}
}

// watch checks one device until ctx ends.
func (m *Monitor) watch(ctx context.Context, d *Device) {
	for {
		s := d.Check(ctx)
		if s.Power == PowerOff && m.heard != nil {
			// What the host sent before it lost its power may still be on the way.
			if !pause(ctx, 2*onTheWay) {
				return
			}
			if m.heard(d.name, s.At+onTheWay) {
				s.OK, s.Text = false, "it says that the power of its host is off, but the host is heard: it switches something else; look at its address and plug"
				d.Distrust(s.Text)
			}
		}
		m.note(ctx, d, s)
		if !pause(ctx, max(d.Every(), time.Second)) {
			return
		}
	}
}

// Note keeps the finding of a check that somebody else made, as if it were the
// monitor's own.
func (m *Monitor) Note(d *Device, s Status) { m.note(context.Background(), d, s) }

// note keeps a finding, unless the check was cut short or the device is another one by now.
func (m *Monitor) note(ctx context.Context, d *Device, s Status) {
	if s.Skipped || ctx.Err() != nil {
		return
	}
	m.mu.Lock()
	before, had := m.last[d.name]
	mine := m.devices[d.name] == d
	if mine {
		m.last[d.name] = s
	}
	m.mu.Unlock()
	if mine && m.changed != nil && (!had || before.OK != s.OK || before.Power != s.Power) {
		m.changed(s)
	}
}
