package libvirt

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	rpc "github.com/digitalocean/go-libvirt"

	"github.com/holdfast-ha/holdfast/vmm"
	"github.com/holdfast-ha/holdfast/vmm/domainxml"
)

// portable is how a definition is read: as it will be at the next start, with
// passwords, without what only this host and this libvirt version can know.
const portable = rpc.DomainXMLInactive | rpc.DomainXMLSecure | rpc.DomainXMLMigratable

// parsedXML is what was read in a definition the last time.
type parsedXML struct {
	text string
	def  domainxml.Definition
	hash string

	devices []string
}

// Domains lists every domain, by name. A QEMU process whose domain libvirt holds
// for stopped, or does not know at all, is listed as running: it may write to its
// disks, whatever libvirt's books say.
func (d *Driver) Domains(ctx context.Context) ([]vmm.Domain, error) {
	list, err := call(ctx, d, func(l *rpc.Libvirt) ([]vmm.Domain, error) { return d.list(ctx, l) })
	if err != nil {
		return nil, fmt.Errorf("list domains: %w", err)
	}
	processes, err := scan(d.cfg.Proc)
	if err != nil {
		return nil, fmt.Errorf("list domains: %w", err)
	}
	list = d.addProcesses(list, processes)
	d.forgetOthers(list)
	slices.SortFunc(list, func(a, b vmm.Domain) int {
		return strings.Compare(a.Name+"\x00"+a.UUID, b.Name+"\x00"+b.UUID)
	})
	return list, nil
}

// list asks the daemon. No request here waits for a VM's monitor, so that one
// hung QEMU process does not hide the others.
func (d *Driver) list(ctx context.Context, l *rpc.Libvirt) ([]vmm.Domain, error) {
	const all = rpc.ConnectListDomainsActive | rpc.ConnectListDomainsInactive
	stats, err := l.ConnectGetAllDomainStats(nil, uint32(rpc.DomainStatsState), uint32(rpc.ConnectGetAllDomainsStatsNowait))
	if err != nil {
		return nil, err
	}
	persistent, err := uuids(l, all|rpc.ConnectListDomainsPersistent)
	if err != nil {
		return nil, err
	}
	autostart, err := uuids(l, all|rpc.ConnectListDomainsAutostart)
	if err != nil {
		return nil, err
	}
	list := make([]vmm.Domain, 0, len(stats))
	for _, s := range stats {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		text, err := l.DomainGetXMLDesc(s.Dom, portable)
		if hasCode(err, rpc.ErrNoDomain) {
			continue // undefined a moment ago
		}
		if err != nil {
			return nil, fmt.Errorf("read definition of %s: %w", s.Dom.Name, err)
		}
		dom := vmm.Domain{
			UUID: formatUUID(s.Dom.UUID), Name: s.Dom.Name,
			Persistent: persistent[s.Dom.UUID], Autostart: autostart[s.Dom.UUID],
		}
		dom.State, dom.Reason = stateOf(stat(s, rpc.DomainStatsStateState), stat(s, rpc.DomainStatsStateReason))
		if dom.State == vmm.Paused {
			marked, err := isMarked(l, s.Dom)
			if err != nil {
				return nil, fmt.Errorf("read where %s comes from: %w", s.Dom.Name, err)
			}
			if marked {
				dom.Reason = vmm.ReasonIncoming
			}
		}
		if p, err := d.parse(dom.UUID, withoutMark(text)); err == nil {
			dom.VCPUs, dom.Memory, dom.XMLHash, dom.Devices = p.def.VCPUs, p.def.Memory, p.hash, p.devices
		} else {
			d.log.Warn("definition cannot be read", "vm", dom.Name, "uuid", dom.UUID, "error", err)
		}
		list = append(list, dom)
	}
	return list, nil
}

// stat reads one number of a domain's statistics. Libvirt leaves out what it does
// not know; no state is the state "none", which counts as running.
func stat(s rpc.DomainStatsRecord, field string) int32 {
	for _, p := range s.Params {
		if p.Field == field {
			if v, ok := p.Value.I.(int32); ok {
				return v
			}
		}
	}
	return 0
}

// uuids asks which domains have what flags say.
func uuids(l *rpc.Libvirt, flags rpc.ConnectListAllDomainsFlags) (map[rpc.UUID]bool, error) {
	doms, _, err := l.ConnectListAllDomains(1, flags)
	if err != nil {
		return nil, err
	}
	set := make(map[rpc.UUID]bool, len(doms))
	for _, dom := range doms {
		set[dom.UUID] = true
	}
	return set, nil
}

// addProcesses puts the processes beside the domains that they are of.
func (d *Driver) addProcesses(list []vmm.Domain, processes []qemu) []vmm.Domain {
	at := make(map[string]int, len(list))
	for i, dom := range list {
		at[dom.UUID] = i
	}
	for _, q := range processes {
		i, known := at[q.uuid]
		if known && list[i].State != vmm.Stopped {
			list[i].PID, list[i].StartTime = q.PID, q.StartTime
			continue
		}
		// It may have ended since libvirt was asked, or been started since.
		if now, err := inspect(d.cfg.Proc, q.PID); err == nil && (now == nil || *now != q) {
			continue
		}
		if !known {
			list = append(list, vmm.Domain{UUID: q.uuid, Name: q.name})
			i = len(list) - 1
			at[q.uuid] = i
		}
		list[i].State, list[i].Reason = vmm.Running, ""
		list[i].PID, list[i].StartTime = q.PID, q.StartTime
	}
	return list
}

// parse reads a definition, or remembers how it read the same text before.
func (d *Driver) parse(uuid, text string) (parsedXML, error) {
	d.mu.Lock()
	p, ok := d.parsed[uuid]
	d.mu.Unlock()
	if ok && p.text == text {
		return p, nil
	}
	def, err := domainxml.Parse(text)
	if err != nil {
		return parsedXML{}, err
	}
	hash, err := domainxml.Hash(text)
	if err != nil {
		return parsedXML{}, err
	}
	devices, err := domainxml.Devices(text)
	if err != nil {
		return parsedXML{}, err
	}
	p = parsedXML{text: text, def: def, hash: hash, devices: devices}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.parsed[uuid] = p
	return p, nil
}

// forgetOthers drops what was read of domains that are no more.
func (d *Driver) forgetOthers(list []vmm.Domain) {
	known := make(map[string]bool, len(list))
	for _, dom := range list {
		known[dom.UUID] = true
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for uuid := range d.parsed {
		if !known[uuid] {
			delete(d.parsed, uuid)
		}
	}
}

// XML returns the definition as it will be at the next start, with passwords,
// fit for another host.
func (d *Driver) XML(ctx context.Context, uuid string) (string, error) {
	ref, err := reference(uuid)
	var text string
	if err == nil {
		text, err = call(ctx, d, func(l *rpc.Libvirt) (string, error) { return l.DomainGetXMLDesc(ref, portable) })
	}
	if err != nil {
		return "", fmt.Errorf("read definition of %s: %w", uuid, translate(err))
	}
	return withoutMark(text), nil
}

func formatUUID(u rpc.UUID) string {
	s := hex.EncodeToString(u[:])
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}
