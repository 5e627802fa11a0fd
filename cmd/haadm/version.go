package main

import (
	"context"
	"runtime"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/holdfast-ha/holdfast/cluster/api"
)

func (p *program) versionCommand() *cli.Command {
	return p.leaf("version", "of this command and of this host's agent", "", 0, 0, nil, func(ctx context.Context, _ *cli.Context) error {
		client := p.client()
		defer client.Close()
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		agent := ""
		// Without an agent there is still a version to tell.
		if self, err := client.Self(ctx); err == nil {
			agent = self.Version
		}
		return p.show(struct {
			Schema int    `json:"schema"`
			Haadm  string `json:"haadm"`
			Go     string `json:"go"`
			Agent  string `json:"agent,omitempty"`
		}{api.Schema, version, runtime.Version(), agent}, func() {
			p.say("haadm %s (%s)", version, runtime.Version())
			if agent == "" {
				p.say("agent: none answers at %s", p.socket)
				return
			}
			p.say("agent %s", agent)
		})
	})
}
