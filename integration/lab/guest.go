package lab

import (
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"text/template"

	"github.com/holdfast-ha/holdfast/integration/lab/witness"
)

// GuestKind is what a guest has inside.
type GuestKind string

const (
	// Witness boots Linux and writes the witness to its disk ten times a second.
	Witness GuestKind = "witness"
	// Empty has no disk and no operating system: it counts as running and costs
	// next to nothing, for tests of scale. The judge counts its processes alone.
	Empty GuestKind = "empty"
)

// Guest is a VM of the lab: its definition and its disk on shared storage. Where
// it is defined or runs is up to the tests and the agents.
type Guest struct {
	Name    string
	UUID    string
	Kind    GuestKind
	Disk    string // path of the raw disk; empty for Empty
	Console string // path of the file that the serial console is written to
	XML     string // domain XML, the same on every host
}

// domainXML: no image lock guards the disk (raw and shareable), so that what keeps
// a VM from running twice is the product and not QEMU.
var domainXML = template.Must(template.New("domain").Funcs(template.FuncMap{"xml": escape}).Parse(`<domain type='qemu'>
  <name>{{xml .Guest.Name}}</name>
  <uuid>{{.Guest.UUID}}</uuid>
  <memory unit='MiB'>{{.MiB}}</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
{{- if .Guest.Disk}}
    <kernel>{{xml .Boot.Kernel}}</kernel>
    <initrd>{{xml .Boot.Initramfs}}</initrd>
    <cmdline>console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on holdfast.vm={{xml .Guest.Name}}</cmdline>
{{- end}}
  </os>
{{- /* An instruction for random numbers saves the guest a second of waiting for entropy. */}}
  <cpu mode='custom' match='exact' check='none'>
    <model>qemu64</model>
    <feature policy='require' name='rdrand'/>
  </cpu>
  <features>
    <acpi/>
    <tcg><tb-cache unit='MiB'>64</tb-cache></tcg>
  </features>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <controller type='usb' model='none'/>
{{- if .Guest.Disk}}
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw' cache='none'/>
      <source file='{{xml .Guest.Disk}}'/>
      <target dev='vda' bus='virtio'/>
      <shareable/>
    </disk>
{{- end}}
    <serial type='file'>
      <source path='{{xml .Guest.Console}}' append='on'/>
      <target port='0'/>
    </serial>
    <memballoon model='none'/>
  </devices>
</domain>
`))

func escape(s string) (string, error) {
	var out bytes.Buffer
	err := xml.EscapeText(&out, []byte(s))
	return out.String(), err
}

// CreateGuest makes a VM's disk on shared storage and its definition, and has the
// judge watch it. It is defined on no host yet.
func (l *Lab) CreateGuest(name string, kind GuestKind) (*Guest, error) {
	if name == "" || name != filepath.Base(name) {
		return nil, fmt.Errorf("guest name %q: must be usable as a file name", name)
	}
	g := &Guest{Name: name, UUID: randomUUID(), Kind: kind, Console: filepath.Join(l.sharedDir(), name+".console")}
	mib := 16
	switch kind {
	case Empty:
	case Witness:
		mib = 96
		g.Disk = filepath.Join(l.sharedDir(), name+".raw")
		if err := os.WriteFile(g.Disk, make([]byte, witness.DiskSize), 0o600); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("guest kind %q: want %s or %s", kind, Witness, Empty)
	}
	var text bytes.Buffer
	err := domainXML.Execute(&text, struct {
		Guest *Guest
		Boot  bootFiles
		MiB   int
	}{g, l.boot, mib})
	if err != nil {
		return nil, fmt.Errorf("definition of %s: %w", name, err)
	}
	g.XML = text.String()
	if err := os.WriteFile(l.xmlFile(g), text.Bytes(), 0o644); err != nil {
		return nil, err
	}
	l.guestsMu.Lock()
	_, taken := l.guests[name]
	if !taken {
		l.guests[name] = g
	}
	l.guestsMu.Unlock()
	if taken {
		return nil, fmt.Errorf("guest %s exists already", name)
	}
	return g, l.judge.watch(g)
}

func (l *Lab) xmlFile(g *Guest) string { return filepath.Join(l.sharedDir(), g.Name+".xml") }

// Define defines the guest on this host, as a person would.
func (h *Host) Define(ctx context.Context, g *Guest) error {
	_, err := h.Virsh(ctx, "define", h.lab.xmlFile(g))
	return err
}

// StartGuest starts a guest that is defined here, as a person would.
func (h *Host) StartGuest(ctx context.Context, g *Guest) error {
	_, err := h.Virsh(ctx, "start", g.Name)
	return err
}
