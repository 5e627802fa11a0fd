package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/vmm/embedded"
)

// processes is the world of agent processes with the embedded hypervisor: a
// host's VMs live in its agent, and end with it.
type processes struct {
	bin    string
	dir    string
	agents map[string]*exec.Cmd
	uuids  map[string]string
	vms    []string
}

func newProcesses(bin string) *processes {
	return &processes{bin: bin, agents: map[string]*exec.Cmd{}, uuids: map[string]string{}}
}

func (p *processes) What() string { return "agent processes with the embedded hypervisor" }

// The hosts listen on loopback addresses of their own.
const agentConfig = `node_name  = %[1]q
data_dir   = %[2]q
hypervisor = "embedded"

embedded {
  directory = %[3]q
}

listen {
  socket = %[4]q
}

network "mgmt" {
  address = "127.0.71.%[5]d"
}

network "storage" {
  address = "127.0.72.%[5]d"
}
`

func (p *processes) Up(ctx context.Context, tell func(string)) (err error) {
	if p.dir, err = os.MkdirTemp("", "holdfast-demo-"); err != nil {
		return fmt.Errorf("make the demonstration's directory: %w", err)
	}
	placed := map[string]string{"db": "h2", "mail": "h3", "web": "h1", "wiki": "h2"}
	p.vms = []string{"db", "mail", "web", "wiki"}
	for i, vm := range p.vms {
		p.uuids[vm] = fmt.Sprintf("10000000-0000-4000-8000-%012d", i+1)
		dir := filepath.Join(p.dir, "world", placed[vm])
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make the world of %s: %w", placed[vm], err)
		}
		xml := embedded.MinimalXML(vm, p.uuids[vm], 1<<30, 1)
		if err := errors.Join(os.WriteFile(filepath.Join(dir, vm+".xml"), []byte(xml), 0o600),
			os.WriteFile(filepath.Join(dir, vm+".do"), []byte("start\n"), 0o600)); err != nil {
			return fmt.Errorf("define %s: %w", vm, err)
		}
	}
	tell("starting three agents …")
	for i, h := range p.Hosts() {
		if err := p.startAgent(h, i+1); err != nil {
			return err
		}
	}
	tell("forming a cluster of them …")
	if err := p.form(ctx); err != nil {
		return err
	}
	tell("protecting four VMs …")
	c, err := p.Client("h1")
	if err != nil {
		return err
	}
	defer c.Close()
	for _, vm := range p.vms {
		if err := until(ctx, "protect "+vm, func() error { _, err := c.Protect(ctx, vm); return err }); err != nil {
			return err
		}
	}
	return nil
}

func (p *processes) startAgent(host string, n int) error {
	etc := filepath.Join(p.dir, host)
	if err := os.MkdirAll(etc, 0o755); err != nil {
		return fmt.Errorf("make %s: %w", etc, err)
	}
	cfg := fmt.Sprintf(agentConfig, host, filepath.Join(etc, "data"), filepath.Join(p.dir, "world"), p.socket(host), n)
	if err := os.WriteFile(filepath.Join(etc, "haagent.hcl"), []byte(cfg), 0o600); err != nil {
		return fmt.Errorf("configure %s: %w", host, err)
	}
	log, err := os.Create(filepath.Join(etc, "haagent.log"))
	if err != nil {
		return fmt.Errorf("open the log of %s: %w", host, err)
	}
	defer log.Close() // the agent has its own descriptor
	cmd := exec.Command(filepath.Join(p.bin, "haagent"), "agent", "--config", etc)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the agent of %s: %w", host, err)
	}
	p.agents[host] = cmd
	return nil
}

func (p *processes) form(ctx context.Context) error {
	first, err := p.Client("h1")
	if err != nil {
		return err
	}
	defer first.Close()
	policy := map[string][]byte{"cluster.hcl": []byte("cluster \"demo\" {\n  schema = 1\n}\n\ntiming {\n  profile = \"fast\"\n}\n\n" +
		"fencing {\n  mode = \"best_effort\"\n}\n")} // hosts that are processes have no watchdog
	// The first try that reaches the agent creates the cluster; tries before that fail to connect.
	if err := until(ctx, "reach the agent of h1", func() error { _, err := first.Self(ctx); return err }); err != nil {
		return err
	}
	if _, err := first.Bootstrap(ctx, api.BootstrapRequest{Name: "demo", Policy: policy}); err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	for _, h := range p.Hosts()[1:] {
		t, err := first.CreateToken(ctx, h, time.Hour)
		if err != nil {
			return fmt.Errorf("create a token for %s: %w", h, err)
		}
		c, err := p.Client(h)
		if err != nil {
			return err
		}
		_, err = c.Join(ctx, t.Token)
		c.Close()
		if err != nil {
			return fmt.Errorf("join %s: %w", h, err)
		}
	}
	return until(ctx, "wait for three voters", func() error {
		s, err := first.Status(ctx)
		switch {
		case err != nil:
			return err
		case s.Voters < 3:
			return fmt.Errorf("%d of 3 hosts vote", s.Voters)
		}
		for _, h := range s.Hosts {
			if h.State != "live" {
				return fmt.Errorf("%s is %s", h.Name, h.State)
			}
		}
		return nil
	})
}

// until tries until f succeeds, for half a minute.
func until(ctx context.Context, what string, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, err)
		case <-tick.C:
		}
	}
}

func (p *processes) socket(host string) string { return filepath.Join(p.dir, host, "admin.sock") }

func (p *processes) Hosts() []string { return []string{"h1", "h2", "h3"} }

func (p *processes) VMs() []string { return p.vms }

func (p *processes) Client(host string) (*api.Client, error) {
	return api.NewClient(p.socket(host)), nil
}

func (p *processes) Kill(_ context.Context, host string) (time.Time, error) {
	cmd := p.agents[host]
	at := time.Now()
	if err := cmd.Process.Kill(); err != nil {
		return at, fmt.Errorf("kill the agent of %s: %w", host, err)
	}
	_ = cmd.Wait() // it was killed, and says so
	delete(p.agents, host)
	return at, nil
}

func (p *processes) Beats(vm string) ([]beat, error) {
	writes, err := embedded.ReadDisk(filepath.Join(p.dir, "world"), p.uuids[vm])
	if err != nil {
		return nil, err
	}
	if double := embedded.DoubleWrites(writes); len(double) > 0 {
		return nil, fmt.Errorf("%s ran twice at once: %v", vm, double)
	}
	var beats []beat
	run := ""
	for _, w := range writes {
		if w.Run != run {
			beats, run = append(beats, beat{host: w.Host, first: w.At}), w.Run
		}
		beats[len(beats)-1].last = w.At
	}
	return beats, nil
}

func (p *processes) Close() error {
	for _, cmd := range p.agents {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	if p.dir == "" || os.Getenv("DEMO_KEEP") != "" {
		return nil
	}
	return os.RemoveAll(p.dir)
}
