package config

import (
	"fmt"
	"slices"
	"time"
)

// What becomes of a VM that cannot be moved while it runs, when its host is in maintenance.
const (
	NotLiveStay    = "stay"    // it stays, and is named
	NotLiveRestart = "restart" // it is shut down, and started on another host
)

// When a VM that runs is moved back by itself. Each goes further than the one before.
const (
	FailbackNever       = "never"
	FailbackPreferred   = "preferred"   // to hosts that rules prefer to the one it is on
	FailbackMaintenance = "maintenance" // and to a host that it left for maintenance, when that is over
	FailbackAlways      = "always"      // and to a host that was lost, when that is back
)

func failbacks() []string {
	return []string{FailbackNever, FailbackPreferred, FailbackMaintenance, FailbackAlways}
}

// GoesBack reports whether the word for when VMs are moved back covers a reason, which is
// one of the others.
func GoesBack(word, reason string) bool {
	return slices.Index(failbacks(), word) >= slices.Index(failbacks(), reason)
}

// MigrationPolicy is the migration block: how VMs that run are moved.
type MigrationPolicy struct {
	// MaxPerHost bounds the moves from and to a host that are under way at once.
	MaxPerHost int `json:"max_per_host"`
	// Bandwidth bounds how many bytes of its memory each VM that moves sends in a second, in
	// whole MiB; 0: as many as it can.
	Bandwidth uint64 `json:"bandwidth"`
	// Timeout is when a move that is not through is called off.
	Timeout     time.Duration `json:"timeout"`
	WhenNotLive string        `json:"when_not_live"` // NotLiveStay or NotLiveRestart
	// Failback is one of the Failback constants, where no class, vm or vms block says another.
	Failback string `json:"failback"`
}

func defaultMigration() MigrationPolicy {
	return MigrationPolicy{MaxPerHost: 2, Timeout: 30 * time.Minute, WhenNotLive: NotLiveStay, Failback: FailbackMaintenance}
}

// When load is evened out.
const (
	BalanceOff       = "off"
	BalanceOnStart   = "on_start"  // VMs that are started go where there is least load, not home
	BalanceAutomatic = "automatic" // and VMs that run are moved
)

// What load is, when VMs that run are moved for it, and where hosts rank for those that start.
const (
	BalanceConfigured = "configured" // what VMs may take
	BalanceMeasured   = "measured"   // what they really took, by the mean of the hold time
)

// BalancePolicy is the balance block.
type BalancePolicy struct {
	Mode string `json:"mode"` // BalanceOff, BalanceOnStart or BalanceAutomatic
	By   string `json:"by"`   // BalanceConfigured or BalanceMeasured
	// Threshold is how uneven load must be, per cent, and Hold for how long; Margin is how much
	// of that a move must take away, per cent (placement.Balance says what uneven is).
	Threshold int           `json:"threshold"`
	Hold      time.Duration `json:"hold"`
	Margin    int           `json:"margin"`
}

// defaultBalance is off; threshold and margin are those of Proxmox VE.
func defaultBalance() BalancePolicy {
	return BalancePolicy{Mode: BalanceOff, By: BalanceConfigured, Threshold: 30, Hold: 5 * time.Minute, Margin: 10}
}

// moveSchemas are the blocks about VMs that run.
func moveSchemas() []*block {
	m, b := defaultMigration(), defaultBalance()
	return []*block{
		{name: "migration", attrs: []attr{
			{name: "max_per_host", kind: kindInt, def: int64(m.MaxPerHost), check: intBetween(1, 32)},
			{name: "bandwidth", kind: kindSize, check: moveBandwidth,
				like: `what goes in a second, in quotes with its unit, such as "100MiB" or "1GiB"`},
			{name: "timeout", kind: kindDuration, def: m.Timeout, check: durationBetween(time.Minute, 24*time.Hour)},
			{name: "when_not_live", kind: kindString, def: m.WhenNotLive, words: []string{NotLiveStay, NotLiveRestart}},
			{name: "failback", kind: kindString, def: m.Failback, words: failbacks()},
		}},
		{name: "balance", attrs: []attr{
			{name: "mode", kind: kindString, def: b.Mode, words: []string{BalanceOff, BalanceOnStart, BalanceAutomatic}},
			{name: "by", kind: kindString, def: b.By, words: []string{BalanceConfigured, BalanceMeasured}},
			{name: "threshold", kind: kindInt, def: int64(b.Threshold), check: intBetween(1, 1000)},
			{name: "hold", kind: kindDuration, def: b.Hold, check: durationBetween(0, 24*time.Hour)},
			{name: "margin", kind: kindInt, def: int64(b.Margin), check: intBetween(1, 90)},
		}},
	}
}

func moveBandwidth(v any) string {
	switch n := v.(uint64); {
	case n < 1<<20 || n > 1<<40:
		return fmt.Sprintf("must be 1MiB to 1TiB, but is %s", formatSize(n))
	case n%(1<<20) != 0:
		return fmt.Sprintf("must be a whole number of MiB, but is %s", formatSize(n))
	default:
		return ""
	}
}

// moves takes the two blocks over.
func (r *report) moves(p *Policy, root *node) {
	n := root.one("migration")
	p.Migration = MigrationPolicy{
		MaxPerHost:  int(get[int64](n, "max_per_host")),
		Bandwidth:   get[uint64](n, "bandwidth"),
		Timeout:     get[time.Duration](n, "timeout"),
		WhenNotLive: get[string](n, "when_not_live"),
		Failback:    get[string](n, "failback"),
	}
	n = root.one("balance")
	p.Balance = BalancePolicy{Mode: get[string](n, "mode"), By: get[string](n, "by"),
		Threshold: int(get[int64](n, "threshold")), Hold: get[time.Duration](n, "hold"), Margin: int(get[int64](n, "margin"))}
	if p.Balance.Mode == BalanceAutomatic && p.Placement.Strategy == StrategyPack && !r.unread {
		r.add(n.at("mode"), "Contradiction",
			"placement.strategy is \"pack\": VMs go onto few hosts, and this would spread them again.\nTake strategy = \"spread\", or mode = \"off\" or \"on_start\" here.")
	}
}

func (p MigrationPolicy) said() []said {
	d := defaultMigration()
	return []said{{"max_per_host", int64(p.MaxPerHost), int64(d.MaxPerHost)}, {"bandwidth", p.Bandwidth, d.Bandwidth},
		{"timeout", p.Timeout, d.Timeout}, {"when_not_live", p.WhenNotLive, d.WhenNotLive}, {"failback", p.Failback, d.Failback}}
}

func (p BalancePolicy) said() []said {
	d := defaultBalance()
	return []said{{"mode", p.Mode, d.Mode}, {"by", p.By, d.By}, {"threshold", int64(p.Threshold), int64(d.Threshold)},
		{"hold", p.Hold, d.Hold}, {"margin", int64(p.Margin), int64(d.Margin)}}
}

// idleBalance says that figures of the balance block are given and its mode makes nothing of
// them. Starts look at by as well.
func (p *Policy) idleBalance() (list []string) {
	if p.Balance.Mode == BalanceAutomatic {
		return nil
	}
	for _, s := range p.Balance.said()[1:] {
		modes := `"automatic"`
		if s.name == "by" {
			modes += ` or "on_start"`
		}
		if s.told() && (s.name != "by" || p.Balance.Mode == BalanceOff) {
			list = append(list, `balance: `+s.name+` has no effect: only mode = `+modes+` looks at it`)
		}
	}
	return list
}
