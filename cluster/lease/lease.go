// Package lease is the arithmetic of permissions to run: how long a renewal is
// worth, when it ends, and how long a master must wait before it may believe
// that it has ended everywhere. It is pure: no clock, no I/O; every moment is an
// argument, read from the boot clock of the host that asks.
//
// The rules are those of docs/safety.md. Whether a renewal comes by the network (N), by
// storage (S) or by proof (Q) makes no difference here.
package lease

import "time"

// Lease is one host's permission to run protected VMs, as that host sees it.
// The zero Lease permits nothing. All moments are readings of the holder's own
// boot clock.
//
// A lease that ended is over for good (R4): Renew refuses to revive it, and the
// host must ask for a new incarnation.
type Lease struct {
	// Incarnation is the life of the host that the lease belongs to; 0 is none.
	Incarnation uint64
	// End is the soft end: from here on no protected VM may run.
	End time.Duration
}

// Held reports whether the lease permits anything at now.
func (l Lease) Held(now time.Duration) bool { return l.Incarnation != 0 && now < l.End }

// Over reports whether the lease was held once and has ended.
func (l Lease) Over(now time.Duration) bool { return l.Incarnation != 0 && now >= l.End }

// Left is the time until the soft end, never negative.
func (l Lease) Left(now time.Duration) time.Duration {
	if !l.Held(now) {
		return 0
	}
	return l.End - now
}

// Begin is the first renewal of a new incarnation. sent is when the exchange
// that proved it was started.
func Begin(incarnation uint64, sent time.Duration, t Timing) Lease {
	return Lease{Incarnation: incarnation, End: sent + t.Lease}
}

// Renew returns the lease after an exchange that was started at sent and whose
// proof arrived at now. Its worth counts from sent, never from the answer. A
// renewal of another incarnation, or of a lease that has ended by now, changes
// nothing, nor does one that claims to have been started after now; and an old
// proof cannot shorten a newer one.
func (l Lease) Renew(incarnation uint64, sent, now time.Duration, t Timing) Lease {
	if incarnation != l.Incarnation || !l.Held(now) || sent > now {
		return l
	}
	if end := sent + t.Lease; end > l.End {
		l.End = end
	}
	return l
}

// MayStart reports whether a VM may be started at now (O2): the lease must leave
// at least the margin, so that a start that hangs is still undone in time.
func (l Lease) MayStart(now time.Duration, t Timing) bool { return l.Left(now) >= t.StartMargin() }

// Watch is what a master knows about one incarnation of one host, for deciding
// when it may be declared dead. All moments are readings of the master's own
// boot clock; a zero moment has not happened.
type Watch struct {
	// Heard is when a heartbeat last arrived (or when this master took office, if none has).
	Heard time.Duration
	// Acknowledged is when this master last answered a heartbeat with an acknowledgement.
	Acknowledged time.Duration
	// Elected is when this master's own election was confirmed by a committed entry.
	Elected time.Duration
	// Suspected is when it stopped acknowledging; 0 while it has not.
	Suspected time.Duration
	// Claims says that the host may prove its lease by heartbeat volumes (Q): the
	// claim that lists it has to stand on enough of them before any wait begins.
	Claims bool
	// Claimed is since when it does; 0: it does not.
	Claimed time.Duration
}

// Silent reports whether the host has been unheard for so long that the master
// should stop acknowledging it (one and a half heartbeat intervals).
func (w Watch) Silent(now time.Duration, t Timing) bool { return now-w.Heard > t.SuspectAfter() }

// DeadAt is the moment from which the incarnation may be declared dead if it is
// not heard again: D after the latest of the last acknowledgement, the master's
// own election (what a predecessor may have granted) and, where the host may prove
// its lease by heartbeat volumes, the moment since when a claim forbids that. ok is
// false while the host is not suspected, since an acknowledgement could still be
// given, while no claim stands that has to, and to a master without a confirmed
// election, who may declare nobody dead.
func (w Watch) DeadAt(t Timing) (at time.Duration, ok bool) {
	if w.Suspected == 0 || w.Elected == 0 || w.Claims && w.Claimed == 0 {
		return 0, false
	}
	return max(w.Acknowledged, w.Elected, w.claimed()) + t.Wait(), true
}

func (w Watch) claimed() time.Duration {
	if !w.Claims {
		return 0
	}
	return w.Claimed
}

// GoneAt is the moment by which the incarnation's own lease has ended, if it is
// not heard again: from there on its VMs are being stopped, and to switch the
// host off takes nothing from anybody. ok is false while the host is not suspected,
// and to a master without a confirmed election. Where a claim has to stand and none
// can be published, only switching the host off can end the wait: then it is D
// after the suspicion.
func (w Watch) GoneAt(t Timing) (at time.Duration, ok bool) {
	switch {
	case w.Suspected == 0 || w.Elected == 0:
		return 0, false
	case w.Claims && w.Claimed == 0:
		return max(w.Acknowledged, w.Elected, w.Suspected) + t.Wait(), true
	}
	return max(w.Acknowledged, w.Elected, w.claimed()) + t.LeaseGone(), true
}
