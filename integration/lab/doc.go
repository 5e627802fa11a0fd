// Package lab is a test bed of real libvirt hosts on one machine, for the tests
// of this folder and for the demo.
//
// A host is a process tree in mount, network, UTS, IPC and PID namespaces of its
// own: its first process (this binary, executed again) starts libvirtd and the
// agent and reaps what dies. Everything that a host keeps (libvirt's and the
// agent's directories) is private to it and survives its power loss; VM disks
// lie in a directory that all hosts see. Hosts are joined by one bridge for each
// HA network, in a network namespace that no host is in, so that a cable can be
// pulled. Addresses exist inside these namespaces alone.
//
// Power loss is one SIGKILL: when the first process of a PID namespace dies the
// kernel kills all others. Cables are pulled first, because the kernel would
// close the sockets of killed processes politely, and a host without power says
// no farewell. One thing a killed host does better than one without power: what
// it had written stays in the machine's page cache.
//
// A lab leaves nothing behind. Hosts die with the process that made the lab, by
// whatever it dies; a keeper process removes the files when that process is gone;
// Sweep removes what is left if the keeper was killed as well.
//
// The judge watches from outside and believes no manager: it counts the QEMU
// processes whose virtual CPUs execute, and reads the witness that each guest
// writes to its disk.
//
// The package decides nothing about high availability. A program that uses it
// must call Enter before anything else, and run as root.
package lab
