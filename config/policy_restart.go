package config

import "time"

// RestartPolicy is the restart block: how starts are tried again, and how many are
// under way at once.
type RestartPolicy struct {
	// Retries are the moments of the tries, counted from the first. What lies between
	// two of them is waited from the failure of the one before.
	Retries []time.Duration `json:"retries"`
	// MaxPerHost and MaxPerDatastore bound the starts that are under way at once.
	MaxPerHost      int `json:"max_per_host"`
	MaxPerDatastore int `json:"max_per_datastore"`
}

// defaultRestart is vSphere's: five tries within half an hour, 32 starts per host.
func defaultRestart() RestartPolicy {
	return RestartPolicy{Retries: []time.Duration{0, 2 * time.Minute, 6 * time.Minute, 14 * time.Minute, 30 * time.Minute}, MaxPerHost: 32, MaxPerDatastore: 32}
}

func restartSchema() *block {
	d := defaultRestart()
	return &block{name: "restart", attrs: []attr{
		{name: "retries", kind: kindDurations, def: d.Retries, check: badRetries},
		{name: "max_per_host", kind: kindInt, def: int64(d.MaxPerHost), check: intBetween(1, maxRestartsAtOnce)},
		{name: "max_per_datastore", kind: kindInt, def: int64(d.MaxPerDatastore), check: intBetween(1, maxRestartsAtOnce)},
	}}
}

func restart(n *node) RestartPolicy {
	return RestartPolicy{Retries: get[[]time.Duration](n, "retries"), MaxPerHost: int(get[int64](n, "max_per_host")), MaxPerDatastore: int(get[int64](n, "max_per_datastore"))}
}

func (p RestartPolicy) said() []said {
	d := defaultRestart()
	return []said{
		{"retries", p.Retries, d.Retries},
		{"max_per_host", int64(p.MaxPerHost), int64(d.MaxPerHost)},
		{"max_per_datastore", int64(p.MaxPerDatastore), int64(d.MaxPerDatastore)},
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
