// Package vmm is what Holdfast asks of a hypervisor: one interface, with the
// real libvirt behind it (vmm/libvirt) or one that lives in this process
// (vmm/embedded, for the demo and the simulation). It decides nothing and knows
// nothing of leases, owners or generations.
package vmm

import (
	"context"
	"errors"
	"time"
)

var (
	// ErrUnavailable: the hypervisor does not answer (libvirtd is not there yet,
	// restarts, or hangs past its deadline). Its VMs may go on running.
	ErrUnavailable = errors.New("hypervisor does not answer")
	// ErrNoDomain: no domain of that UUID is known here.
	ErrNoDomain = errors.New("no such domain")
	// ErrNotProven: the VM was told to end, but it could not be shown that its
	// process is gone. It counts as running.
	ErrNotProven = errors.New("cannot prove that the VM's process is gone")
	// ErrBadXML: the hypervisor refuses the domain's definition.
	ErrBadXML = errors.New("invalid domain definition")
	// ErrRunning: the domain runs already.
	ErrRunning = errors.New("domain is already running")
)

// State is what a domain does at this moment.
type State string

const (
	Running State = "running" // virtual CPUs run
	Paused  State = "paused"  // a process exists, virtual CPUs do not run
	Stopped State = "stopped" // no process
)

// Reason says why a stopped domain is stopped, or a paused one paused.
type Reason string

const (
	ReasonUnknown   Reason = "unknown"   // the hypervisor does not know (it was restarted since, or the domain never ran)
	ReasonShutdown  Reason = "shutdown"  // the guest shut itself down, or was asked to by a person: respected
	ReasonDestroyed Reason = "destroyed" // somebody pulled the VM's plug through the hypervisor
	ReasonCrashed   Reason = "crashed"   // the process died or the guest panicked
	ReasonFailed    Reason = "failed"    // the hypervisor could not start it
	ReasonSaved     Reason = "saved"     // its state was saved to a file
	ReasonMigrated  Reason = "migrated"  // stopped: it left for another host; paused: it is leaving at this moment
	ReasonIncoming  Reason = "incoming"  // paused: it comes from another host, or has come and waits to be let run
	ReasonIOError   Reason = "io_error"  // paused on a storage error
	ReasonUser      Reason = "user"      // paused by a person or by us
)

// Domain is one VM as the hypervisor of this host knows it.
type Domain struct {
	UUID string // lower case, with hyphens
	Name string
	State
	Reason     Reason
	Persistent bool   // a definition stays when it stops
	Autostart  bool   // the hypervisor would start it by itself at boot
	PID        int    // of its process; 0 when stopped
	StartTime  uint64 // of that process, as in Process
	VCPUs      int
	Memory     uint64 // bytes that the guest may use at most
	// XMLHash changes when the definition changes (of the inactive, migratable XML), but for
	// which of the host's devices those are that Devices lists.
	XMLHash string
	// Devices are those of the host that the definition hands to the guest and that could be
	// exchanged for others, in its order, as words such as "pci:0000:41:00.0".
	Devices []string
}

// Capacity is what the host has and what its running VMs take.
type Capacity struct {
	CPUs       int    // logical processors
	MHz        int    // of one processor
	Memory     uint64 // bytes installed
	MemoryFree uint64 // bytes that a new VM could take now
	Hypervisor string // for people: "QEMU 7.2.17, libvirt 9.0.0"
}

// EventKind is what happened to a domain.
type EventKind string

const (
	EventStarted EventKind = "started"
	EventResumed EventKind = "resumed"
	EventPaused  EventKind = "paused"
	EventStopped EventKind = "stopped"
	EventDefined EventKind = "defined"   // defined anew or changed
	EventGone    EventKind = "undefined" // its definition is gone
)

// Event is one lifecycle event. Events are hints to look again at once: they can
// be lost when the connection breaks, so a reader always lists Domains too.
type Event struct {
	UUID   string
	Name   string
	Kind   EventKind
	Reason Reason
}

// Process names one process of a VM beyond reuse of its number.
type Process struct {
	PID int
	// StartTime is field 22 of /proc/PID/stat, in clock ticks since boot.
	StartTime uint64
}

// Destination is another host's hypervisor, as a migration reaches it.
type Destination struct {
	Host string // its name
	// Socket is the path of a unix socket that leads to that hypervisor, for the drivers
	// that need one.
	Socket string
	// Bandwidth is how many bytes of memory may go there in a second; 0: as many as can.
	Bandwidth uint64
	// Memory is the path of a unix socket that leads to where the VM's memory is taken in
	// there, for the drivers that need one.
	Memory string
}

// Hypervisor is one host's hypervisor. Every call has a deadline by its context
// and returns an error that wraps ErrUnavailable when the hypervisor does not
// answer. Implementations are safe for concurrent use; a call that hangs never
// holds up another.
type Hypervisor interface {
	// Capacity reads the host's size and what is free.
	Capacity(ctx context.Context) (Capacity, error)
	// Offer tells what VMs find on the host besides room. It may take longer than
	// other calls, and changes rarely.
	Offer(ctx context.Context) (Offer, error)
	// Domains lists every domain, running or not, ordered by name.
	Domains(ctx context.Context) ([]Domain, error)
	// Usage tells what the VMs that have a process have taken, by UUID. One of which nothing is
	// known is left out.
	Usage(ctx context.Context) (map[string]Use, error)
	// XML returns the definition from which the domain can be defined elsewhere
	// (inactive, migratable, with secrets such as VNC passwords).
	XML(ctx context.Context, uuid string) (string, error)
	// StartPaused defines the domain from xml (replacing an older definition of
	// the same UUID), switches its autostart off, and creates its process with virtual CPUs
	// stopped. Nothing of the guest runs until Resume. When it fails no process is left, or
	// the error wraps ErrNotProven. ErrRunning when it runs already, ErrBadXML when refused.
	StartPaused(ctx context.Context, xml string) (Process, error)
	// Resume lets the virtual CPUs of a paused domain run. A copy that came from another host
	// and is not whole is refused.
	Resume(ctx context.Context, uuid string) error
	// Migrate sends a running domain to another host without stopping the guest for longer than
	// its last pages take. Its copy is there at once, paused with ReasonIncoming, and stays paused:
	// nothing but Resume there lets it run. The definition stays here, and is there too once the copy
	// is whole, persistent and with autostart off.
	//
	// It returns nil when the copy is whole and the process here is proven gone (stopped with
	// ReasonMigrated). An error that wraps ErrNotProven says that this is not known; a copy may then
	// be whole and the process here still be there. With any other error the domain was not
	// migrated and goes on here, if nothing else ended it. A copy may be left either way: whoever has it
	// ends it by Kill. When ctx ends the migration is ended, and Migrate still returns only when one of
	// these is known.
	Migrate(ctx context.Context, uuid string, to Destination) error
	// AbortMigration ends a migration from here that no Migrate of this caller waits for,
	// as a restarted agent may find it, and lets the domain go on if it was stopped for one.
	// nil when there is none, now or any more; whether the domain is still here Domains says.
	AbortMigration(ctx context.Context, uuid string) error
	// PingGuest asks the guest agent, a program inside of the VM, for an answer, and returns
	// nil when it came. ErrNoDomain when there is no such domain; any other error says in
	// words why there is no answer.
	PingGuest(ctx context.Context, uuid string) error
	// Shutdown asks the guest to shut down and returns at once.
	Shutdown(ctx context.Context, uuid string) error
	// Kill ends the domain's process without asking the guest, and returns nil
	// only when the process is proven gone (or there was none). It works, by way of
	// the process itself, even when the hypervisor's daemon does not answer.
	Kill(ctx context.Context, uuid string) error
	// SetAutostart sets whether the hypervisor starts the domain at boot.
	SetAutostart(ctx context.Context, uuid string, on bool) error
	// Subscribe delivers lifecycle events until ctx ends. The channel is closed
	// when the connection is lost or ctx ends; the caller subscribes again, and lists.
	Subscribe(ctx context.Context) (<-chan Event, error)
	// Close lets go of the connection. VMs go on.
	Close() error
}

// ReconnectDelay is how long a caller waits before it asks an unavailable
// hypervisor again.
const ReconnectDelay = time.Second
