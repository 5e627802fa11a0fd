package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/agent"
	"github.com/holdfast-ha/holdfast/cluster/host"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/integration/sim/scenario"
	"github.com/holdfast-ha/holdfast/integration/sim/simnet"
	"github.com/holdfast-ha/holdfast/vmm/embedded"
)

// machine is one host: power, disk, clock, hypervisor, guard, and the agent that
// runs on it, if one does. All its fields are the World's own goroutine's.
type machine struct {
	w         *World
	name      string
	hyp       *embedded.Host
	clock     *clock
	guard     *guard
	stopGuard context.CancelFunc
	rng       *rand.Rand
	on        bool
	boot      int
	wall      atomic.Int64 // how far its wall clock is off
	disk      *disk
	backup    *disk // an image of it; nil: none was taken
	wentBack  bool  // the disk went back to that
	aside     bool  // its agent has said that the disk is too old
	machineID string
	outsider  bool // not a member from the start
	delays    embedded.Delays
	endTakes  time.Duration // see scenario.Host.EndTakes
	bootTakes time.Duration // from a reset, or from power by a device, until it runs
	power                   // what becomes of it as a whole
	agent     *agentProcess // nil while none runs
	leaving   *agentProcess // the agent that was told to hand its VMs over, for the host is shut down
	storage   storage       // its ways to the heartbeat volumes
	alone     atomic.Bool   // cut off from every network, by an action
}

// agentProcess is one life of an agent.
type agentProcess struct {
	life   *life
	stack  *simnet.Stack
	disk   *disk
	frozen bool
	agent  *agent.Agent
	cancel context.CancelFunc
	done   chan struct{}
	err    error // of Run; valid once done is closed
}

// bootID names the present boot of the machine, as a kernel does.
func (m *machine) bootID() string { return fmt.Sprintf("%s-boot-%d", m.name, m.boot) }

// powerOn boots the machine: kernel, hypervisor, guard, then the agent.
func (m *machine) powerOn() {
	if m.on || m.resetting {
		return
	}
	m.on = true
	m.powered.Store(true)
	m.turns++
	m.still, m.guardStill, m.startLater, m.asleep, m.killsFail, m.woke = false, false, false, false, false, 0
	m.dogLost = m.dogGone
	if m.dog != nil {
		m.dog.Reboot()
	}
	m.boot++
	m.clock.reboot()
	m.w.net.PowerOn(m.name)
	m.hyp.PowerOn()
	m.hyp.SetDelays(m.delays)
	m.stopNothing()
	m.guard = newGuard(m)
	ctx, cancel := context.WithCancel(m.w.ctx)
	m.stopGuard = cancel
	g := m.guard
	m.w.wg.Go(func() { g.run(ctx) })
	m.startAgent()
}

// powerOff pulls the plug: whatever runs is gone at once and nobody is told.
func (m *machine) powerOff() {
	m.halt()
	m.turns++
	m.resetting = false
	m.powered.Store(false)
	m.hyp.PowerOff()
}

// shutDown is an orderly shutdown: the agent hands its VMs over, as it does when systemd
// stops it for that, and then the machine is off, or boots again.
func (m *machine) shutDown(reboot bool) {
	a := m.agent
	if a == nil || m.still {
		return
	}
	m.leaving = a
	m.w.wg.Go(func() {
		ctx, cancel := context.WithTimeout(m.w.ctx, drainLimit(m.w.s))
		defer cancel()
		err := a.agent.Drain(ctx, reboot)
		m.w.soon(func() {
			if m.agent != a {
				return
			}
			m.w.note("%s has handed its VMs over: %v", m.name, err)
			m.powerOff()
			if reboot {
				m.bootLater()
			}
		})
	})
}

// shutdownMigrateTimeout is what VMs get to leave a host that is shut down, but in recorded files,
// which have the default.
const shutdownMigrateTimeout = 30 * time.Second

// shutdownOf is the policy's host_shutdown of a scenario that does not bring its own. Without
// the setting a recorded file has the other manager's default.
func shutdownOf(s *scenario.Scenario) config.ShutdownPolicy {
	p := config.DefaultPolicy(clusterName).Shutdown
	switch {
	case s.Settings.ShutdownPolicy != "":
		p.Action = s.Settings.ShutdownPolicy
	case s.Recorded():
		p.Action = config.ShutdownConditional
	}
	if p.Action == config.ShutdownMigrate && !s.Recorded() {
		p.MigrateTimeout = shutdownMigrateTimeout
	}
	return p
}

// shutdownPolicy writes it.
func shutdownPolicy(s *scenario.Scenario) string {
	p := shutdownOf(s)
	if p.Action == config.ShutdownFailover {
		return ""
	}
	b := fmt.Sprintf("host_shutdown {\n  action = %q\n", p.Action)
	if p.Action == config.ShutdownMigrate {
		b += fmt.Sprintf("  migrate_timeout = %q\n", p.MigrateTimeout)
	}
	return b + "}\n"
}

// drainLimit is how long an agent has before it is ended.
func drainLimit(s *scenario.Scenario) time.Duration { return host.DrainLimit(shutdownOf(s)) }

// halt ends all that runs on the machine but its VMs.
func (m *machine) halt() {
	if !m.on {
		return
	}
	m.on = false
	m.nap(false)
	m.w.net.PowerOff(m.name)
	m.stopGuard()
	m.endAgent()
	m.darken()
}

// killAgent is SIGKILL: the kernel closes the agent's connections, VMs go on.
func (m *machine) killAgent() {
	if m.agent == nil || m.still { // a kernel that hangs kills nobody
		return
	}
	m.agent.stack.Kill()
	m.endAgent()
}

// endAgent takes everything from the agent at once, so that what is left of its
// goroutines can do nothing, and tells them to end.
func (m *machine) endAgent() {
	a := m.agent
	if a == nil {
		return
	}
	m.agent = nil
	a.life.set(false, true)
	m.disk = a.disk.image()
	m.orphanPaths()
	a.cancel()
}

// startAgent starts an agent on what is on the disk.
func (m *machine) startAgent() {
	if !m.on || m.agent != nil {
		return
	}
	if m.still {
		m.startLater = true
		return
	}
	stack, err := m.w.net.Process(m.name)
	if err != nil {
		m.w.broken("start agent of %s: %v", m.name, err)
		return
	}
	a := &agentProcess{life: newLife(), stack: stack, disk: m.disk, done: make(chan struct{})}
	a.disk.life = a.life
	a.disk.slow = func() time.Duration { return time.Duration(m.storeTakes.Load()) }
	a.disk.takes = m.writeTakes
	a.agent = m.newAgent(a)
	ctx, cancel := context.WithCancel(m.w.ctx)
	a.cancel = cancel
	m.agent = a
	m.w.wg.Go(func() {
		a.err = a.agent.Run(ctx)
		close(a.done)
	})
}

// reap notices an agent that ended by itself, as one does whose store hangs.
func (m *machine) reap() {
	a := m.agent
	if a == nil {
		return
	}
	select {
	case <-a.done:
		m.w.note("the agent of %s ended by itself: %v", m.name, a.err)
		a.stack.Kill()
		m.endAgent()
		m.w.later(agentRestartDelay, m.startAgent)
	default:
	}
}

// agentRestartDelay is how long the service manager waits before it starts an
// agent again that ended by itself.
const agentRestartDelay = time.Second

// freezeAgent is SIGSTOP; thawAgent is SIGCONT. A proposal that was on its way to
// raft at the freeze makes its main loop stand still (see disk.write): one that
// changes nothing is made for that.
func (m *machine) freezeAgent() {
	if m.agent == nil || m.agent.frozen {
		return
	}
	a := m.agent
	a.frozen = true
	a.stack.Freeze()
	a.life.set(true, false)
	if a.agent.Self().IsMaster {
		m.w.wg.Go(func() {
			ctx, cancel := context.WithTimeout(m.w.ctx, lateCall)
			defer cancel()
			_, _ = a.agent.Apply(ctx, &fsm.Unprotect{Meta: m.w.people.meta(), UUID: uuidOf("vm", "none of this name")})
		})
	}
}

func (m *machine) thawAgent() {
	if m.agent != nil && m.agent.frozen && !m.still {
		m.agent.frozen = false
		m.agent.life.set(false, false)
		m.agent.stack.Thaw()
	}
}

// answers reports whether the agent can be asked.
func (m *machine) answers() bool { return m.agent != nil && !m.agent.frozen }
