package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/urfave/cli/v2"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/lease"
	"github.com/holdfast-ha/holdfast/fsm"
)

// hostFencing is how one host can be switched off.
type hostFencing struct {
	Host    string            `json:"host"`
	State   string            `json:"state"`
	Master  bool              `json:"master"`
	Devices []api.FenceDevice `json:"devices"` // in the order in which they are tried
	// Held is set while a person wants the host to stay off.
	Held *api.HoldView `json:"held,omitempty"`
	// LastUsed is the newest event about its being switched.
	LastUsed *api.EventView `json:"last_used,omitempty"`
}

// fenceUses are the events that tell of a host's being switched.
var fenceUses = []string{"host_fencing_started", "host_fencing_failed", "host_switched_on", fsm.EventHostHeldOff}

func (p *program) fenceStatusCommand() *cli.Command {
	return p.leaf("status",
		"for each host, or one: what would switch it off, whether that works, when it was last used, and whether a person holds it off",
		"[HOST]", 0, 1, nil, func(ctx context.Context, c *cli.Context) error {
			client := p.client()
			defer client.Close()
			all, wait, err := p.fencing(ctx, client, c.Args().First())
			if err != nil {
				return err
			}
			return p.show(struct {
				Schema int           `json:"schema"`
				Wait   api.Seconds   `json:"wait_seconds"` // D, which a host without a device that works is waited out
				Hosts  []hostFencing `json:"hosts"`
			}{api.Schema, api.Seconds(wait.Wait()), all}, func() {
				p.fencingTable(all)
				p.say("")
				p.paragraph("",
					fmt.Sprintf("A dead host that no device has proven off is waited out: %s from when it was last heard, whatever its devices do meanwhile. '%s' asks them now.",
						bound(wait.Wait()), "haadm fence test HOST"))
			})
		})
}

func (p *program) fencing(ctx context.Context, client *api.Client, only string) ([]hostFencing, lease.Timing, error) {
	hosts, err := client.Hosts(ctx)
	if err != nil {
		return nil, lease.Timing{}, err
	}
	if only != "" {
		h, err := pickHost(hosts.Hosts, only)
		if err != nil {
			return nil, lease.Timing{}, err
		}
		hosts.Hosts = []api.HostView{h}
	}
	devices, err := client.FenceDevices(ctx)
	if err != nil {
		return nil, lease.Timing{}, err
	}
	cluster, err := client.Cluster(ctx)
	if err != nil {
		return nil, lease.Timing{}, err
	}
	events, err := client.Events(ctx, api.EventFilter{})
	if err != nil {
		return nil, lease.Timing{}, err
	}
	all := []hostFencing{}
	for _, h := range hosts.Hosts {
		f := hostFencing{Host: h.Name, State: h.State, Master: h.Master, Devices: []api.FenceDevice{}, Held: h.Held}
		for _, d := range devices.Devices {
			if d.Host == h.Name {
				f.Devices = append(f.Devices, d)
			}
		}
		slices.SortStableFunc(f.Devices, func(a, b api.FenceDevice) int { return a.Level - b.Level })
		for i := range events.Events {
			if e := &events.Events[i]; e.Host == h.Name && slices.Contains(fenceUses, e.Type) {
				f.LastUsed = e
			}
		}
		all = append(all, f)
	}
	return all, cluster.Timing.Timing(), nil
}

func (p *program) fencingTable(all []hostFencing) {
	var rows [][]any
	for _, f := range all {
		name := f.Host
		if f.Master {
			name += " *"
		}
		if len(f.Devices) == 0 {
			rows = append(rows, []any{name, "-", "-", "-", "no device: waited out, or 'haadm fence confirm " + f.Host + "'", "-"})
		}
		for _, d := range f.Devices {
			rows = append(rows, []any{name, strconv.Itoa(d.Level), d.Name, d.Agent, p.deviceState(d), p.checkedAgo(d)})
			name = ""
		}
	}
	p.grid([]any{"HOST", "ORDER", "DEVICE", "AGENT", "STATE", "CHECKED"}, rows)
	if slices.ContainsFunc(all, func(f hostFencing) bool { return f.Master }) {
		p.say("* master: the next one would use its devices")
	}
	said := false
	for _, f := range all {
		if f.Held == nil {
			continue
		}
		if !said {
			p.say("")
			said = true
		}
		p.paragraph(p.tint("held off", fsm.Warning)+"  ", f.Host+": "+p.heldWords(f.Host, f.Held))
	}
	first := true
	for _, f := range all {
		if f.LastUsed == nil {
			continue
		}
		if first {
			p.say("")
			p.say("Last used")
			first = false
		}
		p.event(*f.LastUsed)
	}
}

// heldWords say of a host that is to stay off who wants that, since when, and what ends it.
func (p *program) heldWords(host string, h *api.HoldView) string {
	by := h.By
	if by == "" {
		by = "a person"
	}
	return fmt.Sprintf("%s has wanted it to stay off for %s, so the cluster does not switch it on: 'haadm fence on %s' ends that, and so does its next boot",
		by, p.ago(h.At), host)
}
