package host

import (
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/fencing"
	"github.com/holdfast-ha/holdfast/vmm"
)

// violated notes an invariant that was seen violated (docs/safety.md). The master makes
// it an event. Of the same thing the text has to be the same, so that it is told once.
func (h *Host) violated(rule, format string, args ...any) {
	v := api.Violation{Rule: rule, Text: fmt.Sprintf(format, args...)}
	if slices.Contains(h.broken, v) {
		return
	}
	h.cfg.Log.Error("an invariant is violated", "rule", v.Rule, "seen", v.Text)
	h.broken = append(slices.Clone(h.broken), v)
}

// assertLawful reports whether a start may begin (I3): under the lease of the recorded
// life, in a generation that is saved. That the lease leaves its margin is asked again
// right before the VM runs, of the guard.
func (h *Host) assertLawful(o Order) bool {
	why := ""
	switch l := h.lease; {
	case l.Incarnation != 0 && l.Over(h.cfg.Now()):
		return false // since it was decided: saving that may have taken its time
	case h.record.Over || l.Incarnation == 0:
		why = "without a lease"
	case l.Incarnation != h.record.Incarnation:
		why = fmt.Sprintf("under the lease of incarnation %d, in incarnation %d", l.Incarnation, h.record.Incarnation)
	case h.record.Executed[o.UUID] != o.Generation:
		why = fmt.Sprintf("in generation %d, and %d is what was saved", o.Generation, h.record.Executed[o.UUID])
	default:
		return true
	}
	h.violated("I3", "%s was to be started %s: it is not", o.Name, why)
	return false
}

// assertGuarded looks at when the guard acted on the end of the lease, if it had VMs to
// end (I1). One that is later than its tick and what everybody adds to every wait was not
// let run; the VMs are ended by the agent as well, and a watchdog ends what both leave.
func (h *Host) assertGuarded() {
	now, g := h.cfg.Now(), h.cfg.Guard.Status()
	acted := g.Tripped
	if acted == 0 {
		acted, h.guarded = now, g.Covered
	}
	allowed := fencing.Tick + h.cfg.Timing.Grain
	if g.Deadline != 0 && h.guarded > 0 && acted > g.Deadline+allowed {
		h.violated("I1", "the guard did not act within %v of the end of the lease of incarnation %d", allowed, g.Incarnation)
	}
}

// lateFor is how many intervals a VM must be seen past the hard end: one that a person
// starts there is killed sooner.
const lateFor = 3

// assertEnded looks for protected VMs past the hard end of the lease (I2). They are being
// killed all the time, and no other life begins before they are gone (R4).
func (h *Host) assertEnded() {
	g := h.cfg.Guard.Status()
	l := h.list
	if l.err != nil || g.Incarnation == 0 || l.began < g.Deadline+h.cfg.Timing.HardEnd() {
		h.late = nil
		return
	}
	late := map[string]time.Duration{}
	for _, d := range l.domains {
		if d.State != vmm.Running || !h.record.knows(d.UUID) {
			continue
		}
		since, seen := h.late[d.UUID]
		if !seen {
			since = l.began
		}
		late[d.UUID] = since
		if l.began-since >= lateFor*h.cfg.Timing.Heartbeat {
			h.violated("I2", "%s runs past the hard end of the lease of incarnation %d", d.Name, g.Incarnation)
		}
	}
	h.late = late
}
