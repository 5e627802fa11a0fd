package libvirt

import (
	rpc "github.com/digitalocean/go-libvirt"

	"github.com/holdfast-ha/holdfast/vmm"
)

// stateOf says in our words what libvirt holds about a domain. Blocked (waits for
// a resource) and Shutdown (the guest is about to end) have CPUs that may run.
func stateOf(state, reason int32) (vmm.State, vmm.Reason) {
	switch rpc.DomainState(state) {
	case rpc.DomainShutoff:
		return vmm.Stopped, shutoffReason(rpc.DomainShutoffReason(reason))
	case rpc.DomainPaused:
		return vmm.Paused, pausedReason(rpc.DomainPausedReason(reason))
	case rpc.DomainPmsuspended:
		return vmm.Paused, vmm.ReasonUser
	case rpc.DomainCrashed: // panicked, and its process was told to stay
		return vmm.Paused, vmm.ReasonCrashed
	default:
		return vmm.Running, ""
	}
}

func shutoffReason(r rpc.DomainShutoffReason) vmm.Reason {
	switch r {
	case rpc.DomainShutoffShutdown:
		return vmm.ReasonShutdown
	case rpc.DomainShutoffDestroyed:
		return vmm.ReasonDestroyed
	case rpc.DomainShutoffCrashed, rpc.DomainShutoffDaemon:
		// Daemon: libvirtd was restarted and could not take the process over.
		return vmm.ReasonCrashed
	case rpc.DomainShutoffMigrated:
		return vmm.ReasonMigrated
	case rpc.DomainShutoffSaved:
		return vmm.ReasonSaved
	case rpc.DomainShutoffFailed:
		return vmm.ReasonFailed
	default:
		return vmm.ReasonUnknown
	}
}

func pausedReason(r rpc.DomainPausedReason) vmm.Reason {
	switch r {
	case rpc.DomainPausedUser, rpc.DomainPausedStartingUp:
		return vmm.ReasonUser
	case rpc.DomainPausedIoerror:
		return vmm.ReasonIOError
	case rpc.DomainPausedCrashed:
		return vmm.ReasonCrashed
	case rpc.DomainPausedMigration, rpc.DomainPausedPostcopy, rpc.DomainPausedPostcopyFailed:
		return vmm.ReasonMigrated
	case rpc.DomainPausedSave:
		return vmm.ReasonSaved
	case rpc.DomainPausedShuttingDown:
		return vmm.ReasonShutdown
	default:
		return vmm.ReasonUnknown
	}
}

// eventOf says in our words what a lifecycle event means; false for those that
// only announce another one.
func eventOf(m rpc.DomainEventLifecycleMsg) (vmm.Event, bool) {
	ev := vmm.Event{UUID: formatUUID(m.Dom.UUID), Name: m.Dom.Name}
	switch rpc.DomainEventType(m.Event) {
	case rpc.DomainEventDefined:
		ev.Kind = vmm.EventDefined
	case rpc.DomainEventUndefined:
		ev.Kind = vmm.EventGone
	case rpc.DomainEventStarted:
		ev.Kind = vmm.EventStarted
	case rpc.DomainEventResumed:
		ev.Kind = vmm.EventResumed
	case rpc.DomainEventSuspended, rpc.DomainEventPmsuspended:
		ev.Kind, ev.Reason = vmm.EventPaused, vmm.ReasonUser
		if rpc.DomainEventType(m.Event) == rpc.DomainEventSuspended {
			ev.Reason = suspendedReason(rpc.DomainEventSuspendedDetailType(m.Detail))
		}
	case rpc.DomainEventCrashed:
		ev.Kind, ev.Reason = vmm.EventPaused, vmm.ReasonCrashed
	case rpc.DomainEventStopped:
		ev.Kind, ev.Reason = vmm.EventStopped, stoppedReason(rpc.DomainEventStoppedDetailType(m.Detail))
	default:
		return vmm.Event{}, false
	}
	return ev, true
}

func suspendedReason(d rpc.DomainEventSuspendedDetailType) vmm.Reason {
	switch d {
	case rpc.DomainEventSuspendedPaused:
		return vmm.ReasonUser
	case rpc.DomainEventSuspendedIoerror:
		return vmm.ReasonIOError
	case rpc.DomainEventSuspendedMigrated, rpc.DomainEventSuspendedPostcopy, rpc.DomainEventSuspendedPostcopyFailed:
		return vmm.ReasonMigrated
	default:
		return vmm.ReasonUnknown
	}
}

func stoppedReason(d rpc.DomainEventStoppedDetailType) vmm.Reason {
	switch d {
	case rpc.DomainEventStoppedShutdown:
		return vmm.ReasonShutdown
	case rpc.DomainEventStoppedDestroyed:
		return vmm.ReasonDestroyed
	case rpc.DomainEventStoppedCrashed, rpc.DomainEventStoppedFailed:
		// Failed is what libvirt says when QEMU's end came without a word.
		return vmm.ReasonCrashed
	case rpc.DomainEventStoppedMigrated:
		return vmm.ReasonMigrated
	case rpc.DomainEventStoppedSaved:
		return vmm.ReasonSaved
	default:
		return vmm.ReasonUnknown
	}
}
