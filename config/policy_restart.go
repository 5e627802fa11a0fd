package config

import "time"

// What the VMs of one level (those of one priority and one order) wait for before they
// are started: something about the VMs of the levels before.
const (
	NextOrdered = "ordered" // nothing: all are ordered at once, the first level first
	NextRunning = "running" // that they run
	NextReady   = "ready"   // that they run, and what their groups' ready_when blocks ask
)

// defaultNextTimeout is vSphere's.
const defaultNextTimeout = 10 * time.Minute

// RestartPolicy is the restart block: how starts are tried again, how many are under
// way at once, and what waits for what.
type RestartPolicy struct {
	// Retries are the moments of the tries, counted from the first. What lies between
	// two of them is waited from the failure of the one before.
	Retries []time.Duration `json:"retries"`
	// MaxPerHost and MaxPerDatastore bound the starts that are under way at once.
	MaxPerHost      int `json:"max_per_host"`
	MaxPerDatastore int `json:"max_per_datastore"`
	// NextWhen (one of the Next constants) is what a level waits for, NextDelay what it waits
	// besides, and NextTimeout how long at most for those of one level, from the moment when
	// they were to be started. Both have no effect with NextOrdered.
	NextWhen    string        `json:"next_when"`
	NextDelay   time.Duration `json:"next_delay,omitempty"`
	NextTimeout time.Duration `json:"next_timeout"`
}

// defaultRestart is vSphere's: five tries within half an hour, 32 starts per host, and the
// next level without a wait.
func defaultRestart() RestartPolicy {
	return RestartPolicy{Retries: []time.Duration{0, 2 * time.Minute, 6 * time.Minute, 14 * time.Minute, 30 * time.Minute},
		MaxPerHost: 32, MaxPerDatastore: 32,
		NextWhen: NextOrdered, NextTimeout: defaultNextTimeout}
}

// Waves reports whether a level of priority and order waits for the one before.
func (p RestartPolicy) Waves() bool { return p.NextWhen == NextRunning || p.NextWhen == NextReady }

func restartSchema() *block {
	d := defaultRestart()
	return &block{name: "restart", attrs: []attr{
		{name: "retries", kind: kindDurations, def: d.Retries, check: badRetries},
		{name: "max_per_host", kind: kindInt, def: int64(d.MaxPerHost), check: intBetween(1, maxRestartsAtOnce)},
		{name: "max_per_datastore", kind: kindInt, def: int64(d.MaxPerDatastore), check: intBetween(1, maxRestartsAtOnce)},
		{name: "next_when", kind: kindString, def: d.NextWhen, words: []string{NextOrdered, NextRunning, NextReady}},
		{name: "next_delay", kind: kindDuration, check: durationBetween(0, maxReadyTime)},
		{name: "next_timeout", kind: kindDuration, def: d.NextTimeout, check: durationBetween(time.Second, maxReadyTime)},
	}}
}

// restart takes the restart block over, and refuses a wait that nothing asks for.
func (r *report) restart(n *node) RestartPolicy {
	p := RestartPolicy{Retries: get[[]time.Duration](n, "retries"), MaxPerHost: int(get[int64](n, "max_per_host")),
		MaxPerDatastore: int(get[int64](n, "max_per_datastore")),
		NextWhen:        get[string](n, "next_when"), NextDelay: get[time.Duration](n, "next_delay"),
		NextTimeout: get[time.Duration](n, "next_timeout")}
	if !p.Waves() && !n.set["next_when"].bad {
		for _, name := range []string{"next_delay", "next_timeout"} {
			if _, set := n.set[name]; set {
				r.add(n.at(name), name+" without a wait",
					"next_when is %s: no level of priority waits for another, so there is nothing that %s could be about. Set next_when = %s or %s, or take it out.",
					quote(NextOrdered), name, quote(NextRunning), quote(NextReady))
			}
		}
	}
	return p
}

func (p RestartPolicy) said() []said {
	d := defaultRestart()
	return []said{
		{"retries", p.Retries, d.Retries},
		{"max_per_host", int64(p.MaxPerHost), int64(d.MaxPerHost)},
		{"max_per_datastore", int64(p.MaxPerDatastore), int64(d.MaxPerDatastore)},
		{"next_when", p.NextWhen, d.NextWhen},
		{"next_delay", p.NextDelay, noDuration},
		{"next_timeout", p.NextTimeout, d.NextTimeout},
	}
}

// RetryAfter is how long to wait from the failure of the n-th try, n from 1, to the
// next one. more is false when the schedule has no further try.
func RetryAfter(schedule []time.Duration, n int) (wait time.Duration, more bool) {
	if n < 1 || n >= len(schedule) {
		return 0, n < 1
	}
	return schedule[n] - schedule[n-1], true
}

// MaxStarts is how many starts may be under way at once on a host.
func (p *Policy) MaxStarts(host string) int {
	if n := p.Hosts[host].MaxRestarts; n > 0 {
		return n
	}
	return p.Restart.MaxPerHost
}
