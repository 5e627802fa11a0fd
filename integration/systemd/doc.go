// Package systemd tries the package under a real systemd: three hosts, each a container whose
// first process is systemd with logind, machined and libvirtd, on which the deb is installed by dpkg and
// QEMU runs in machined's scopes. Hosts are shut down and rebooted with systemctl, and what is
// judged is the journal of the host that went and what the cluster knows of its VMs.
//
// A host's root is this machine's, with a layer of its own above it in memory. Hosts share the
// machine's kernel: nothing here says what a kernel, firmware or hardware watchdog does on the way down.
package systemd
