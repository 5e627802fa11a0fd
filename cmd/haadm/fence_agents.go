package main

import (
	"context"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/fencing/device"
)

// agentLine is one installed fence agent.
type agentLine struct {
	Name    string `json:"name"`
	Refused string `json:"refused,omitempty"` // why it is not used
}

// runner runs the fence agents of this host, to have them describe themselves.
func (p *program) runner() *device.Runner { return device.NewRunner(device.Config{Dir: p.agentDir}) }

func (p *program) fenceAgentsCommand() *cli.Command {
	return p.leaf("agents", "the fence agents that are installed on this host, and which of them are not used, and why",
		"", 0, 0, nil, func(_ context.Context, _ *cli.Context) error {
			runner := p.runner()
			names, err := runner.Agents()
			if err != nil {
				return err
			}
			all := []agentLine{}
			for _, name := range names {
				all = append(all, agentLine{Name: name, Refused: runner.Unfit(name, nil)})
			}
			return p.show(struct {
				Schema int         `json:"schema"`
				Agents []agentLine `json:"agents"`
			}{api.Schema, all}, func() { p.agentList(all) })
		})
}

func (p *program) agentList(all []agentLine) {
	if len(all) == 0 {
		p.say("No fence agents are installed here. Install the package fence-agents on every host.")
		return
	}
	var rows [][]any
	for _, a := range all {
		state := "can be used"
		if a.Refused != "" {
			state = p.tint("not used: "+a.Refused, "warning")
		}
		rows = append(rows, []any{a.Name, state})
	}
	p.grid([]any{"AGENT", "HERE"}, rows)
	p.next("Its options", "haadm fence describe AGENT")
}

func (p *program) fenceDescribeCommand() *cli.Command {
	return p.leaf("describe", "an installed fence agent: what it switches, and the options that a fence block can set",
		"AGENT", 1, 1, nil, func(ctx context.Context, c *cli.Context) error {
			runner := p.runner()
			a, err := runner.Describe(ctx, c.Args().First())
			if err != nil {
				return err
			}
			why := runner.Unfit(a.Name, a)
			return p.show(struct {
				Schema  int    `json:"schema"`
				Refused string `json:"refused,omitempty"`
				*device.Agent
			}{api.Schema, why, a}, func() { p.agentText(a, why) })
		})
}

func (p *program) agentText(a *device.Agent, refused string) {
	p.say("%s  %s", a.Name, a.Short)
	if refused != "" {
		p.paragraph("  "+p.tint("!", "warning")+" ", "it is not used to switch hosts off: "+refused)
	}
	if a.Long != "" {
		p.say("")
		p.paragraph("", a.Long)
	}
	p.say("")
	p.say("Options of a fence block (the password is not one of them: password_file)")
	var rows [][]any
	hidden := 0
	for _, o := range a.Parameters {
		if o.Refused != "" || o.Deprecated {
			hidden++
			if p.format != "wide" {
				continue
			}
		}
		kind := o.Type
		if len(o.Choices) > 0 {
			kind = strings.Join(o.Choices, "|")
		}
		help := o.Help
		if o.Refused != "" {
			help = "cannot be set: " + o.Refused
		} else if o.Deprecated {
			help = "an old name; " + help
		}
		rows = append(rows, []any{o.Name, dash(kind), dash(o.Default), help})
	}
	p.grid([]any{"OPTION", "TYPE", "DEFAULT", ""}, rows)
	if hidden > 0 && p.format != "wide" {
		p.say("%d more with -o wide: old names, and what cannot be set here.", hidden)
	}
}
