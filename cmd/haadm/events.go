package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/holdfast-ha/holdfast/cluster/api"
)

// reconnect is how long a follow waits before it asks again an agent that went away.
const reconnect = time.Second

func (p *program) eventsCommand() *cli.Command {
	return p.leaf("events", "the cluster's history", "", 0, 0, []cli.Flag{
		&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "go on with what happens"},
		&cli.StringFlag{Name: "since", Usage: "only from `WHEN` on: an age such as 1h, or a moment such as 2026-11-22T10:00:00Z"},
		&cli.StringFlag{Name: "vm", Usage: "only about this `VM`"},
		&cli.StringFlag{Name: "host", Usage: "only about this `HOST`, or from or to it"},
		&cli.StringFlag{Name: "type", Usage: "only of this `TYPE` (-o wide shows types)"},
		&cli.IntFlag{Name: "limit", Aliases: []string{"n"}, Usage: "at most the newest `N`; 0: all that are kept", Value: 50},
	}, func(ctx context.Context, c *cli.Context) error {
		f := api.EventFilter{VM: c.String("vm"), Host: c.String("host"), Type: c.String("type"), Limit: c.Int("limit")}
		if f.Limit < 0 {
			return usageOf(c, "--limit is a number of events, from 0")
		}
		if s := c.String("since"); s != "" {
			since, err := p.moment(s)
			if err != nil {
				return usageOf(c, err.Error())
			}
			f.Since = since
			if !c.IsSet("limit") {
				f.Limit = 0
			}
		}
		client := p.client()
		defer client.Close()
		if c.Bool("follow") {
			if !c.IsSet("limit") && f.Since.IsZero() {
				f.Limit = 10
			}
			return p.followEvents(ctx, client, f)
		}
		l, err := client.Events(ctx, f)
		if err != nil {
			return err
		}
		return p.show(l, func() {
			if len(l.Events) == 0 {
				p.say("No such events.")
			}
			for _, e := range l.Events {
				p.event(e)
			}
			p.note(l.Source)
		})
	})
}

// moment reads an age or a moment.
func (p *program) moment(s string) (time.Time, error) {
	if d, err := time.ParseDuration(s); err == nil {
		if d < 0 {
			d = -d
		}
		return p.now().Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, s, p.zone); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is neither an age such as 90s or 1h, nor a moment such as 2026-11-22T10:00:00Z", s)
}

// followEvents prints events until ctx ends. When the agent goes away it waits
// for its return and goes on where it stopped: a person who watches a failover
// must not have to start again.
func (p *program) followEvents(ctx context.Context, client *api.Client, f api.EventFilter) error {
	each := func(l api.StreamLine) error {
		if l.Lost > 0 {
			fmt.Fprintf(p.stderr, "%d events were dropped before they could be shown\n", l.Lost)
		}
		if l.Event == nil {
			return nil
		}
		f.After, f.Limit = l.Event.ID, 0
		if p.format != "json" {
			p.event(*l.Event)
			return nil
		}
		b, err := json.Marshal(struct {
			Schema int `json:"schema"`
			api.EventView
		}{api.Schema, *l.Event})
		if err != nil {
			return fmt.Errorf("write an event: %w", err)
		}
		_, err = fmt.Fprintf(p.stdout, "%s\n", b)
		return err
	}
	lost := false
	for {
		err := client.Follow(ctx, f, func(l api.StreamLine) error {
			lost = false
			return each(l)
		})
		if ctx.Err() != nil {
			return nil //nolint:nilerr // whoever watches ends it by Ctrl-C: that is no failure
		}
		var gone *api.UnreachableError
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			fmt.Fprintln(p.stderr, "The agent went away; waiting for it to come back. Ctrl-C ends.")
			lost = true
		case lost && errors.As(err, &gone): // not back yet
		default:
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(reconnect):
		}
	}
}

// event prints one event on a line of its own.
func (p *program) event(e api.EventView) {
	severity := fmt.Sprintf("%-8s", e.Severity)
	head := fmt.Sprintf("%5d  %s  %s  ", e.ID, e.At.In(p.zone).Format("01-02 15:04:05.0"), p.tint(severity, e.Severity))
	if p.format == "wide" {
		cause := ""
		if e.Cause != 0 {
			cause = fmt.Sprintf(" [because of %d]", e.Cause)
		}
		p.say("%5d  %s  %s  %-24s %s%s", e.ID, e.At.In(p.zone).Format("2006-01-02 15:04:05.000"), severity, e.Type, e.Text, cause)
		p.lots("       ", e.Considered)
		return
	}
	p.paragraph(head, e.Text)
}
