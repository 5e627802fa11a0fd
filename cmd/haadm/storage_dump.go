package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/storagehb"
)

func (p *program) volumeDumpCommand() *cli.Command {
	return p.leaf("dump", "everything that stands on a volume, of any cluster; -o wide: every field of every record",
		"PATH", 1, 1, nil, func(ctx context.Context, c *cli.Context) error {
			path := c.Args().First()
			if p.format == "wide" {
				return p.dumpRaw(ctx, path)
			}
			v, err := patiently(ctx, p, path, func() (*volume, error) { return readVolume(path) })
			if err != nil {
				return err
			}
			return p.show(struct {
				Schema int         `json:"schema"`
				Path   string      `json:"path"`
				Volume *volumeView `json:"volume"`
				Slots  []slotView  `json:"slots"`
			}{api.Schema, path, viewOfVolume(v), viewsOfSlots(v, p.now())}, func() { p.dump(v) })
		})
}

// dumpRaw writes every record as it stands there.
func (p *program) dumpRaw(ctx context.Context, path string) error {
	text, err := patiently(ctx, p, path, func() (string, error) {
		d, err := storagehb.Open(path)
		if err != nil {
			return "", err
		}
		defer func() { _ = d.Close() }() // it was only read
		var b strings.Builder
		err = storagehb.Dump(ctx, &b, d)
		return b.String(), err
	})
	if err != nil {
		return err
	}
	_, err = io.WriteString(p.stdout, harmless(text))
	return err
}

// dump shows a volume by kinds of records, as they are read together.
func (p *program) dump(v *volume) {
	p.volumeFacts(v)
	p.say("")
	if len(v.slots) == 0 {
		p.say("No host has written to it yet.")
	} else {
		p.say("Heartbeats: each host of itself")
		p.slotTable(v)
	}
	p.dumpClaims(v)
	p.dumpAcks(v)
	p.dumpVMs(v)
	if d := v.damage(); len(d) > 0 {
		p.say("")
		p.say("Damaged, and counted for nothing (a write that was cut short leaves one of two copies so)")
		for _, line := range d {
			p.paragraph("  "+p.tint("!", "warning")+" ", line)
		}
	}
}

// dumpClaims shows what masters say of others. The one that counts comes first.
func (p *program) dumpClaims(v *volume) {
	var rows [][]any
	top := -1
	for i := range v.slots {
		if c := v.slots[i].claim; c.OK && (top < 0 || c.Value.Stamp().Compare(v.slots[top].claim.Value.Stamp()) > 0) {
			top = i
		}
	}
	for i := range v.slots {
		s := &v.slots[i]
		if !s.claim.OK {
			continue
		}
		c := s.claim.Value
		var says []string
		for _, l := range c.Listed {
			says = append(says, fmt.Sprintf("%s incarnation %d %v", v.inSlot(l.Slot), l.Incarnation, l.Standing))
		}
		mark := ""
		if i == top {
			mark = " *"
		}
		rows = append(rows, []any{s.host() + mark, p.ago(s.claim.Origin.Wall) + " ago",
			c.Epoch, c.Version, c.Index, dash(strings.Join(says, ", ")), dash(c.Reason)})
	}
	if len(rows) > 0 {
		p.say("")
		p.say("Claims: masters of others")
		p.grid([]any{"BY", "WRITTEN", "EPOCH", "VERSION", "INDEX", "SAYS", "BECAUSE"}, rows)
		p.say("* counts: the highest of (epoch, version)")
	}
}

func (p *program) dumpAcks(v *volume) {
	var rows [][]any
	for i := range v.slots {
		s := &v.slots[i]
		if !s.acks.OK {
			continue
		}
		a := s.acks.Value
		var heard []string
		for _, h := range a.Heard {
			heard = append(heard, fmt.Sprintf("%s %d.%d.%d", v.inSlot(h.Slot), h.Incarnation, h.Run, h.Seq))
		}
		rows = append(rows, []any{s.host(), p.ago(s.acks.Origin.Wall) + " ago", a.Epoch, a.Seq, dash(strings.Join(heard, ", "))})
	}
	if len(rows) > 0 {
		p.say("")
		p.say("Acknowledgements: masters to others (host incarnation.run.seq)")
		p.grid([]any{"BY", "WRITTEN", "EPOCH", "SEQ", "HEARD"}, rows)
	}
}

func (p *program) dumpVMs(v *volume) {
	var rows [][]any
	for i := range v.slots {
		s := &v.slots[i]
		if !s.vms.OK {
			continue
		}
		written := p.ago(s.vms.Origin.Wall) + " ago"
		if len(s.vms.Value.VMs) == 0 {
			rows = append(rows, []any{s.host(), written, "-"})
		}
		for _, vm := range s.vms.Value.VMs {
			rows = append(rows, []any{s.host(), written, vm.UUID.String(), vm.Generation, vm.State.String()})
		}
	}
	if len(rows) > 0 {
		p.say("")
		p.say("Protected VMs: each host of its own")
		p.grid([]any{"HOST", "WRITTEN", "VM", "GENERATION", "STATE"}, rows)
	}
}

// inSlot names the host that has a slot.
func (v *volume) inSlot(slot int) string {
	for i := range v.slots {
		if s := &v.slots[i]; s.slot == slot && s.host() != "" {
			return s.host()
		}
	}
	return fmt.Sprintf("slot %d", slot)
}
