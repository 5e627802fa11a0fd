package config

import "time"

// What becomes of a host's protected VMs when the host is shut down in good order.
const (
	ShutdownFailover    = "failover"    // they are shut down, and start on other hosts
	ShutdownMigrate     = "migrate"     // they are moved while they run; what cannot be is as with failover
	ShutdownFreeze      = "freeze"      // they are shut down, and wait for their host
	ShutdownConditional = "conditional" // freeze for a reboot, failover for anything else
)

func shutdownWords() []string {
	return []string{ShutdownFailover, ShutdownMigrate, ShutdownFreeze, ShutdownConditional}
}

// maxMigrateTimeout leaves time for guests to be shut down before systemd ends an orderly shutdown
// by force: its targets for that do so 30 minutes after they were asked for.
const maxMigrateTimeout = 25 * time.Minute

// ShutdownPolicy is the host_shutdown block: what becomes of the VMs of a host that is shut down or rebooted.
type ShutdownPolicy struct {
	Action string `json:"action"` // one of the Shutdown constants
	// MigrateTimeout is how long VMs may take to leave; those that are left then are shut down.
	MigrateTimeout time.Duration `json:"migrate_timeout"`
	// FreezeTimeout is how long a VM waits for its host, from when it was shut down; 0: for ever.
	FreezeTimeout time.Duration `json:"freeze_timeout"`
}

func defaultShutdown() ShutdownPolicy {
	return ShutdownPolicy{Action: ShutdownFailover, MigrateTimeout: 10 * time.Minute, FreezeTimeout: 15 * time.Minute}
}

// For is the action for a shutdown of which it is known that the host boots again, or not:
// ShutdownFailover, ShutdownMigrate or ShutdownFreeze.
func (p ShutdownPolicy) For(reboot bool) string {
	switch {
	case p.Action == ShutdownConditional && reboot:
		return ShutdownFreeze
	case p.Action == ShutdownConditional:
		return ShutdownFailover
	}
	return p.Action
}

func shutdownSchema() *block {
	d := defaultShutdown()
	return &block{name: "host_shutdown", attrs: []attr{
		{name: "action", kind: kindString, def: d.Action, words: shutdownWords()},
		{name: "migrate_timeout", kind: kindDuration, def: d.MigrateTimeout, check: durationBetween(10*time.Second, maxMigrateTimeout)},
		{name: "freeze_timeout", kind: kindDuration, def: d.FreezeTimeout, check: durationBetween(0, 7*24*time.Hour)},
	}}
}

func shutdownOf(root *node) ShutdownPolicy {
	n := root.one("host_shutdown")
	return ShutdownPolicy{Action: get[string](n, "action"), MigrateTimeout: get[time.Duration](n, "migrate_timeout"),
		FreezeTimeout: get[time.Duration](n, "freeze_timeout")}
}

func (p ShutdownPolicy) said() []said {
	d := defaultShutdown()
	return []said{{"action", p.Action, d.Action}, {"migrate_timeout", p.MigrateTimeout, d.MigrateTimeout},
		{"freeze_timeout", p.FreezeTimeout, d.FreezeTimeout}}
}

// idleShutdown says that a time-out is given and the action makes nothing of it.
func (p *Policy) idleShutdown() (list []string) {
	s, d := p.Shutdown, defaultShutdown()
	if s.MigrateTimeout != d.MigrateTimeout && s.Action != ShutdownMigrate {
		list = append(list, `host_shutdown: migrate_timeout has no effect: only action = "migrate" looks at it`)
	}
	if s.FreezeTimeout != d.FreezeTimeout && s.Action != ShutdownFreeze && s.Action != ShutdownConditional {
		list = append(list, `host_shutdown: freeze_timeout has no effect: only action = "freeze" or "conditional" looks at it`)
	}
	return list
}
