package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/holdfast-ha/holdfast/config"
)

// completeFlag, as the last word, asks for what could stand in its place. It is
// for the shells' scripts below.
const completeFlag = "--complete-words"

func (p *program) completionCommand() *cli.Command {
	scripts := map[string]string{"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion}
	cmd := p.leaf("completion",
		"a script that completes commands and names: haadm completion bash > /etc/bash_completion.d/haadm", "bash|zsh|fish", 1, 1, nil,
		func(_ context.Context, c *cli.Context) error {
			script, ok := scripts[c.Args().First()]
			if !ok {
				return usageOf(c, "there are scripts for bash, zsh and fish")
			}
			fmt.Fprint(p.stdout, script)
			return nil
		})
	return cmd
}

const bashCompletion = `_haadm() {
  local IFS=$'\n'
  COMPREPLY=($(compgen -W "$("${COMP_WORDS[@]:0:COMP_CWORD}" ` + completeFlag + ` 2>/dev/null)" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _haadm haadm
`

const zshCompletion = `#compdef haadm
_haadm() {
  local -a words_
  words_=("${(@f)$("${(@)words[1,CURRENT-1]}" ` + completeFlag + ` 2>/dev/null)}")
  compadd -a words_
}
compdef _haadm haadm
`

const fishCompletion = `complete -c haadm -f -a '(set -l w (commandline -opc); $w ` + completeFlag + ` 2>/dev/null)'
`

// namesTimeout bounds how long a person waits for names at the press of a key.
const namesTimeout = 500 * time.Millisecond

// complete prints the words that may follow, one a line.
func (p *program) complete(ctx context.Context, app *cli.App, words []string) {
	w := &walk{app: app, commands: app.Commands}
	for i := 0; i < len(words); i++ {
		a := words[i]
		if len(a) > 1 && a[0] == '-' {
			taken, err := w.flag(a, words[i+1:])
			if err != nil { // its value is due, or it is none
				if i == len(words)-1 {
					p.values(ctx, app, strings.TrimLeft(a, "-"))
				}
				return
			}
			if strings.HasPrefix(w.lastFlag(), "--socket=") {
				p.socket = strings.TrimPrefix(w.lastFlag(), "--socket=")
			}
			i += taken
			continue
		}
		if err := w.word(a); err != nil {
			return
		}
	}
	p.defaultSocket(app)
	out := w.words()
	if len(out) == 0 {
		out = p.names(ctx, strings.Join(w.path, " "), w.positional)
	}
	for _, s := range append(out, w.flagNames()...) {
		fmt.Fprintln(p.stdout, harmless(s))
	}
}

// defaultSocket is where the agent is asked when no flag said so.
func (p *program) defaultSocket(app *cli.App) {
	if p.socket == "" {
		p.socket = find(app.Flags, "socket").(*cli.StringFlag).Value
	}
}

// values prints what a flag can be given, where that is known of the cluster.
func (p *program) values(ctx context.Context, app *cli.App, flag string) {
	p.defaultSocket(app)
	var list []string
	switch flag {
	case "fail", "to", "remove-host":
		list = p.names(ctx, "hosts show", nil)
	case "lose-datastore":
		list = p.datastores(ctx)
	}
	for _, s := range list {
		fmt.Fprintln(p.stdout, harmless(s))
	}
}

// datastores are those of the policy.
func (p *program) datastores(ctx context.Context) []string {
	ctx, cancel := context.WithTimeout(ctx, namesTimeout)
	defer cancel()
	p.stale = true
	client := p.client()
	defer client.Close()
	a, err := client.Policy(ctx)
	if err != nil {
		return nil
	}
	files := map[string][]byte{}
	for name, text := range a.Files {
		files[name] = []byte(text)
	}
	policy, err := config.ParsePolicy(files)
	if err != nil {
		return nil
	}
	return slices.Sorted(maps.Keys(policy.Datastores))
}

func (w *walk) lastFlag() string {
	if len(w.globals) == 0 {
		return ""
	}
	return w.globals[len(w.globals)-1]
}

// names are the hosts or VMs that a command takes as its next argument.
func (p *program) names(ctx context.Context, command string, given []string) []string {
	ctx, cancel := context.WithTimeout(ctx, namesTimeout)
	defer cancel()
	p.stale = true // quick, and good enough to type with
	client := p.client()
	defer client.Close()
	hosts := slices.Contains([]string{"hosts show", "hosts doctor", "explain host", "cluster leave",
		"cluster transfer-master", "maintenance enter", "maintenance leave", "fence status",
		"fence test", "fence off", "fence on", "fence reboot", "fence confirm"}, command)
	vms := slices.Contains([]string{"vms show", "vms history", "vms migrate", "vms start",
		"vms stop", "vms restart", "vms retry", "explain vm", "unprotect", "protect"}, command)
	if command == "wait" {
		if len(given) == 0 {
			return []string{"settled", "quorum", "host", "vm"}
		}
		hosts, vms = len(given) == 1 && given[0] == "host", len(given) == 1 && given[0] == "vm"
	}
	var out []string
	if command == "storage heartbeat verify" {
		if o, err := p.ownerByAgent(ctx); err == nil {
			for _, v := range o.volumes {
				out = append(out, v.Name)
			}
		}
	}
	if command == "storage show" {
		if a, err := client.Storage(ctx); err == nil {
			for _, v := range a.Volumes {
				out = append(out, v.Name)
			}
		}
	}
	if hosts {
		if l, err := client.Hosts(ctx); err == nil {
			for _, h := range l.Hosts {
				out = append(out, h.Name)
			}
		}
	}
	if vms {
		if command == "protect" { // only the master knows of VMs outside protection
			p.stale = false
			client = p.client()
		}
		if l, err := client.VMs(ctx); err == nil {
			for _, vm := range l.VMs {
				if vm.Protected != (command == "protect") {
					out = append(out, vm.Name)
				}
			}
		}
	}
	return out
}
