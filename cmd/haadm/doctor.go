package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/doctor"
	"github.com/holdfast-ha/holdfast/fsm"
)

func (p *program) doctorCommand() *cli.Command {
	return p.leaf("doctor",
		"what is not as it should be with hosts and with the disks of protected VMs: guard, watchdog, clock, networks, heartbeat volumes, libvirt, locks, caches",
		"[HOST]", 0, 1, nil,
		func(ctx context.Context, c *cli.Context) error {
			client := p.client()
			defer client.Close()
			a, err := client.Doctor(ctx, c.Args().First())
			if err != nil {
				return err
			}
			if err := p.show(a, func() { p.doctor(a) }); err != nil {
				return err
			}
			if a.Asks() {
				return errNo
			}
			return nil
		})
}

func (p *program) doctor(a *api.DoctorAnswer) {
	p.paragraph("", fmt.Sprintf("Examined: %s.", dash(strings.Join(a.Examined, ", "))))
	if len(a.Disks) > 0 {
		p.say("")
		var rows [][]any
		name := ""
		for _, d := range a.Disks {
			shown := d.VM
			if d.VM == name {
				shown = ""
			}
			name = d.VM
			rows = append(rows, []any{shown, d.Disk, d.Storage, p.cacheMode(a, d), p.lock(d.ImageLock), p.lock(d.LockManager)})
		}
		p.grid([]any{"VM", "DISK", "STORAGE", "CACHE", "IMAGE LOCK", "LOCK MANAGER"}, rows)
		p.lockReasons(a.Disks)
	}
	p.say("")
	if len(a.Findings) == 0 {
		p.say("Nothing was found.")
		return
	}
	p.say("%s", plural(len(a.Findings), "finding", "findings"))
	for _, f := range a.Findings {
		word := string(f.Severity)
		if f.Severity == fsm.Info {
			word = "note"
		}
		p.paragraph("  "+p.tint(fmt.Sprintf("%-8s", word), f.Severity)+"  ", f.Text)
		if f.Next != "" {
			p.say("            %s", f.Next)
		}
	}
}

// cacheMode marks a mode that something was found about.
func (p *program) cacheMode(a *api.DoctorAnswer, d doctor.Barrier) string {
	for _, f := range a.Findings {
		if f.VM == d.VM && f.Disk == d.Disk && strings.HasPrefix(f.Code, "cache_") {
			return p.tint(d.Cache+" !", f.Severity)
		}
	}
	return d.Cache
}

func (p *program) lock(l doctor.Lock) string {
	switch l.Holds {
	case doctor.Everywhere:
		return p.tint("yes", fsm.Info)
	case doctor.Host:
		return "one host"
	}
	return string(l.Holds)
}

// lockReasons says once for each reason why a lock does not hold everywhere.
func (p *program) lockReasons(disks []doctor.Barrier) {
	var order []string
	on := map[string][]string{}
	note := func(what string, d doctor.Barrier, l doctor.Lock) {
		if l.Why == "" || l.Holds == doctor.Everywhere {
			return
		}
		key := what + " \"" + p.lock(l) + "\": " + l.Why
		if on[key] == nil {
			order = append(order, key)
		}
		on[key] = append(on[key], d.VM+" "+d.Disk)
	}
	for _, d := range disks {
		note("image lock", d, d.ImageLock)
		note("lock manager", d, d.LockManager)
	}
	if len(order) > 0 {
		p.say("")
	}
	for _, key := range order {
		where := strings.Join(on[key], ", ")
		if n := len(on[key]); n == len(disks) && n > 1 {
			where = "all of them"
		} else if n > 4 {
			where = fmt.Sprintf("%s and %d more", strings.Join(on[key][:3], ", "), n-3)
		}
		p.paragraph("  ", fmt.Sprintf("%s (%s)", key, where))
	}
}
