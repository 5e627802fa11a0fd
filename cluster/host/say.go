package host

import (
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/lease"
	"github.com/holdfast-ha/holdfast/fencing"
	"github.com/holdfast-ha/holdfast/vmm"
)

// publish makes the host's standing readable from other goroutines.
func (h *Host) publish() {
	_, index, _ := h.cfg.View()
	s := Status{Incarnation: h.record.Incarnation, Trusted: h.trustFrom != 0 && index >= h.trustFrom,
		Lease: h.lease, Guard: guardWord(h.cfg.Guard.Status(), h.cfg.Now())}
	if h.record.Over {
		s.Lease = lease.Lease{}
		s.Problems = append(s.Problems, fmt.Sprintf("incarnation %d is over (%s); a new one has not begun yet", h.record.Incarnation, h.beginWhy))
	}
	if h.beatErr != nil && !h.lease.Held(h.cfg.Now()) {
		s.Problems = append(s.Problems, "no heartbeat is answered: "+h.beatErr.Error())
	}
	if h.list.err != nil {
		s.Problems = append(s.Problems, "hypervisor: "+h.list.err.Error())
	}
	if s.Guard != guardRuns {
		s.Problems = append(s.Problems, "guard: "+s.Guard+": if this agent dies nothing stops its VMs at the end of the lease")
	}
	if w := h.cfg.Guard.Status().Watchdog; w.Timeout > h.cfg.Timing.Watchdog {
		s.Problems = append(s.Problems, "watchdog: "+watchdogWord(w, h.cfg.Timing.Watchdog))
	}
	if !h.bounded() {
		s.Problems = append(s.Problems,
			"the watchdog that the cluster counts on is gone, and no master has committed that yet: the lease is not renewed before (rule W5)")
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pub = s
}

const guardRuns = "running"

func guardWord(g fencing.Status, now time.Duration) string {
	switch {
	case g.Beat == 0:
		return "not running"
	case now-g.Beat > time.Second:
		return fmt.Sprintf("silent for %v", (now - g.Beat).Round(100*time.Millisecond))
	}
	return guardRuns
}

// watchdogWord tells how the watchdog stands, for people. most is what the timing
// counts with: one that takes longer to reset the host is not waited out.
func watchdogWord(w fencing.WatchdogStatus, most time.Duration) string {
	if w.Device == "" {
		return "none"
	}
	word := fmt.Sprintf("%s %v", w.State, w.Timeout)
	if w.Timeout > most {
		word += fmt.Sprintf(", longer than the %v that everybody waits for: set watchdog_timeout of the policy and the guard's to the same", most)
	}
	if w.Err != nil {
		word += ": " + w.Err.Error()
	}
	return word
}

// inUse is the memory of the domains that have a process, bytes.
func inUse(domains []vmm.Domain) (sum uint64) {
	for _, d := range domains {
		if d.State != vmm.Stopped {
			sum += d.Memory
		}
	}
	return sum
}

// tell renews the report for the master when anything in it has changed.
func (h *Host) tell(outcomes []api.OutcomeReport) {
	r := api.HostReport{Capacity: h.list.capacity, Offer: h.offers.offer, Datastores: h.offers.datastores,
		Devices: h.offers.devices, Outcomes: outcomes, Uses: h.uses.of, Draining: h.closing.on,
		Reboot: h.closing.on && h.closing.reboot, Reserve: h.cfg.Reserve, Version: h.cfg.Version,
		Volumes: h.cfg.Volumes.Report(), Broken: slices.Concat(h.broken, h.cfg.Volumes.Broken()),
		Guard:    guardWord(h.cfg.Guard.Status(), h.cfg.Now()),
		Watchdog: watchdogWord(h.cfg.Guard.Status().Watchdog, h.cfg.Timing.Watchdog)}
	// What is free by the sizes of the VMs: what the kernel has free changes all the time.
	r.Capacity.MemoryFree = r.Capacity.Memory - min(r.Capacity.Memory, r.Reserve+inUse(h.list.domains))
	r.Late = h.tardy.word(h.cfg.Now())
	if h.cfg.Disk != nil {
		if err := h.cfg.Disk(); err != nil {
			r.DiskError = err.Error()
		}
	}
	if h.list.err != nil {
		r.HypervisorError = h.list.err.Error()
	}
	for _, d := range h.list.domains {
		x := api.DomainReport{UUID: d.UUID, Name: d.Name, State: d.State, Reason: d.Reason, VCPUs: d.VCPUs,
			Memory: d.Memory, XMLHash: d.XMLHash, Devices: d.Devices, Persistent: d.Persistent}
		if g := h.ready[d.UUID]; g != nil {
			x.Ready, x.NotReady = g.ready, g.why
		}
		r.Domains = append(r.Domains, x)
	}
	if reflect.DeepEqual(r, h.report) {
		return
	}
	if !slices.Equal(r.Outcomes, h.report.Outcomes) && len(outcomes) > 0 {
		h.beatNow = true // what became of a VM does not wait for the next interval
	}
	h.report = r
	h.reportRev++
}
