package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/config"
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
	return p.leaf("agents", "the fence agents that are installed on this host, and which of them are not used, and why", "", 0, 0, nil, func(_ context.Context, _ *cli.Context) error {
		names, err := p.runner().Agents()
		if err != nil {
			return err
		}
		all := []agentLine{}
		for _, name := range names {
			all = append(all, agentLine{Name: name, Refused: refusal(name)})
		}
		return p.show(struct {
			Schema int         `json:"schema"`
			Agents []agentLine `json:"agents"`
		}{api.Schema, all}, func() { p.agentList(all) })
	})
}

// refusal says why an agent is never used, or nothing.
func refusal(name string) string {
	_, why, _ := strings.Cut(config.BadFenceAgent(name), ", which ")
	return why
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
			state = p.tint("not used: it "+a.Refused, "warning")
		}
		rows = append(rows, []any{a.Name, state})
	}
	p.grid([]any{"AGENT", "HERE"}, rows)
	p.next("Its options", "haadm fence describe AGENT")
}

func (p *program) fenceDescribeCommand() *cli.Command {
	return p.leaf("describe", "an installed fence agent: what it switches, and the options that a fence block can set", "AGENT", 1, 1, nil, func(ctx context.Context, c *cli.Context) error {
		a, err := p.runner().Describe(ctx, c.Args().First())
		if err != nil {
			return err
		}
		why := refusal(a.Name)
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
		p.paragraph("  "+p.tint("!", "warning")+" ", "it is not used here: it "+refused)
	}
	if a.Long != "" {
		p.say("")
		p.paragraph("", a.Long)
	}
	p.say("")
	p.say("Options of a fence block. All of them: -o wide; the password is not one of them, but password_file.")
	var rows [][]any
	hidden := 0
	for _, o := range a.Parameters {
		switch {
		case o.Refused != "" || o.Deprecated:
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
		p.say("%s more: old names, and what cannot be set here.", fmt.Sprint(hidden))
	}
}
