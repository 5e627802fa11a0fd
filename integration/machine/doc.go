// Package machine is the machine world: three hosts that are machines of their
// own in QEMU, with Debian's ordinary kernel and a watchdog that really resets
// them, a disk for the VMs and one that is a heartbeat volume, both shared. It boots
// them, cuts their networks, stalls their disks, stops what runs on them, leaves them
// without memory, and judges by two things alone that no agent can talk its way out
// of: the marks that VMs leave on the disk that all machines share, and the moments at
// which QEMU says that a machine was reset.
//
// It needs no root: machines talk through a switch in this process, over sockets
// of its own directory, and everything ends with it.
//
// It needs one of two processors for itself. Where it gets less, masters lose their
// office for want of time, and scenarios fail that wait for one. So it measures from
// outside what its machines were kept from: a scenario that fails meanwhile is played
// once more, and then says that nothing was judged. Two writers are never excused.
package machine
