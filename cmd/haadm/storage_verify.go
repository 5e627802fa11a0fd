package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/lease"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/storagehb"
	"github.com/holdfast-ha/holdfast/storagehb/format"
)

func (p *program) volumeVerifyCommand() *cli.Command {
	return p.leaf("verify",
		"can this host use these volumes, or all of the policy? Reads them as its agent would, and says what is wrong; status 2: one cannot be used",
		"[PATH|NAME...]", 0, -1, clusterFlags(), p.verifyVolumes)
}

// checked is what a look at a volume has found.
type checked struct {
	Name     string      `json:"name,omitempty"` // in the policy
	Path     string      `json:"path"`
	Usable   bool        `json:"usable"`
	Why      string      `json:"why,omitempty"` // it is not
	Warnings []string    `json:"warnings"`      // it can be used, but look at this
	Volume   *volumeView `json:"volume,omitempty"`
	Slots    []slotView  `json:"slots"`

	read *volume
}

func (p *program) verifyVolumes(ctx context.Context, c *cli.Context) error {
	owner, err := p.owner(ctx, c)
	if err != nil {
		return err
	}
	wanted, err := owner.wanted(c.Args().Slice())
	if err != nil {
		return err
	}
	usable, all := true, []checked{}
	for _, v := range wanted {
		found, err := patiently(ctx, p, v.Path, func() (checked, error) { return p.check(ctx, v.Path, owner), nil })
		if err != nil {
			return err
		}
		found.Name = v.Name
		usable = usable && found.Usable
		all = append(all, found)
	}
	if err := p.show(struct {
		Schema  int       `json:"schema"`
		Usable  bool      `json:"usable"` // all of them
		Volumes []checked `json:"volumes"`
	}{api.Schema, usable, all}, func() {
		for i, found := range all {
			if i > 0 {
				p.say("")
			}
			p.checkedVolume(found, owner)
		}
	}); err != nil {
		return err
	}
	if !usable {
		return errNo
	}
	return nil
}

// wanted are the volumes that arguments name: by path, or by their name in the
// policy; without arguments all of the policy.
func (o volumeOwner) wanted(args []string) ([]config.HeartbeatVolume, error) {
	if len(args) == 0 {
		if len(o.volumes) == 0 {
			return nil, &hintedError{errors.New("the policy names no heartbeat volume"), "Give the path of one: haadm storage heartbeat verify PATH"}
		}
		return o.volumes, nil
	}
	var all []config.HeartbeatVolume
	for _, arg := range args {
		v := config.HeartbeatVolume{Path: arg}
		for _, known := range o.volumes {
			if known.Path == arg || known.Name == arg {
				v = known
			}
		}
		all = append(all, v)
	}
	return all, nil
}

// check looks at a volume.
func (p *program) check(ctx context.Context, path string, owner volumeOwner) checked {
	found := checked{Path: path, Warnings: []string{}, Slots: []slotView{}}
	v, err := readVolume(path)
	if err != nil {
		found.Why = err.Error()
		if errors.Is(err, fs.ErrNotExist) {
			found.Why += ". Is the storage mounted, or the device attached, on this host?"
		}
		return found
	}
	v.members = owner.names
	found.read, found.Volume, found.Slots = v, viewOfVolume(v), viewsOfSlots(v, p.now())
	report, err := storagehb.Verify(ctx, path, owner.id, owner.timing)
	if err == nil && len(report.Warnings) > 0 {
		time.Sleep(lookAgain) // a record that is just being written looks damaged
		report, err = storagehb.Verify(ctx, path, owner.id, owner.timing)
	}
	if err != nil {
		found.Why = strings.TrimPrefix(err.Error(), "verify heartbeat volume "+path+": ")
		return found
	}
	found.Usable = true
	found.Warnings = append(append(append(found.Warnings, report.Warnings...), unstable(path)...), odd(v, owner, p.now())...)
	return found
}

// unstable warns of a device's name that another disk may have after the next boot,
// or on another host.
func unstable(path string) []string {
	st, err := os.Stat(path)
	if err != nil || st.Mode()&fs.ModeDevice == 0 || !strings.HasPrefix(path, "/dev/") ||
		strings.HasPrefix(path, "/dev/disk/") || strings.HasPrefix(path, "/dev/mapper/") {
		return nil
	}
	return []string{path + " may be another disk after a reboot, or on another host: use its name in /dev/disk/by-id or /dev/mapper"}
}

// clockSlack is by how much a host's wall clock may be ahead before it is worth a word.
const clockSlack = 2 * time.Second

// missed is after how many of its intervals a host that has stopped writing, while
// others go on, is worth a word.
const missed = 10

// odd lists what is not wrong with the volume, but with who uses it.
func odd(v *volume, owner volumeOwner, now time.Time) (all []string) {
	say := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	if n, room := len(owner.names), v.super.Value.Slots; n > room {
		say("it has room for %d hosts, and the cluster has %d: initialise one with more slots", room, n)
	}
	newest := time.Duration(-1)
	for i := range v.slots {
		if s := &v.slots[i]; s.heartbeat.OK {
			if age := now.Sub(s.heartbeat.Origin.Wall); newest < 0 || age < newest {
				newest = max(age, 0)
			}
		}
	}
	for i := range v.slots {
		s := &v.slots[i]
		if !s.heartbeat.OK {
			continue
		}
		h, o := s.heartbeat.Value, s.heartbeat.Origin
		who := fmt.Sprintf("host %s (slot %d)", s.host(), s.slot)
		if name, member := owner.names[o.Host]; owner.names != nil && !member {
			say("%s is no member of the cluster (%v): it was one, or another machine was made from its disk", who, o.Host)
		} else if member && name != h.Name {
			say("%s has the identity of member %s (%v): was its disk copied?", who, name, o.Host)
		}
		if d := settings(h, owner.timing); d != "" {
			say("%s works with another timing than the cluster: %s", who, d)
		}
		age := now.Sub(o.Wall)
		if age < -clockSlack {
			say("%s wrote %s in the future of this host's clock: one of the two clocks is wrong; nothing but ages shown to people depends on it",
				who, span(-age))
		}
		limit := missed * owner.timing.Heartbeat
		if age > limit && newest < limit && h.Flags&format.FlagCleanExit == 0 {
			say("%s last wrote %s ago, while others write: it is down, or cannot write here; run verify on it", who, span(age))
		}
	}
	return all
}

// settings says in which of its settings a heartbeat differs from the timing.
func settings(h format.Heartbeat, t lease.Timing) string {
	var bad []string
	differ := func(name string, is, want time.Duration) {
		if is != want {
			bad = append(bad, fmt.Sprintf("%s %v instead of %v", name, is, want))
		}
	}
	differ("heartbeat_interval", h.Interval, t.Heartbeat)
	differ("lease", h.Lease, t.Lease)
	if h.Watchdog != 0 {
		differ("watchdog_timeout", h.Watchdog, t.Watchdog)
	}
	return strings.Join(bad, ", ")
}

func (p *program) checkedVolume(found checked, owner volumeOwner) {
	name := found.Path
	if found.Name != "" {
		name = fmt.Sprintf("%s (%s)", found.Name, found.Path)
	}
	if !found.Usable {
		p.paragraph("", fmt.Sprintf("%s: %s by this host.", name, p.tint("cannot be used", "critical")))
		p.paragraph("  ", found.Why)
	} else {
		p.say("%s: %s by this host, for cluster %q.", name, p.tint("can be used", "info"), owner.name)
	}
	if found.read == nil {
		return
	}
	p.say("")
	p.volumeFacts(found.read)
	p.say("")
	if len(found.read.slots) == 0 {
		p.say("No host has written to it yet.")
	} else {
		p.slotTable(found.read)
	}
	if len(found.Warnings) > 0 {
		p.say("")
		p.say("%s to look at", plural(len(found.Warnings), "thing", "things"))
		for _, w := range found.Warnings {
			p.paragraph("  "+p.tint("!", "warning")+" ", w)
		}
	} else if found.Usable {
		p.say("")
		p.say("Nothing is wrong.")
	}
}

// volumeFacts says what a volume is.
func (p *program) volumeFacts(v *volume) {
	s, o := v.super.Value, v.super.Origin
	p.field("volume", "%q, %v", s.Label, o.Volume)
	p.field("cluster", "%q, %v", s.Cluster, o.Cluster)
	p.field("made", "%s, %s ago, by host %s", s.Created.In(p.zone).Format(time.DateTime), p.ago(s.Created), v.name(o.Host))
	used := 0
	for i := range v.slots {
		if len(v.slots[i].origins()) > 0 {
			used++
		}
	}
	p.field("room", "%s, %d used; %s of %s, logical sector %d", plural(s.Slots, "slot", "slots"),
		used, capacity(format.Layout{Slots: s.Slots}.Size()), capacity(v.size), v.sector)
	p.field("timing", "%s", timingLine(s.Timing))
}

// name is what a host is called, as far as that is known, or its UUID.
func (v *volume) name(host format.UUID) string {
	if host.IsZero() {
		return "unknown"
	}
	if name := v.members[host]; name != "" {
		return name
	}
	for i := range v.slots {
		if h := v.slots[i].heartbeat; h.OK && h.Origin.Host == host && h.Value.Name != "" {
			return h.Value.Name
		}
	}
	return host.String()
}

// timingLine is a timing on one line.
func timingLine(t lease.Timing) string {
	name := t.Profile
	if name == "" {
		name = "custom"
	}
	return fmt.Sprintf("%s: heartbeat %v, lease %v, watchdog %v, reset %v, drain %v, grain %v, clock error %g; D %s",
		name, t.Heartbeat, t.Lease, t.Watchdog, t.Reset, t.Drain, t.Grain, t.ClockError, bound(t.Wait()))
}

// slotTable shows what each host says of itself, by age of what it wrote.
func (p *program) slotTable(v *volume) {
	var rows [][]any
	for i := range v.slots {
		s := &v.slots[i]
		if !s.heartbeat.OK {
			rows = append(rows, []any{s.slot, dash(s.host()), p.tint("no valid heartbeat", "warning")})
			continue
		}
		h := s.heartbeat.Value
		rows = append(rows, []any{s.slot, dash(s.host()), p.ago(s.heartbeat.Origin.Wall) + " ago",
			h.Incarnation, h.Seq, h.Acked, h.Epoch, h.VMs, dash(h.Flags.String())})
	}
	p.grid([]any{"SLOT", "HOST", "LAST WRITE", "INCARNATION", "SEQ", "ACKNOWLEDGED", "EPOCH", "VMS", "SAYS"}, rows)
	if fenced := v.fenced(); len(fenced) > 0 {
		p.say("")
		for _, line := range fenced {
			p.paragraph("", line)
		}
	}
}

// fenced lists why hosts were fenced last, where they say so.
func (v *volume) fenced() (lines []string) {
	for i := range v.slots {
		if h := v.slots[i].heartbeat; h.OK && h.Value.Reason != "" {
			lines = append(lines, fmt.Sprintf("%s was fenced last because: %s", v.slots[i].host(), h.Value.Reason))
		}
	}
	slices.Sort(lines)
	return lines
}
