package config

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"

	"github.com/holdfast-ha/holdfast/cluster/lease"
)

// HCL prints the policy as a file that recreates it: ParsePolicy of it is equal
// to p, if p is valid. Defaults are left out, except those people look for.
func (p *Policy) HCL() []byte {
	f := hclwrite.NewEmptyFile()
	body := f.Body()
	open := func(kind string, labels ...string) *hclwrite.Body {
		if kind != "cluster" {
			body.AppendNewline()
		}
		return body.AppendNewBlock(kind, labels).Body()
	}

	b := open("cluster", p.Cluster)
	put(b, "schema", int64(p.Schema))
	putText(b, "note", p.Note)

	b = open("timing")
	put(b, "profile", p.Timing.Profile)
	base, _ := lease.Profile(p.Timing.Profile)
	defaults := timingFields(&base)
	t := p.Timing
	for i, field := range timingFields(&t) {
		if *field.value != *defaults[i].value {
			put(b, field.name, *field.value)
		}
	}
	if !sameFloat(t.ClockError, base.ClockError) {
		put(b, "clock_error", t.ClockError)
	}

	putHosts(open, p.Hosts)
	for _, name := range sortedKeys(p.Fences) {
		putFence(open("fence", name), p.Fences[name])
	}
	putFencing(open, p.Fencing)
	putVolumes(open, p)
	if names := p.muted(); len(names) > 0 {
		b = open("warnings")
		for _, name := range names {
			put(b, name, false)
		}
	}

	putIsolation(open, p.Isolation)
	if all := p.Shutdown.said(); anySaid(all) {
		putSaid(open("host_shutdown"), all)
	}

	putWhere(open, p)

	b = open("defaults")
	put(b, "protect", p.Defaults.Protect)
	put(b, "on_crash", p.Defaults.OnCrash)
	putText(b, "class", p.Defaults.Class)

	for _, s := range p.Selectors {
		b = open("vms", s.Name)
		b.SetAttributeRaw("match", matchTokens(s.Match))
		putRule(b, s.VMRule)
	}
	for _, name := range sortedKeys(p.VMs) {
		b = open("vm", name)
		putRule(b, p.VMs[name])
	}
	return format(f.Bytes())
}

// matchTokens writes { name = "web-*" } on one line; hclwrite would take three.
func matchTokens(pattern string) hclwrite.Tokens {
	tokens := hclwrite.Tokens{
		{Type: hclsyntax.TokenOBrace, Bytes: []byte("{")},
		{Type: hclsyntax.TokenIdent, Bytes: []byte("name")},
		{Type: hclsyntax.TokenEqual, Bytes: []byte("=")},
	}
	tokens = append(tokens, hclwrite.TokensForValue(toCty(pattern))...)
	return append(tokens, &hclwrite.Token{Type: hclsyntax.TokenCBrace, Bytes: []byte("}")})
}

func putRule(b *hclwrite.Body, r VMRule) {
	if !r.Protect {
		put(b, "protect", false)
	}
	putText(b, "on_crash", r.OnCrash)
	putText(b, "isolation", r.Isolation)
	putSaid(b, r.recovery())
	putText(b, "note", r.Note)
}

func putFence(b *hclwrite.Body, f Fence) {
	put(b, "agent", f.Agent)
	if len(f.Options) > 0 {
		put(b, "options", f.Options)
	}
	putText(b, "password", f.Password)
	putText(b, "password_file", f.PasswordFile)
	if f.Timeout != defaultFenceTimeout {
		put(b, "timeout", f.Timeout)
	}
	if f.Attempts != defaultFenceAttempts {
		put(b, "attempts", int64(f.Attempts))
	}
	if f.Check != defaultFenceCheck {
		put(b, "check", f.Check)
	}
}

// put writes one attribute.
func put(b *hclwrite.Body, name string, v any) { b.SetAttributeValue(name, toCty(v)) }

// putText writes one attribute unless it is empty.
func putText(b *hclwrite.Body, name, s string) {
	if s != "" {
		put(b, name, s)
	}
}

// format is hclwrite.Format with one line break at the end of the file.
func format(src []byte) []byte {
	out := hclwrite.Format(src)
	out = bytes.TrimRight(out, "\n")
	if len(out) == 0 {
		return nil
	}
	return append(out, '\n')
}

// TimingText shows a timing with every term of the wait that follows from it,
// and the bounds that it gives: what a person needs to judge it.
func TimingText(t lease.Timing) string {
	return timingTable(t, newNode(policySchema().block("timing")))
}

// timingTable is TimingText with the place where each value was set.
func timingTable(t lease.Timing, n *node) string {
	var b strings.Builder
	from := func(name string) string {
		if s, ok := n.set[name]; ok {
			return place(s.rng)
		}
		if base, ok := lease.Profile(t.Profile); ok && !sameAsProfile(name, t, base) {
			return "set"
		}
		return "profile " + t.Profile
	}
	row := func(name, value, note string) {
		fmt.Fprintf(&b, "  %-20s %-10s %s\n", name, value, note)
	}
	b.WriteString("The values:\n")
	for _, f := range timingFields(&t) {
		row(f.name, formatDuration(*f.value), from(f.name))
	}
	row("clock_error", fmt.Sprintf("%g", t.ClockError), from("clock_error"))
	b.WriteString("\nHow long a host that is silent is waited for before its VMs start elsewhere:\n")
	for _, term := range t.Terms() {
		row(term.Symbol, rounded(term.Value), term.What)
	}
	row("D", rounded(t.Wait()), "the wait, their sum")
	b.WriteString("\nFrom the death of a host to the order to start its VMs elsewhere, at most:\n")
	row("member", rounded(t.MemberBound()), "1.5 heartbeat intervals to notice, then D")
	row("master", rounded(t.MasterBound()), "three election timeouts, then D")
	return strings.TrimRight(b.String(), "\n")
}

// sameAsProfile reports whether a value of the timing is that of its profile.
func sameAsProfile(name string, t, base lease.Timing) bool {
	defaults := timingFields(&base)
	for i, f := range timingFields(&t) {
		if f.name == name {
			return *f.value == *defaults[i].value
		}
	}
	return sameFloat(t.ClockError, base.ClockError)
}

// rounded shows a computed duration to the millisecond.
func rounded(d time.Duration) string { return formatDuration(d.Round(time.Millisecond)) }

// wordIndex is where a phrase begins in a text, at the start of a word, or -1.
func wordIndex(s, phrase string) int {
	for from := 0; ; {
		i := strings.Index(s[from:], phrase)
		if i < 0 {
			return -1
		}
		if i += from; i == 0 || s[i-1] == ' ' {
			return i
		}
		from = i + 1
	}
}
