// Package fencing makes sure that a host runs no protected VM once its lease has
// ended, whatever has become of the agent. The guard is a process of its own: it
// reads one deadline from shared memory and, when that has passed, kills the
// processes of the protected VMs that are listed there, until none is left. The
// agent moves the deadline (Shared) and can be killed, frozen or replaced
// meanwhile.
//
// The package knows nothing of raft, masters or hypervisors.
package fencing
