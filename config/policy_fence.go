package config

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// hiddenValue stands for what is not shown.
const hiddenValue = "(not shown)"

func fenceSchema() *block {
	return &block{name: "fence", label: "a name for the fence device", many: true, labelCheck: badName, attrs: []attr{
		{name: "agent", kind: kindString, required: true, check: func(v any) string { return BadFenceAgent(v.(string)) }},
		{name: "options", kind: kindOptions, check: badFenceOptions},
		{name: "password", kind: kindString, secret: true, check: func(v any) string { return badFenceValue(v.(string)) }},
		{name: "password_file", kind: kindString, check: badPasswordFile},
		{name: "timeout", kind: kindDuration, def: defaultFenceTimeout, check: durationBetween(MinFenceTimeout, MaxFenceTimeout)},
		{name: "attempts", kind: kindInt, def: int64(defaultFenceAttempts), check: fenceAttempts},
		{name: "check", kind: kindDuration, def: defaultFenceCheck, check: durationBetween(MinFenceCheck, MaxFenceCheck)},
	}}
}

// badLevels says what is wrong with a host's devices by themselves, or nothing.
func badLevels(v any) string {
	levels := v.([][]string)
	if len(levels) == 0 {
		return "names no device; leave it out"
	}
	seen := map[string]bool{}
	for _, level := range levels {
		if len(level) == 0 {
			return "holds an empty list: nothing would be switched off there"
		}
		for _, name := range level {
			if problem := badName(name); problem != "" {
				return fmt.Sprintf("holds %s, but the name of a fence device %s", quote(name), problem)
			}
			if seen[name] {
				return fmt.Sprintf("names %s twice; attempts in its fence block says how often it is tried", quote(name))
			}
			seen[name] = true
		}
	}
	if len(seen) > maxFencePerHost {
		return fmt.Sprintf("names %d devices, the most is %d", len(seen), maxFencePerHost)
	}
	return ""
}

// fencing takes the host and fence blocks over, and checks them against one another.
func (r *report) fencing(p *Policy, root *node) {
	at := map[string]*node{} // fence blocks by name
	for _, n := range root.all("fence") {
		if p.Fences == nil {
			p.Fences = map[string]Fence{}
		}
		f := Fence{Agent: get[string](n, "agent"), Password: get[string](n, "password"), PasswordFile: get[string](n, "password_file"),
			Timeout: get[time.Duration](n, "timeout"), Attempts: int(get[int64](n, "attempts")), Check: get[time.Duration](n, "check")}
		if o := get[map[string]string](n, "options"); len(o) > 0 {
			f.Options = o
		}
		if f.twoPasswords() != "" {
			r.add(n.at("password_file"), "Two passwords",
				"fence %s has both password and password_file. Keep one of them; password_file is the one that other people cannot read.",
				quote(n.label))
		}
		p.Fences[n.label], at[n.label] = f, n
	}
	used := map[string]string{} // devices, and the host that has each
	for _, n := range root.all("host") {
		if p.Hosts == nil {
			p.Hosts = map[string]HostRule{}
		}
		h := r.hostRule(n)
		p.Hosts[n.label] = h
		for _, name := range slices.Concat(h.Fence...) {
			if at[name] == nil && !r.unread {
				r.add(n.at("fence"), "Unknown fence device", "host %s is to be switched off by %s, but there is no block: fence %[2]s { ... }%s",
					quote(n.label), quote(name), didYouMean(name, sortedKeys(p.Fences)))
				continue
			}
			if other := used[name]; other != "" {
				r.add(n.at("fence"), "One device for two hosts",
					"%s switches host %s off, so it cannot switch off host %s: one of the two would run on and be called off. "+
						"For a device with several plugs write a fence block for each plug.", quote(name), quote(other), quote(n.label))
				continue
			}
			used[name] = n.label
		}
	}
	r.twins(p, at, used)
}

// twins finds two devices of different hosts that are one and the same thing.
func (r *report) twins(p *Policy, at map[string]*node, used map[string]string) {
	first := map[string]string{}
	for _, name := range sortedKeys(used) {
		f, known := p.Fences[name]
		target := f.target()
		if !known || target == "" {
			continue
		}
		other, seen := first[target]
		if !seen {
			first[target] = name
		} else if used[other] != used[name] {
			r.add(at[name].rng, "One device for two hosts",
				"fence %s of host %s and fence %s of host %s have the same address, so they would switch off the same host, "+
					"and the other one would run on and be called off. Correct the options of one of them: %s.",
				quote(other), quote(used[other]), quote(name), quote(used[name]), strings.ReplaceAll(printable(target), "\n", ", "))
		}
	}
}

// Warnings lists what a policy says without effect, for people; it is valid all the same.
func (p *Policy) Warnings() []string {
	used := map[string]bool{}
	for _, h := range p.Hosts {
		for _, name := range slices.Concat(h.Fence...) {
			used[name] = true
		}
	}
	var list []string
	for _, name := range sortedKeys(p.Fences) {
		if !used[name] {
			list = append(list, fmt.Sprintf("fence %q is not used: no host block names it", name))
		}
		if p.Fences[name].Password != "" {
			list = append(list,
				fmt.Sprintf("fence %q: its password is part of the policy, which everybody can read who may use haadm; password_file keeps it apart",
					name))
		}
	}
	if p.TrustsWait() {
		list = append(list,
			`fencing.mode = "best_effort": VMs of a silent host without a watchdog start elsewhere after the wait alone; where its kernel hangs while a VM goes on, that VM runs twice and its disk is destroyed`)
	}
	list = append(list, p.idleVMs()...)
	list = append(list, p.idleBalance()...)
	list = append(list, p.idleShutdown()...)
	list = append(list, p.unasked()...)
	list = append(list, p.backwards()...)
	list = append(list, p.packedWishes()...)
	if text := p.scarceVolumes(); text != "" {
		list = append(list, text)
	}
	if text := p.FewVolumes(); text != "" && len(p.Volumes) > 0 {
		list = append(list, text) // where there is none yet, that is not this file's fault: haadm status says so
	}
	return list
}

// fences lists what differs.
func (d *differ) fences(a, b map[string]Fence) {
	pairs(a, b, func(name string, before, after *Fence) {
		path := fmt.Sprintf("fence %q", name)
		switch {
		case after == nil:
			d.changes = append(d.changes, Change{path, before.oneLine(), ""})
		case before == nil:
			d.changes = append(d.changes, Change{path, "", after.oneLine()})
		default:
			d.field(path+".agent", before.Agent, after.Agent)
			pairs(before.Options, after.Options, func(option string, x, y *string) {
				d.option(path+".options."+option, option, x, y)
			})
			d.option(path+".password", "password", &before.Password, &after.Password)
			d.field(path+".password_file", before.PasswordFile, after.PasswordFile)
			d.field(path+".timeout", before.Timeout, after.Timeout)
			d.field(path+".attempts", int64(before.Attempts), int64(after.Attempts))
			d.field(path+".check", before.Check, after.Check)
		}
	})
}

// option compares an option of a device without showing what is secret.
func (d *differ) option(path, name string, before, after *string) {
	show := func(s *string) string {
		switch {
		case s == nil || *s == "" && name == "password":
			return ""
		case hides(name):
			return hiddenValue
		}
		return quote(*s)
	}
	if (before == nil) != (after == nil) || before != nil && *before != *after {
		c := Change{path, show(before), show(after)}
		if c.Old == c.New {
			c.New = "(another one, not shown)"
		}
		d.changes = append(d.changes, c)
	}
}

// hides reports whether the value of an option is a secret, by the option's name.
func hides(option string) bool {
	for _, word := range []string{"passw", "secret", "token", "key", "community", "hexadecimal_kg", "hexadecimal-kg"} {
		if strings.Contains(option, word) {
			return true
		}
	}
	return false
}

// oneLine shows a device that was added or removed.
func (f *Fence) oneLine() string {
	parts := []string{"agent = " + quote(f.Agent)}
	shown := map[string]string{}
	for name, value := range f.Options {
		if shown[name] = value; hides(name) {
			shown[name] = hiddenValue
		}
	}
	if len(shown) > 0 {
		parts = append(parts, "options = "+text(shown))
	}
	if f.Password != "" {
		parts = append(parts, "password = "+hiddenValue)
	}
	if f.PasswordFile != "" {
		parts = append(parts, "password_file = "+quote(f.PasswordFile))
	}
	return "{ " + strings.Join(parts, ", ") + " }"
}

// pairs calls visit for each name of either map, in order; nil for what is not there.
func pairs[V any](a, b map[string]V, visit func(name string, before, after *V)) {
	names := sortedKeys(a)
	for name := range b {
		if _, ok := a[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		var before, after *V
		if v, ok := a[name]; ok {
			before = &v
		}
		if v, ok := b[name]; ok {
			after = &v
		}
		visit(name, before, after)
	}
}
