// Command inside is what runs in a machine of the machine world besides haagent
// and haadm: the first process, the hand of the harness, the agent with VMs that
// are plain processes, those VMs, and what loads the machine. It is for tests only.
//
// The guard is the product's own (`haagent guard`), and so is all of the agent but
// the hypervisor: QEMU in QEMU would not leave two processors time for anything.
// Both run with the priorities that their units in packaging/systemd give them.
package main

import (
	"fmt"
	"os"
)

func main() {
	parts := map[string]func(args []string) error{
		"init": initProcess, "serve": serve, "service": service, "agent": runAgent, "vm": runVM, "start-vm": startVM, "load": load, "squeeze": squeeze, "volume-io": volumeIO, "qualify": qualify, "qualified": qualified, "gap": gap,
	}
	if len(os.Args) < 2 || parts[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: inside init|serve|service|agent|vm|start-vm|load|squeeze|volume-io|qualify|qualified|gap …")
		os.Exit(2)
	}
	if err := parts[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Fprintf(os.Stderr, "inside %s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
}
