package scenario

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
)

// LoadDir reads every *.json of a directory, ordered by name.
func LoadDir(dir string) ([]*Scenario, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, fmt.Errorf("list scenarios: %w", err)
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("no *.json in %s", dir)
	}
	var all []*Scenario
	var bad []error
	for _, f := range files {
		s, err := Load(f)
		if err != nil {
			bad = append(bad, err)
			continue
		}
		all = append(all, s)
	}
	return all, errors.Join(bad...)
}

// Load reads one file. A recorded one is read with its mapping, if it has one (see Mapped).
func Load(file string) (*Scenario, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read scenario: %w", err)
	}
	want := strings.TrimSuffix(filepath.Base(file), ".json")
	if b, err = mapped(want, b); err != nil {
		return nil, err
	}
	s, err := Parse(file, b)
	if err != nil {
		return nil, err
	}
	if s.ID != want {
		return nil, fmt.Errorf("%s: id is %q, but must be the file's name, %q", file, s.ID, want)
	}
	return s, nil
}

// Parse reads a scenario from bytes; file is for messages. It refuses every
// field, action, argument, event and name that it does not know, saying where it
// stands and which known one is nearest, all of them at once.
func Parse(file string, b []byte) (*Scenario, error) {
	p := &parser{file: file, text: b}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	if err := p.walk(dec, "", reflect.TypeFor[Scenario]()); err != nil {
		return nil, fmt.Errorf("%s:%d: %w", file, p.line(dec.InputOffset()), err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s:%d: something follows the scenario's end", file, p.line(dec.InputOffset()))
	}
	var s Scenario
	if err := json.Unmarshal(b, &s); err != nil {
		var t *json.UnmarshalTypeError
		if errors.As(err, &t) {
			p.problem(t.Offset, t.Field, fmt.Sprintf("is a %s, but a %s is needed", t.Value, t.Type))
		} else {
			p.bad = append(p.bad, fmt.Errorf("%s: %w", file, err))
		}
		return nil, errors.Join(p.bad...)
	}
	p.check(&s)
	if len(p.bad) > 0 {
		return nil, errors.Join(p.bad...)
	}
	s.scale()
	return &s, nil
}

// parser collects what is wrong with one file.
type parser struct {
	file string
	text []byte
	at   map[string]int64 // where each path stands
	bad  []error
}

func (p *parser) line(offset int64) int {
	return 1 + bytes.Count(p.text[:min(max(offset, 0), int64(len(p.text)))], []byte("\n"))
}

func (p *parser) problem(offset int64, path, what string) {
	p.bad = append(p.bad, fmt.Errorf("%s:%d: %s: %s", p.file, p.line(offset), path, what))
}

// wrong reports a problem at a path that walk has seen.
func (p *parser) wrong(path, format string, args ...any) {
	at, ok := p.at[path]
	for parent := path; !ok && parent != ""; at, ok = p.at[parent] {
		parent = parent[:max(0, strings.LastIndexAny(parent, ".["))]
	}
	p.problem(at, path, fmt.Sprintf(format, args...))
}

// walk reads one value and reports fields that its type does not have.
func (p *parser) walk(dec *json.Decoder, path string, t reflect.Type) error {
	tok, err := dec.Token()
	if err != nil {
		return err
	}
	if p.at == nil {
		p.at = map[string]int64{}
	}
	p.at[path] = dec.InputOffset()
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch tok {
	case json.Delim('{'):
		fields := fieldsOf(t)
		for dec.More() {
			key, err := dec.Token()
			if err != nil {
				return err
			}
			name, _ := key.(string)
			at, of := dec.InputOffset(), reflect.Type(nil)
			full := strings.TrimPrefix(path+"."+name, ".")
			switch {
			case fields != nil:
				f, ok := fields[name]
				if !ok {
					p.problem(at, full, "field "+unknown(name, slices.Collect(maps.Keys(fields))))
				}
				of = f
			case t != nil && t.Kind() == reflect.Map:
				of = t.Elem()
			}
			if err := p.walk(dec, full, of); err != nil {
				return err
			}
		}
		_, err = dec.Token()
	case json.Delim('['):
		var of reflect.Type
		if t != nil && t.Kind() == reflect.Slice {
			of = t.Elem()
		}
		for i := 0; dec.More(); i++ {
			if err := p.walk(dec, fmt.Sprintf("%s[%d]", path, i), of); err != nil {
				return err
			}
		}
		_, err = dec.Token()
	}
	return err
}

// fieldsOf maps the JSON names of a struct's fields to their types; nil for
// anything else, where any name goes.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	if t == nil || t.Kind() != reflect.Struct {
		return nil
	}
	fields := map[string]reflect.Type{}
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		of := t.Field(i).Type
		if of == reflect.TypeFor[json.RawMessage]() {
			of = nil
		}
		fields[name] = of
	}
	return fields
}

// check holds the names and references of a scenario against the language and
// against one another.
func (p *parser) check(s *Scenario) {
	if s.SchemaVersion != SchemaVersion {
		p.wrong("schema_version", "is %d, this loader reads %d", s.SchemaVersion, SchemaVersion)
	}
	if s.ID == "" {
		p.wrong("id", "is missing")
	}
	if len(s.Hosts) == 0 {
		p.wrong("hosts", "names no host")
	}
	c := &checker{p: p, hosts: map[string]bool{}, vms: map[string]bool{}}
	for i, h := range s.Hosts {
		at := fmt.Sprintf("hosts[%d]", i)
		if h.ID == "" || c.hosts[h.ID] {
			p.wrong(at, "id %q is empty or used twice", h.ID)
		}
		c.hosts[h.ID] = true
		c.oneOf(at+".watchdog", h.Watchdog, watchdogs)
		c.oneOf(at+".fence_device", h.FenceDevice, fenceDevices)
		if h.WatchdogSlow < 0 || h.WatchdogSlow > 0.05 {
			p.wrong(at+".watchdog_slow", "is %g, allowed is 0 to 0.05", h.WatchdogSlow)
		}
		if h.ClockRate < 0 || h.ClockRate > 2 {
			p.wrong(at+".clock_rate", "is %g, allowed is 0 to 2", h.ClockRate)
		}
	}
	for i, v := range s.VMs {
		at := fmt.Sprintf("vms[%d]", i)
		if v.ID == "" || c.vms[v.ID] {
			p.wrong(at, "id %q is empty or used twice", v.ID)
		}
		c.vms[v.ID] = true
		c.host(at+".host", v.Host)
		if v.Desired == "" {
			p.wrong(at+".desired", "is missing")
		}
		c.oneOf(at+".desired", v.Desired, desiredStates)
		if v.InjectedFaults != nil {
			c.host(at+".injected_faults", v.InjectedFaults.StartAndMoveFaultsOnlyHost)
		}
	}
	for _, a := range s.Actions {
		if s.Brings(a) {
			c.vms[a.VM] = true
		}
	}
	for i, v := range s.VMs {
		for _, d := range v.DependsOn {
			c.vm(fmt.Sprintf("vms[%d].depends_on", i), d)
		}
	}
	for i, r := range s.Rules {
		at := fmt.Sprintf("rules[%d]", i)
		c.oneOf(at+".type", r.Type, ruleTypes)
		for _, v := range r.VMs {
			c.vm(at+".vms", v)
		}
		for _, h := range slices.Sorted(maps.Keys(r.Hosts)) {
			c.host(at+".hosts", h)
		}
	}
	c.oneOf("settings.placement", s.Settings.Placement, placements)
	c.oneOf("settings.shutdown_policy", s.Settings.ShutdownPolicy, shutdownModes)
	c.actions(s)
	c.expect(s)
}

// checker knows the names that a scenario has defined.
type checker struct {
	p          *parser
	hosts, vms map[string]bool
}

func (c *checker) oneOf(path, value string, known []string) {
	if value != "" && !slices.Contains(known, value) {
		c.p.wrong(path, "%s", unknown(value, known))
	}
}

func (c *checker) host(path, name string) {
	if name != "" && !c.hosts[name] {
		c.p.wrong(path, "host %s", unknown(name, slices.Collect(maps.Keys(c.hosts))))
	}
}

func (c *checker) vm(path, name string) {
	if name != "" && !c.vms[name] {
		c.p.wrong(path, "VM %s", unknown(name, slices.Collect(maps.Keys(c.vms))))
	}
}

func (c *checker) actions(s *Scenario) {
	for i, a := range s.Actions {
		at := fmt.Sprintf("actions[%d]", i)
		sig, ok := actions[a.Do]
		if !ok {
			c.p.wrong(at+".do", "action %s", unknown(a.Do, slices.Collect(maps.Keys(actions))))
			continue
		}
		if a.T < 0 {
			c.p.wrong(at+".t", "is before the start")
		}
		has := map[string]bool{}
		for path := range c.p.at {
			rest, ok := strings.CutPrefix(path, at+".")
			if ok && !strings.ContainsAny(rest, ".[") {
				has[rest] = true
			}
		}
		for _, arg := range slices.Sorted(maps.Keys(has)) {
			if !sig.takes(arg) {
				c.p.wrong(at+"."+arg, "%s takes no %s; it takes %s", a.Do, arg, strings.Join(append(slices.Clone(sig.need), sig.may...), ", "))
			}
		}
		for _, arg := range sig.need {
			if !has[arg] {
				c.p.wrong(at, "%s needs %s", a.Do, arg)
			}
		}
		for _, h := range append(append(slices.Clone(a.Hosts), a.Host), slices.Concat(a.Groups...)...) {
			c.host(at, h)
		}
		if a.Do == "cut_link" || a.Do == "restore_link" {
			c.host(at+".from", a.From)
		}
		c.host(at+".to", a.To)
		c.vm(at+".vm", a.VM)
		c.oneOf(at+".desired", a.Desired, desiredStates)
	}
}

func (c *checker) expect(s *Scenario) {
	c.placement("expect", s.Expect.FinalPlacement)
	if s.Better != nil {
		c.placement("expect_better_than_peer", s.Better.FinalPlacement)
	}
	for h, state := range s.Expect.FinalHosts {
		c.host("expect.final_hosts", h)
		c.oneOf("expect.final_hosts."+h, state, hostStates)
	}
	for list, all := range map[string][]Event{"events": s.Expect.Events, "forbidden_events": s.Expect.ForbiddenEvents} {
		for i, e := range all {
			at := fmt.Sprintf("expect.%s[%d]", list, i)
			if _, ok := events[e.Type]; !ok {
				c.p.wrong(at+".type", "event %s", unknown(e.Type, slices.Collect(maps.Keys(events))))
			}
			for _, h := range []string{e.Host, e.From, e.To} {
				c.host(at, h)
			}
			c.vm(at+".vm", e.VM)
		}
	}
	for i, m := range s.Expect.MaxSeconds {
		at := fmt.Sprintf("expect.max_seconds[%d]", i)
		c.vm(at+".vm", m.VM)
		c.oneOf(at+".to", m.To, maxSecondsEnds)
		c.oneOf(at+".bound", m.Bound, bounds)
		if m.FromAction < 0 || m.FromAction >= len(s.Actions) {
			c.p.wrong(at+".from_action", "is %d, but there are %d actions", m.FromAction, len(s.Actions))
		}
	}
	for _, h := range s.Expect.Even {
		c.host("expect.even", h)
	}
	for _, vm := range s.Expect.Doubled {
		c.vm("expect.doubled", vm)
	}
	for i, x := range s.Expect.HostState {
		c.host(fmt.Sprintf("expect.host_state[%d].host", i), x.Host)
	}
	for i, x := range s.Expect.Running {
		c.vm(fmt.Sprintf("expect.running[%d].vm", i), x.VM)
		c.host(fmt.Sprintf("expect.running[%d].host", i), x.Host)
	}
}

func (c *checker) placement(in string, all map[string]Placement) {
	for vm, p := range all {
		at := in + ".final_placement." + vm
		c.vm(at, vm)
		c.oneOf(at+".state", p.State, finalStates)
		for _, h := range append(slices.Clone(p.AnyOf), p.Host) {
			c.host(at+".host", h)
		}
	}
}
