package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/fencing/device"
	"github.com/holdfast-ha/holdfast/fsm"
)

// byHand is a person's order to the fence devices of one host.
type byHand struct {
	m      *member
	host   string
	by     string
	levels device.Levels
	held   bool // this order began the hold on the host
}

// order is what both calls below begin with: this host is the master, and the
// host has devices. bad says which of them cannot be used here.
func (a *Agent) order(host, by string) (o byHand, bad error, err error) {
	m, err := a.office()
	if err != nil {
		return byHand{}, nil, err
	}
	s, _, _ := m.machine.View()
	levels, bad := m.runner.Levels(a.parsed(s), host)
	switch {
	case s.Hosts[host] == nil:
		return byHand{}, nil, fmt.Errorf("%w: %s is not a member of this cluster", api.ErrRefused, host)
	case len(levels) == 0 && bad != nil:
		return byHand{}, nil, fmt.Errorf("%w: no fence device of %s can be used on %s: %w", api.ErrRefused, host, a.env.Name, bad)
	case len(levels) == 0:
		return byHand{}, nil, fmt.Errorf("%w: %s has no fence device; the policy names them: host %q { fence = [...] }",
			api.ErrRefused, host, host)
	}
	return byHand{m: m, host: host, by: by, levels: levels}, bad, nil
}

// FenceTest implements api.Backend.
func (a *Agent) FenceTest(ctx context.Context, host string) ([]api.FenceDevice, error) {
	o, _, err := a.order(host, "")
	if err != nil {
		return nil, err
	}
	var all []api.FenceDevice
	known, err := a.FenceDevices()
	if err != nil {
		return nil, err
	}
	for _, d := range known {
		if d.Host == host {
			d.OK = false // those that cannot be used here keep the reason
			all = append(all, d)
		}
	}
	var checks sync.WaitGroup
	for _, d := range o.levels.Devices() {
		for i := range all {
			if all[i].Name == d.Name() {
				checks.Go(func() { a.testDevice(ctx, o, d, &all[i]) })
			}
		}
	}
	checks.Wait() // each ends by its own timeout
	return all, nil
}

// testDevice asks one device for the power of its host.
func (a *Agent) testDevice(ctx context.Context, o byHand, d *device.Device, into *api.FenceDevice) {
	st := o.ask(ctx, d)
	into.OK, into.State, into.Checked = st.OK, st.Text, a.env.Wall()
	if st.OK {
		into.State = "answers: power " + string(st.Power)
	}
}

// wrongPlug is what is wrong with a device that calls a host off which is heard.
const wrongPlug = "it says that the power of its host is off, but the host is heard: it switches something else; look at its address and plug"

// ask has a device say what the power of its host is, holds that against what is
// heard, and has it known as the last finding.
func (o byHand) ask(ctx context.Context, d *device.Device) device.Status {
	st := d.Check(ctx)
	if st.OK && st.Power == device.PowerOff && o.heardSince(ctx, st.At) {
		st.OK, st.Text = false, wrongPlug
		d.Distrust(wrongPlug)
	}
	o.m.monitor.Note(d, st)
	return st
}

// heardSince reports whether a host is heard that was called off at that moment of
// the boot clock. What it sent before may still be on the way.
func (o byHand) heardSince(ctx context.Context, at time.Duration) bool {
	const onTheWay = 2 * time.Second
	if !o.heard() {
		return false
	}
	pause(ctx, 2*onTheWay)
	return o.host == o.m.agent.env.Name || o.m.master.HeardAfter(o.host, at+onTheWay)
}

// look asks every device, so that what is known is not from before it was switched.
func (o byHand) look(ctx context.Context) {
	var checks sync.WaitGroup
	for _, d := range o.levels.Devices() {
		checks.Go(func() { o.ask(ctx, d) })
	}
	checks.Wait() // each ends by its own timeout
}

// heard reports whether the host itself is heard at the moment.
func (o byHand) heard() bool {
	return o.host == o.m.agent.env.Name || o.m.master.HeardAfter(o.host, o.m.agent.env.Now()-o.m.ms.Timing.SuspectAfter())
}

// Fence implements api.Backend. Switching off by hand is worth what the master's
// own is: what a device has proven, after the drain of the host's last writes, and
// only while the host stays silent.
func (a *Agent) Fence(ctx context.Context, host string, r api.FenceRequest, by string) (api.FenceReport, error) {
	o, bad, err := a.order(host, by)
	if err != nil {
		return api.FenceReport{}, err
	}
	report := api.FenceReport{Schema: api.Schema, Host: host, Action: r.Action}
	if r.Action != api.FenceOn {
		switch {
		case host == a.env.Name:
			return report, fmt.Errorf("%w: %s is the master, which cannot prove that itself is off: hand the office over first (`haadm cluster transfer-master`)",
				api.ErrRefused, host)
		case o.heard() && !r.EvenIfHeard:
			return report, fmt.Errorf("%w: %s is heard: this would end what runs on it; to switch it off all the same, say so", api.ErrRefused, host)
		}
	}
	// Whoever is not the master any more must not switch hosts.
	if err := o.m.node.Confirm(ctx); err != nil {
		return report, fmt.Errorf("%w: %w", api.ErrNotMaster, err)
	}
	defer o.look(ctx)
	if r.Action == api.FenceOn {
		return report, o.switchOn(ctx, &report)
	}
	// A later office, or this one if it finds the host silent meanwhile, fences it by
	// itself, and must not switch it on again behind the person who switched it off.
	if r.Action == api.FenceOff {
		if o.held, err = o.hold(ctx, true); err != nil {
			return report, fmt.Errorf("%s was not switched off, as it could not be committed that it is to stay off: %w", host, err)
		}
	}
	o.record(fsm.Event{Type: "host_fencing_started", Severity: fsm.Warning, Host: host,
		Text: fmt.Sprintf("%s is being switched off by its fence devices, because %s says so", host, by)})
	if !o.switchOff(ctx, r.Action, &report) {
		if bad != nil {
			report.Evidence += "; not usable here: " + bad.Error()
		}
		o.record(fsm.Event{Type: "host_fencing_failed", Severity: fsm.Warning, Host: host,
			Text: fmt.Sprintf("%s could not be proven off, which %s asked for: %s", host, by, report.Evidence)})
		return report, nil
	}
	if r.Action == api.FenceReboot {
		return report, o.switchOn(ctx, &report)
	}
	return report, nil
}

// hold has the state say whether the host is to stay off. changed: it said otherwise.
func (o byHand) hold(ctx context.Context, off bool) (changed bool, err error) {
	s, _, _ := o.m.machine.View()
	if h := s.Hosts[o.host]; h == nil || off == (h.Held != nil) {
		return false, nil
	}
	_, err = (replicated{o.m.node}).Propose(ctx, &fsm.HoldHost{Meta: o.m.agent.meta(o.by), Epoch: s.Office.Epoch, Host: o.host, Off: off})
	return err == nil, err
}

// endHold ends the hold that this order began: the host is not off. Whoever asked may
// have gone meanwhile.
func (o byHand) endHold(report *api.FenceReport) {
	if !o.held {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if _, err := o.hold(ctx, false); err != nil {
		report.Evidence = joined(report.Evidence,
			fmt.Sprintf("%s is held off all the same, as it could not be committed that it is not (%v): `haadm fence on %s` ends that",
				o.host, err, o.host))
	}
}

// switchOff has the devices switch the host off, and its death committed.
func (o byHand) switchOff(ctx context.Context, action string, report *api.FenceReport) (proven bool) {
	r := o.levels.Off(ctx)
	report.Done, report.Evidence = r.Confirmed, r.Evidence
	for _, t := range r.Tries {
		report.Tries = append(report.Tries, api.FenceTry{Level: t.Level, Device: t.Device, Number: t.Number, Done: t.Done,
			Text: t.Text, Took: api.Seconds(t.Took)})
	}
	if !r.Confirmed {
		o.endHold(report)
		return false
	}
	if action == api.FenceOff {
		// A boot that was under way when the order came may have ended the hold.
		if _, err := o.hold(ctx, true); err != nil {
			report.Evidence = joined(report.Evidence, fmt.Sprintf("that %s is to stay off could not be committed: %v", o.host, err))
		}
	}
	freed, err := o.dead(ctx, r.At)
	if err != nil {
		report.Done, report.Evidence = false, err.Error()
		if errors.Is(err, errHeardOff) {
			o.endHold(report)
		}
		return false
	}
	report.Freed = freed
	return true
}

// errHeardOff is why the word of devices is not believed that call a running host off.
var errHeardOff = errors.New("but it is heard: they switch something else; look at their addresses and plugs")

// byHandPoll is how often a wait below looks.
const byHandPoll = 100 * time.Millisecond

// dead commits the death of a host that was off at that moment of the boot clock.
func (o byHand) dead(ctx context.Context, at time.Duration) (freed int, err error) {
	t := o.m.ms.Timing
	drained := at + t.Drain + t.Grain
	// A heartbeat from before may still arrive, and holds ConfirmOff up for as long
	// as one that is sent now does.
	patience := drained + 2*t.SuspectAfter() + 2*time.Second
	for {
		s, _, _ := o.m.machine.View()
		h := s.Hosts[o.host]
		switch now := o.m.agent.env.Now(); {
		case h == nil || h.Status != fsm.HostLive:
			return freed, nil // the office was quicker, or it was dead already
		case now < drained:
		default:
			freed, err = o.m.master.ConfirmOff(ctx, o.host, o.by+" (by its fence devices)")
			if err == nil {
				return freed, nil
			}
			if !errors.Is(err, api.ErrRefused) {
				return 0, fmt.Errorf("%s is off, but that could not be committed: %w", o.host, err)
			}
			if now > patience {
				o.distrust()
				return 0, fmt.Errorf("its devices say that %s is off, %w", o.host, errHeardOff)
			}
		}
		pause(ctx, byHandPoll)
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
	}
}

// distrust keeps devices that have called a running host off from being believed.
func (o byHand) distrust() {
	for _, d := range o.levels.Devices() {
		d.Distrust(wrongPlug)
	}
}

// switchOn has the devices switch the host on, and ends the hold on it.
func (o byHand) switchOn(ctx context.Context, report *api.FenceReport) error {
	if _, err := o.hold(ctx, false); err != nil {
		return fmt.Errorf("%s was not switched on, as it could not be committed that it is not to stay off: %w", o.host, err)
	}
	e := fsm.Event{Type: "host_switched_on", Host: o.host,
		Text: fmt.Sprintf("%s is switched on by its fence devices, because %s says so", o.host, o.by)}
	if err := o.levels.On(ctx, nil); err != nil {
		e.Severity, e.Text = fsm.Warning, fmt.Sprintf("%s could not be switched on, which %s asked for: %v", o.host, o.by, err)
		report.Done, report.Evidence = false, joined(report.Evidence, "not switched on: "+err.Error())
	} else {
		report.Done, report.Evidence = true, joined(report.Evidence, "switched on: every device says that the power is on")
	}
	o.record(e)
	return nil
}

func joined(before, after string) string {
	if before == "" {
		return after
	}
	return before + "; then " + after
}

// record adds an event to the history; what was done stays done where that fails.
func (o byHand) record(e fsm.Event) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	s, _, _ := o.m.machine.View()
	record := &fsm.Record{Meta: o.m.agent.meta(o.by), Epoch: s.Office.Epoch, Events: []fsm.Event{e}}
	if _, err := (replicated{o.m.node}).Propose(ctx, record); err != nil {
		o.m.log.Warn("an event was not recorded", "event", e.Type, "host", o.host, "error", err)
	}
}
