package sim

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/integration/sim/scenario"
)

// What a fence device does, as a scenario's host names it.
const (
	deviceWorks   = "works"
	deviceRefuses = "refuses" // says soon that it cannot
	deviceHangs   = "hangs"   // takes the order and says nothing
)

// How long devices take: to switch and to prove it, to refuse, and until one that
// says nothing is given up (two tries of the time that the policy gives a device).
const (
	deviceTakes   = 2 * time.Second
	deviceRefusal = 300 * time.Millisecond
	deviceSilence = 40 * time.Second
)

// errDevice is what a device says that does not switch.
var errDevice = errors.New("the fence device does not do it")

// devices is how one life of an agent reaches the hosts' fence devices. They have a
// network of their own.
type devices struct {
	l *life
	m *machine // of the agent
}

// Off implements master.Fencer.
func (d devices) Off(ctx context.Context, p *config.Policy, host string) (time.Duration, string, error) {
	evidence := host + " was switched off by its fence device, which says that its power is off"
	err := d.order(ctx, p, host, func(target *machine) {
		d.m.w.watch.ordersOff(d.m, target)
	}, func(target *machine) {
		if !target.on {
			evidence = "the power of " + host + " was off already, says its fence device"
		}
		d.m.w.note("device: the power of %s is off, for %s", target.name, d.m.name)
		target.powerOff()
	})
	if err != nil {
		return 0, "", err
	}
	return d.m.clock.now(), evidence, nil
}

// On implements master.Fencer.
func (d devices) On(ctx context.Context, p *config.Policy, host string) error {
	return d.order(ctx, p, host, func(*machine) {}, func(target *machine) {
		if !target.on {
			target.bootLater()
		}
	})
}

// order has a host's device do something. came is done when the order reaches it.
// An order that was sent is carried out, whatever became of its sender; one that a
// freeze caught on its way out is sent at the thaw.
func (d devices) order(ctx context.Context, p *config.Policy, host string, came, do func(*machine)) error {
	target := d.m.w.machines[host]
	if len(p.Hosts[host].Fence) == 0 || target == nil {
		return fmt.Errorf("%s: %w: it has none", host, errDevice)
	}
	if _, err := d.l.wait(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var is string
	if err := d.onWorld(func() { is = target.device; d.m.w.switching++; came(target) }); err != nil {
		return err
	}
	defer d.m.w.soon(func() { d.m.w.switching-- })
	takes := map[string]time.Duration{deviceRefuses: deviceRefusal, deviceHangs: deviceSilence}[is]
	if is == deviceWorks {
		takes = d.m.w.cfg.DeviceTakes
	}
	t := time.NewTimer(takes)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	if is != deviceWorks {
		return fmt.Errorf("%s: %w: it %s", host, errDevice, is)
	}
	if err := d.onWorld(func() { do(target) }); err != nil {
		return err
	}
	_, err := d.l.wait()
	return err
}

// onWorld has f done by the World's own goroutine.
func (d devices) onWorld(f func()) error {
	done := make(chan struct{})
	d.m.w.soon(func() { f(); close(done) })
	select {
	case <-done:
		return nil
	case <-d.m.w.ctx.Done():
		return d.m.w.ctx.Err()
	}
}

// ordersOff holds that nobody is switched off who holds a lease: without heartbeat
// volumes that is everybody whom a master still hears. With them a host may hold one
// that no master knows of.
func (x *watch) ordersOff(by, target *machine) {
	x.observe("host_switched_off", target.name, "", "ordered by "+by.name)
	if !target.on || target.still || len(x.w.volumes) > 0 {
		return
	}
	if g, now := target.guard.status(), target.clock.now(); g.Tripped == 0 && g.Deadline > now {
		x.w.broken("%s is being switched off by %s while its lease holds for another %v", target.name, by.name, g.Deadline-now)
	}
}

// setDevice changes what the device of a host does; a host that has none stays without.
func setDevice(does string) act {
	return func(w *World, a scenario.Action) error {
		m := w.machines[a.Host]
		if m.device == "" {
			return fmt.Errorf("%s has no fence device", a.Host)
		}
		m.device = does
		return nil
	}
}

// fencePolicy names the hosts' devices in the cluster's policy.
func (w *World) fencePolicy() string {
	var b strings.Builder
	for i, h := range w.s.Hosts {
		if h.FenceDevice != "" {
			fmt.Fprintf(&b, "fence \"power-%s\" {\n agent = \"fence_ipmilan\"\n options = { ip = \"10.8.0.%d\" }\n}\nhost %q { fence = [\"power-%s\"] }\n", h.ID, i+1, h.ID, h.ID)
		}
	}
	return b.String()
}
