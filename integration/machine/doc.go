// Package machine is the machine world: three hosts that are machines of their
// own in QEMU, with Debian's ordinary kernel and a watchdog that really resets
// them. It boots them, cuts their networks, stalls their disks, stops what runs on
// them, and judges by two things alone that no agent can talk its way out of: the
// marks that VMs leave on a disk that all machines share, and the moments at which
// QEMU says that a machine was reset.
//
// It needs no root: machines talk through a switch in this process, over sockets
// of its own directory, and everything ends with it.
package machine
