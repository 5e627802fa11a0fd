package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/fsm"
)

const (
	look    = 100 * time.Millisecond // between two looks at the cluster
	before  = 3 * time.Second        // shown before the host dies
	patient = time.Minute            // that the VMs may take to come back
)

// story is what is shown: the cluster's view, and what it has told so far.
type story struct {
	w       world
	s       *screen
	killed  string
	at      time.Time // when
	last    uint64    // event
	clients map[string]*api.Client
	begun   int // new lives of survivors since the power was lost
}

// show runs the demonstration in a cluster that is up.
func show(ctx context.Context, w world, s *screen) error {
	st := &story{w: w, s: s, clients: map[string]*api.Client{}}
	defer func() {
		for _, c := range st.clients {
			c.Close()
		}
	}()
	status, vms, err := st.look(ctx)
	if err != nil {
		return err
	}
	st.skipEvents(ctx)
	s.Line("")
	for _, line := range st.table(status, vms) {
		s.Line(line)
	}
	s.Line("")
	if err := st.watch(ctx, before, func(*api.Status, []api.VMView) bool { return false }); err != nil {
		return err
	}
	victim := pick(status, vms)
	lost := owned(vms, victim)
	st.at, err = w.Kill(ctx, victim)
	if err != nil {
		return err
	}
	st.killed = victim
	s.Line(s.paint("1;31", fmt.Sprintf("  +0.00 s  %s loses its power, with %s on it", victim, strings.Join(lost, " and "))))
	restarted := func(_ *api.Status, vms []api.VMView) bool {
		for _, vm := range vms {
			if slices.Contains(lost, vm.Name) && (vm.State != "running" || vm.Host == victim || !st.beats(vm.Name)) {
				return false
			}
		}
		return true
	}
	if err := st.watch(ctx, patient, restarted); err != nil {
		return err
	}
	if !st.done(ctx, restarted) {
		return fmt.Errorf("the VMs of %s do not run elsewhere after %v%s", victim, patient, st.busy())
	}
	return st.summary(ctx, lost)
}

// busy says that survivors lost their leases, which is what a machine that cannot keep up looks like.
func (st *story) busy() string {
	if st.begun == 0 {
		return ""
	}
	return fmt.Sprintf("; hosts that live lost their leases meanwhile, and began %d new lives: this machine or its disk has too much else to do for the profile fast, which all three hosts on it run by. Try again when it has less", st.begun)
}

// pick is the host to kill: not the master, and with the most VMs.
func pick(status *api.Status, vms []api.VMView) string {
	best, most := "", -1
	for _, h := range status.Hosts {
		if n := len(owned(vms, h.Name)); !h.Master && n > most {
			best, most = h.Name, n
		}
	}
	return best
}

func owned(vms []api.VMView, host string) []string {
	var names []string
	for _, vm := range vms {
		if vm.Host == host {
			names = append(names, vm.Name)
		}
	}
	return names
}

// watch shows the cluster until done says so, or for as long as given.
func (st *story) watch(ctx context.Context, long time.Duration, done func(*api.Status, []api.VMView) bool) error {
	end := time.NewTimer(long)
	defer end.Stop()
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		status, vms, err := st.look(ctx)
		if err == nil {
			st.tellEvents(ctx)
			st.s.Panel(append([]string{""}, st.table(status, vms)...))
			if done(status, vms) {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-end.C:
			return nil
		case <-tick.C:
		}
	}
}

func (st *story) done(ctx context.Context, f func(*api.Status, []api.VMView) bool) bool {
	status, vms, err := st.look(ctx)
	return err == nil && f(status, vms)
}

// client is an agent that answers: any survivor's.
func (st *story) client(ctx context.Context) (*api.Client, error) {
	for _, h := range st.w.Hosts() {
		if h == st.killed {
			continue
		}
		c := st.clients[h]
		if c == nil {
			var err error
			if c, err = st.w.Client(h); err != nil {
				continue
			}
			st.clients[h] = c
		}
		cctx, cancel := context.WithTimeout(ctx, time.Second)
		self, err := c.Self(cctx)
		cancel()
		if err == nil && self.Master != "" {
			return c, nil
		}
	}
	return nil, errNobody
}

func (st *story) look(ctx context.Context) (*api.Status, []api.VMView, error) {
	c, err := st.client(ctx)
	if err != nil {
		return nil, nil, err
	}
	cctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	status, err := c.Status(cctx)
	if err != nil {
		return nil, nil, err
	}
	vms, err := c.VMs(cctx)
	if err != nil {
		return nil, nil, err
	}
	return status, slices.DeleteFunc(vms.VMs, func(vm api.VMView) bool { return !vm.Protected }), nil
}

func (st *story) skipEvents(ctx context.Context) {
	if c, err := st.client(ctx); err == nil {
		if l, err := c.Events(ctx, api.EventFilter{}); err == nil && len(l.Events) > 0 {
			st.last = l.Events[len(l.Events)-1].ID
		}
	}
}

// tellEvents shows the events since the last look, with their time from the host's death.
func (st *story) tellEvents(ctx context.Context) {
	c, err := st.client(ctx)
	if err != nil {
		return
	}
	l, err := c.Events(ctx, api.EventFilter{After: st.last})
	if err != nil {
		return
	}
	for _, e := range l.Events {
		st.last = e.ID
		if st.killed == "" {
			continue
		}
		if e.Type == fsm.EventHostAvailable && e.Host != st.killed {
			st.begun++
		}
		colour := map[string]string{"warning": "33", "critical": "31"}[string(e.Severity)]
		line := fmt.Sprintf("  +%.2f s  %s", e.At.Sub(st.at).Seconds(), e.Text)
		if colour != "" {
			line = st.s.paint(colour, line)
		}
		st.s.Line(line)
	}
}

// table shows hosts and VMs, with the countdown of a host that is silent.
func (st *story) table(status *api.Status, vms []api.VMView) []string {
	lines := []string{st.s.paint("1", fmt.Sprintf("%-6s %-34s %s", "HOST", "STATE", "PROTECTED VMS"))}
	for _, h := range status.Hosts {
		state := h.State
		if h.Master {
			state += ", master"
		}
		if h.DeadIn > 0 && h.State == "suspect" {
			left := h.DeadIn.Duration()
			state = fmt.Sprintf("silent; dead for certain in %.1f s", left.Seconds())
		}
		lines = append(lines, fmt.Sprintf("%-6s %-34s %s", h.Name, state, strings.Join(owned(vms, h.Name), " ")))
	}
	if none := owned(vms, ""); len(none) > 0 {
		lines = append(lines, fmt.Sprintf("%-6s %-34s %s", "-", "nobody's", strings.Join(none, " ")))
	}
	return lines
}

// beats reports whether the VM itself has been seen writing since the host died.
func (st *story) beats(vm string) bool {
	b, err := st.w.Beats(vm)
	return err == nil && len(b) > 1 && b[len(b)-1].first.After(st.at)
}

// summary says how long each VM was down, from its disk.
func (st *story) summary(ctx context.Context, lost []string) error {
	st.s.Panel(nil)
	status, vms, err := st.look(ctx)
	if err != nil {
		return err
	}
	st.s.Line("")
	for _, line := range st.table(status, vms) {
		st.s.Line(line)
	}
	st.s.Line("")
	var parts []string
	for _, vm := range vms {
		b, err := st.w.Beats(vm.Name)
		if err != nil {
			return err // above all: it ran twice
		}
		if !slices.Contains(lost, vm.Name) {
			if len(b) != 1 {
				return fmt.Errorf("%s was restarted although its host lived", vm.Name)
			}
			continue
		}
		down := b[len(b)-1].first.Sub(b[len(b)-2].last)
		parts = append(parts, fmt.Sprintf("%s %.1f s (%s to %s)", vm.Name, down.Seconds(), st.killed, vm.Host))
	}
	st.s.Line(st.s.paint("1;32", fmt.Sprintf("Down, from the last write to a VM's disk to the first by its next life: %s. No VM ran twice; the other %d did not notice.",
		strings.Join(parts, ", "), len(vms)-len(lost))))
	return nil
}
