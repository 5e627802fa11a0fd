package host

import (
	"time"

	"github.com/holdfast-ha/holdfast/fencing"
	"github.com/holdfast-ha/holdfast/fsm"
)

// resetBy is the timeout of the watchdog that resets this host if its VMs outlive
// their lease; 0 where nothing does. One that ends with its holder, or takes longer
// than everybody waits, does not count. most is the timing's T_wd.
func resetBy(w fencing.WatchdogStatus, most time.Duration) time.Duration {
	running := w.State == fencing.DogClosed // nobody pets it, and it ends only when all VMs are proven gone
	if !w.Protects() && !running || !w.Enduring || w.Timeout > most {
		return 0
	}
	return w.Timeout
}

func (h *Host) resetBy() time.Duration {
	return resetBy(h.cfg.Guard.Status().Watchdog, h.cfg.Timing.Watchdog)
}

// sayWatchdog numbers what is to be said of the watchdog, when that has changed. It is
// saved before it is said: a restarted agent is held to it.
func (h *Host) sayWatchdog() {
	now := h.resetBy()
	if h.record.Over || h.record.Incarnation == 0 || now == h.record.Watchdog.Timeout {
		return
	}
	r := h.record.clone()
	r.Watchdog = fsm.Watchdog{Word: r.Watchdog.Word + 1, Timeout: now}
	if err := h.save(r); err != nil {
		h.cfg.Log.Error("cannot save what is to be said of the watchdog", "error", err)
		return
	}
	h.cfg.Log.Info("the watchdog that bounds the VMs of this host has changed", "timeout", now)
	h.beatNow = true
}

// bounded reports whether this host is bounded by what the others count on (W5): it
// has a watchdog, or never said so in this life, or the state knows that it has none.
func (h *Host) bounded() bool {
	said := h.record.Watchdog
	if said.Word == 0 || h.resetBy() != 0 {
		return true
	}
	s, _, _ := h.cfg.View()
	if said.Timeout != 0 || s == nil || s.Hosts[h.cfg.Name] == nil {
		return false
	}
	is := s.Hosts[h.cfg.Name]
	return is.Incarnation == h.record.Incarnation && is.Watchdog.Word >= said.Word
}
