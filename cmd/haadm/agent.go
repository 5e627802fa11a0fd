package main

import (
	"context"
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/config"
)

// agentConfig is where the agent's configuration is unless an argument says otherwise.
const agentConfig = "/etc/haagent"

func (p *program) agentCommand() *cli.Command {
	show := p.leaf("show", "every setting in effect for this host's agent", "[PATH]", 0, 1,
		[]cli.Flag{&cli.BoolFlag{Name: "origin", Usage: "also where each value comes from"}},
		func(_ context.Context, c *cli.Context) error {
			a, path, err := p.loadAgent(c)
			if err != nil {
				return err
			}
			settings := a.Settings()
			return p.show(struct {
				Schema   int              `json:"schema"`
				Path     string           `json:"path"`
				Settings []config.Setting `json:"settings"`
			}{api.Schema, path, settings}, func() {
				header := []any{"SETTING", "VALUE"}
				if c.Bool("origin") {
					header = append(header, "ORIGIN")
				}
				var rows [][]any
				for _, s := range settings {
					row := []any{s.Name, s.Value}
					if c.Bool("origin") {
						row = append(row, s.Origin)
					}
					rows = append(rows, row)
				}
				p.grid(header, rows)
			})
		})
	validate := p.leaf("validate", "check the configuration of this host's agent", "[PATH]", 0, 1, nil, func(_ context.Context, c *cli.Context) error {
		a, path, err := p.loadAgent(c)
		if bad, ok := config.AsError(err); ok && p.format == "json" {
			if werr := writeJSON(p.stdout, invalid{api.Schema, false, bad.Problems()}); werr != nil {
				return werr
			}
			return err
		}
		if err != nil {
			return err
		}
		return p.show(struct {
			Schema int    `json:"schema"`
			Valid  bool   `json:"valid"`
			Path   string `json:"path"`
		}{api.Schema, true, path}, func() {
			p.say("%s is a valid configuration for host %s.", path, a.NodeName)
		})
	})
	return group("agent", "this host's agent", group("config", "its configuration file", show, validate))
}

func (p *program) loadAgent(c *cli.Context) (*config.Agent, string, error) {
	path := c.Args().First()
	if path == "" {
		path = agentConfig
	}
	hostname, err := os.Hostname()
	if err != nil {
		return nil, "", fmt.Errorf("ask for this host's name: %w", err)
	}
	a, err := config.LoadAgent(path, p.environ, hostname, nil)
	return a, path, err
}
