package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/integration/lab"
)

// namespaces is the world of real libvirt hosts.
type namespaces struct {
	bin string
	lab *lab.Lab
	vms []string
}

func newNamespaces(bin string) *namespaces { return &namespaces{bin: bin} }

func (n *namespaces) What() string {
	return "each a namespace with its own libvirtd, and real QEMU guests"
}

func (n *namespaces) Up(ctx context.Context, tell func(string)) (err error) {
	tell("starting three hosts with libvirtd and haagent …")
	n.lab, err = lab.New(ctx, lab.Config{Hosts: 3, AgentBinary: filepath.Join(n.bin, "haagent"), AdmBinary: filepath.Join(n.bin, "haadm"), Profile: "fast"})
	if err != nil {
		return err
	}
	tell("forming a cluster of them (haadm cluster bootstrap, token create, join) …")
	if err := n.lab.Form(ctx); err != nil {
		return err
	}
	tell("starting four guests by hand, as a person would …")
	names := []string{"db", "mail", "web", "wiki"}
	hosts := n.lab.Hosts()
	for i, name := range names {
		g, err := n.lab.CreateGuest(name, lab.Witness)
		if err != nil {
			return err
		}
		h := hosts[(i+1)%len(hosts)] // the first host becomes the master; another one, with two of them, is to die
		if err := h.Define(ctx, g); err != nil {
			return err
		}
		if err := h.StartGuest(ctx, g); err != nil {
			return err
		}
		n.vms = append(n.vms, name)
	}
	for _, name := range names {
		if _, err := n.lab.Judge().WaitBeat(ctx, name, time.Time{}); err != nil {
			return fmt.Errorf("wait for guest %s to boot: %w", name, err)
		}
	}
	tell("protecting them (haadm protect) …")
	for _, name := range names {
		if err := n.lab.Protect(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

func (n *namespaces) Hosts() []string {
	var names []string
	for _, h := range n.lab.Hosts() {
		names = append(names, h.Name())
	}
	return names
}

func (n *namespaces) VMs() []string { return n.vms }

func (n *namespaces) Client(host string) (*api.Client, error) { return n.lab.Host(host).Client() }

func (n *namespaces) Kill(ctx context.Context, host string) (time.Time, error) {
	return n.lab.Host(host).PowerOff(ctx)
}

func (n *namespaces) Beats(vm string) ([]beat, error) {
	if err := n.lab.Judge().Check(vm); err != nil {
		return nil, err
	}
	var beats []beat
	for _, l := range n.lab.Judge().Lives(vm) {
		beats = append(beats, beat{first: l.First, last: l.Last})
	}
	return beats, nil
}

func (n *namespaces) Close() error {
	if n.lab == nil {
		return nil
	}
	return n.lab.Close()
}
