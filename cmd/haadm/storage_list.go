package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/holdfast-ha/holdfast/cluster/api"
)

func (p *program) storageListCommand() *cli.Command {
	return p.leaf("list",
		"every heartbeat volume: in use or why not, on how many hosts it works, and what a takeover and a proof need", "", 0, 0, nil,
		func(ctx context.Context, _ *cli.Context) error {
			a, err := p.askStorage(ctx)
			if err != nil {
				return err
			}
			return p.show(a, func() {
				p.storageList(a)
				p.note(a.Source)
			})
		})
}

func (p *program) storageShowCommand() *cli.Command {
	return p.leaf("show", "one heartbeat volume, host by host", "NAME", 1, 1, nil, func(ctx context.Context, c *cli.Context) error {
		a, err := p.askStorage(ctx)
		if err != nil {
			return err
		}
		name := c.Args().First()
		var its []api.VolumeView // one whose path was changed is there twice for a moment
		var known []string
		for _, v := range a.Volumes {
			if known = append(known, v.Name); v.Name == name || v.Path == name {
				its = append(its, v)
			}
		}
		if len(its) == 0 {
			return &api.Error{Code: api.CodeNotFound,
				Message: fmt.Sprintf("there is no heartbeat volume called %q; there are: %s", name, dash(strings.Join(known, ", ")))}
		}
		a.Volumes = its
		return p.show(a, func() {
			for i, v := range its {
				if i > 0 {
					p.say("")
				}
				p.storageVolume(a, v)
			}
			p.note(a.Source)
		})
	})
}

func (p *program) askStorage(ctx context.Context) (*api.StorageAnswer, error) {
	c := p.client()
	defer c.Close()
	return c.Storage(ctx)
}

func (p *program) storageList(a *api.StorageAnswer) {
	p.paragraph("", p.setLine(a))
	if len(a.Volumes) == 0 {
		p.say("")
		p.paragraph("", "The policy names none. Make one, name it in the policy, apply:")
		p.say("  haadm storage heartbeat init PATH")
		return
	}
	p.say("")
	if p.format == "wide" {
		p.volumesByHost(a.Volumes)
	} else {
		var rows [][]any
		for _, v := range a.Volumes {
			rows = append(rows, []any{v.Name, p.inUse(v), p.worksOn(v), dash(v.Kind), dash(v.Server), v.Path})
		}
		p.grid([]any{"VOLUME", "IN USE", "WORKS ON", "KIND", "SERVER", "PATH"}, rows)
	}
	for _, v := range a.Volumes {
		switch {
		case v.InUse && v.Why != "":
			p.say("")
			p.paragraph("", fmt.Sprintf("%s is still in use: %s.", v.Name, v.Why))
		case v.Spare && v.Why != "":
			p.say("")
			p.paragraph("", fmt.Sprintf("%s is a spare: %s.", v.Name, v.Why))
		}
	}
	if len(a.Problems) > 0 {
		p.problems(a.Problems)
	}
}

// setLine says which volumes hosts prove with, and what that asks for.
func (p *program) setLine(a *api.StorageAnswer) string {
	var s string
	switch n := len(a.Set.Volumes); {
	case n == 0 && a.Set.Revision == 0:
		s = "No heartbeat volume is in use: the network alone renews leases."
	case n == 0:
		s = fmt.Sprintf("No heartbeat volume is in use since revision %d, for %s: the network alone renews leases.",
			a.Set.Revision, p.ago(a.Set.Since))
	default:
		s = fmt.Sprintf("%s in use, revision %d, for %s: a takeover needs %d of %d, a proof %d of %d.",
			plural(n, "heartbeat volume", "heartbeat volumes"), a.Set.Revision, p.ago(a.Set.Since), a.Set.Takeover, n, a.Set.Proof, n)
	}
	if a.Before != nil {
		with := dash(strings.Join(a.Before.Volumes, ", "))
		if len(a.Before.Volumes) == 0 {
			with = "none"
		}
		verb := "prove"
		if len(a.Behind) == 1 {
			verb = "proves"
		}
		s += fmt.Sprintf(" %s still %s with the revision before, %d (%s)", strings.Join(a.Behind, ", "), verb, a.Before.Revision, with)
		if n := len(a.Before.Volumes); n > 0 {
			s += fmt.Sprintf(": a takeover from there needs %d of those %d as well", a.Before.Takeover, n)
		}
		s += "."
	}
	return s
}

func (p *program) inUse(v api.VolumeView) string {
	switch {
	case v.InUse && v.Why != "":
		return p.tint("still", "warning")
	case v.InUse && v.Pinned:
		return p.tint("pinned", "info")
	case v.InUse:
		return p.tint("yes", "info")
	case v.Spare:
		return "spare"
	}
	return p.tint("no", "warning")
}

// worksOn counts the hosts on which a volume works, or could, of those that have said.
func (p *program) worksOn(v api.VolumeView) string {
	works, said := 0, 0
	for _, h := range v.Hosts {
		if h.State == "working" || h.State == api.VolumeFound {
			works++
		}
		if h.State != api.VolumeUnknown {
			said++
		}
	}
	switch {
	case said == 0:
		return "-"
	case works < said:
		return p.tint(fmt.Sprintf("%d of %d", works, said), "warning")
	case said < len(v.Hosts):
		return fmt.Sprintf("%d of %d, %d silent", works, said, len(v.Hosts)-said)
	}
	return fmt.Sprintf("%d of %d", works, said)
}

// volumesByHost is one row for each volume on each host.
func (p *program) volumesByHost(volumes []api.VolumeView) {
	var rows [][]any
	for _, v := range volumes {
		for _, h := range v.Hosts {
			rows = append(rows, []any{v.Name, p.inUse(v), h.Host, p.volumeState(h.State), p.heard(h), dash(h.ID), v.Path, dash(h.Error)})
		}
	}
	p.grid([]any{"VOLUME", "IN USE", "HOST", "STATE", "HEARD", "FINDS", "PATH", "ERROR"}, rows)
}

func (p *program) heard(h api.VolumeOnHost) string {
	if h.Heard == nil {
		return "-"
	}
	return span(h.Heard.Duration()) + " ago"
}

// volumeState colours the state of a volume on a host.
func (p *program) volumeState(state string) string {
	switch state {
	case "working":
		return p.tint(state, "info")
	case "degraded", "failing", api.VolumeUnusable:
		return p.tint(state, "critical")
	}
	return state
}

func (p *program) storageVolume(a *api.StorageAnswer, v api.VolumeView) {
	p.field("volume", "%s", v.Name)
	p.field("path", "%s", v.Path)
	p.field("id", "%s", dash(v.ID))
	p.field("kind", "%s", dash(v.Kind))
	p.field("server", "%s", dash(v.Server))
	use := p.inUse(v)
	if v.InUse && slices.Contains(a.Set.Volumes, v.Name) && v.InPolicy {
		use += fmt.Sprintf(", revision %d", a.Set.Revision)
	}
	if v.Why != "" {
		use += ": " + v.Why
	}
	p.field("in use", "%s", use)
	p.say("")
	var rows [][]any
	for _, h := range v.Hosts {
		row := []any{h.Host, p.volumeState(h.State), p.heard(h)}
		if h.ID != v.ID && h.ID != "" { // otherwise it is the same on every line
			row = append(row, "it finds volume "+h.ID)
		} else {
			row = append(row, dash(h.Error))
		}
		rows = append(rows, row)
	}
	p.grid([]any{"HOST", "STATE", "HEARD", "DETAIL"}, rows)
}

// storageWords is how many of the heartbeat volumes work on a host.
func (p *program) storageWords(h api.HostView) string {
	switch {
	case h.Storage == nil || h.Committed != "live":
		return "-"
	case !slices.ContainsFunc(h.Storage.On, func(v api.VolumeOfHost) bool { return v.State != api.VolumeUnknown }):
		return "-"
	}
	s := fmt.Sprintf("%d/%d", h.Storage.Working, h.Storage.Volumes)
	if h.Storage.Working < h.Storage.Volumes {
		return p.tint(s, "warning")
	}
	return s
}

// hostStorage lists the heartbeat volumes of a host.
func (p *program) hostStorage(h api.HostView) {
	if h.Storage == nil {
		return
	}
	for _, v := range h.Storage.On {
		s := v.Name + ": " + p.volumeState(v.State)
		if v.Heard != nil {
			s += fmt.Sprintf(", heard %s ago", span(v.Heard.Duration().Round(time.Millisecond)))
		}
		if v.Error != "" {
			s += ": " + v.Error
		}
		p.field("storage", "%s", s)
	}
	if h.Storage.Revision > 0 {
		p.field("proves with", "revision %d of the heartbeat volumes", h.Storage.Revision)
	}
}
