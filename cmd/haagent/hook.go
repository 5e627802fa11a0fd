package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/holdfast-ha/holdfast/cluster/agent"
	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/vmm/domainxml"
	"github.com/holdfast-ha/holdfast/vmm/libvirt"
)

// hookTimeout bounds the hook: libvirt, and the person at `virsh start`, wait for it.
const hookTimeout = 2 * time.Second

// runHook is libvirt's qemu hook: called with the VM's name, the operation and a
// sub-operation, and with the domain's XML on standard input. Its exit status
// lets the VM start or not, and what it writes to standard error reaches the person who asked.
// A protected VM is refused while the agent cannot be asked.
func runHook(c *cli.Context) error {
	name, op, sub := c.Args().Get(0), c.Args().Get(1), c.Args().Get(2)
	if sub != "begin" || op != "prepare" && op != "migrate" {
		return nil // nothing begins to run
	}
	ctx, cancel := context.WithTimeout(c.Context, hookTimeout)
	defer cancel()
	xml, err := io.ReadAll(io.LimitReader(os.Stdin, 1<<20))
	if err != nil {
		return fmt.Errorf("read the definition of %s: %w", name, err)
	}
	def, err := domainxml.Parse(string(xml))
	if err != nil {
		return fmt.Errorf("read the definition of %s: %w", name, err)
	}
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("read this host's name: %w", err)
	}
	cfg, err := config.LoadAgent(c.String("config"), nil, host, nil)
	if errors.Is(err, os.ErrNotExist) {
		return nil // no agent is configured here, so nothing is protected
	}
	if err != nil {
		return err
	}
	client := api.NewClient(cfg.Listen.Socket)
	defer client.Close()
	if op == "migrate" && !libvirt.Incoming(string(xml)) {
		op = "prepare" // by hand, and so with processors that run once it is here: no move of ours, but a start
	}
	_, err = client.AdmitStart(ctx, api.AdmitRequest{UUID: def.UUID, Name: name, Operation: op, Memory: def.Memory, VCPUs: def.VCPUs})
	var unreachable *api.UnreachableError
	if err == nil || !errors.As(err, &unreachable) && ctx.Err() == nil {
		return err
	}
	known, kerr := agent.Remembered(cfg.DataDir)
	if kerr != nil {
		return fmt.Errorf("haagent does not answer, and whether %s is protected cannot be read: %w", name, kerr)
	}
	if slices.Contains(known, def.UUID) {
		return fmt.Errorf("%s is protected, and haagent, which knows where it may run, does not answer: start it first (systemctl start haagent)", name)
	}
	return nil
}
