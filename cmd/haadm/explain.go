package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"github.com/holdfast-ha/holdfast/cluster/api"
)

func (p *program) explainCommand() *cli.Command {
	ask := func(what string, get func(*api.Client, context.Context, string) (*api.Explanation, error)) func(context.Context, *cli.Context) error {
		return func(ctx context.Context, c *cli.Context) error {
			client := p.client()
			defer client.Close()
			e, err := get(client, ctx, c.Args().First())
			if err != nil {
				return err
			}
			return p.show(e, func() {
				p.explanation(e)
				p.note(e.Source)
			})
		}
	}
	return group("explain", "why: the facts and the rules in order",
		p.leaf("vm", "why a VM is where it is, or why it does not run", "VM", 1, 1, nil, ask("vm", (*api.Client).ExplainVM)),
		p.leaf("host", "why a host is live, suspected or dead", "HOST", 1, 1, nil, ask("host", (*api.Client).ExplainHost)))
}

func (p *program) explanation(e *api.Explanation) {
	p.paragraph("", e.Headline)
	p.say("")
	p.say("Facts and rules, in order")
	for _, s := range e.Steps {
		label := "  fact            "
		if s.Kind == api.StepRule {
			label = "  rule " + pad(s.Rule, 9) + "  "
		}
		text := s.Text
		if !s.At.IsZero() {
			text += " (" + p.ago(s.At) + " ago)"
		}
		p.paragraph(label, text)
	}
	if e.Placed != nil {
		p.choice("Last placed", e.Placed)
	}
	if e.Going != nil {
		p.choice("On its way", e.Going)
	}
	if len(e.Considered) > 0 {
		p.say("")
		p.say("Hosts now, by the last rule")
		if len(e.Now) > 0 {
			p.lots("  ", e.Now)
		} else {
			p.looked(e.Considered)
		}
	}
	p.poolsOf(e.Pools)
	if len(e.Events) > 0 {
		p.say("")
		p.say("Events")
		for _, ev := range e.Events {
			p.event(ev)
		}
	}
	if len(e.Next) > 0 {
		p.say("")
		p.say("More")
		for _, n := range e.Next {
			p.say("  %s", n)
		}
	}
}

func pad(s string, n int) string {
	for len(s) < n {
		s += " "
	}
	return s
}
