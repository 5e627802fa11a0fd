// Package fencing makes sure that a host runs no protected VM once its lease has
// ended, whatever has become of the agent. The guard is a process of its own: it
// reads one deadline from shared memory and, when that has passed, kills the
// processes of the protected VMs that are listed there, until none is left. The
// agent moves the deadline (Shared) and can be killed, frozen or replaced
// meanwhile.
//
// A host with a hardware watchdog has a second line: the guard pets it only while
// the lease leaves time for one turn more (Keeper), so that a host on which the
// guard cannot run, or a VM cannot be ended, is reset. A host whose VMs are all
// proven gone is not.
//
// The package knows nothing of raft, masters or hypervisors.
package fencing
