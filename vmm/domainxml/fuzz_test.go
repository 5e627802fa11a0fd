package domainxml

import (
	"errors"
	"strings"
	"testing"
)

// whole has the elements that libvirt's hook sees most, some of which have readers of their own.
const whole = `<domain type='kvm' id='7' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'><name>web1</name><uuid>` + id + `</uuid>
<memory unit='KiB'>2097152</memory><vcpu placement='static' cpuset='0-3,^2' current='2'>4</vcpu>
<os><type arch='x86_64'>hvm</type><boot dev='hd'/></os><cpu mode='host-model'><numa><cell id='0' cpus='0-3' memory='2097152'/></numa></cpu>
<clock offset='utc'><timer name='rtc' tickpolicy='catchup'/></clock>
<devices><disk type='network' device='disk'><source protocol='rbd' name='p/i'><host name='10.0.0.1' port='6789'/></source><target dev='vda' bus='virtio'/><address type='pci' domain='0x0000' bus='0x04' slot='0x00' function='0x0'/></disk>
<interface type='bridge'><source bridge='br0'/><target dev='vnet0'/></interface><graphics type='vnc' port='-1'><listen type='address' address='::1'/></graphics>
<hostdev mode='subsystem' type='pci'><source><address domain='0' bus='0x3' slot='0' function='0'/></source></hostdev><memballoon model='virtio'/></devices>
<seclabel type='dynamic' model='dac' relabel='yes'/><qemu:commandline><qemu:arg value='-S'/></qemu:commandline></domain>`

// FuzzParse holds the reader of what libvirt's hook is given to this: it never
// panics, and what it accepts names one VM in one way, has a size, and has a hash.
func FuzzParse(f *testing.F) {
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Add(`<domain type='kvm'><name>w</name><uuid>` + strings.ToUpper(strings.ReplaceAll(id, "-", "")) + `</uuid><memory unit='TiB'>1</memory><vcpu>0</vcpu></domain>`)
	f.Add(`<domain type='lxc'><name>&#10;</name><uuid/><memory>18446744073709551615</memory></domain>`)
	f.Add(`<domain><domain><domain/></domain>`)
	f.Fuzz(func(t *testing.T, text string) {
		sum, herr := Hash(text)
		if herr == nil && len(sum) != 32 || herr != nil && !errors.Is(herr, ErrInvalid) {
			t.Fatalf("hash %q, %v", sum, herr)
		}
		d, err := Parse(text)
		if _, derr := ParseShared(text); (derr == nil) != (err == nil) {
			t.Fatalf("the definition is read with %v and what it shares with %v", err, derr)
		}
		if err != nil {
			if !errors.Is(err, ErrInvalid) || d != (Definition{}) {
				t.Fatalf("refused with %v and %+v", err, d)
			}
			return
		}
		if again, err := CanonicalUUID(d.UUID); err != nil || again != d.UUID || len(d.UUID) != 36 {
			t.Errorf("UUID %q is not the canonical %q (%v)", d.UUID, again, err)
		}
		if d.Name == "" || strings.TrimSpace(d.Name) != d.Name || strings.ContainsAny(d.Name, "/\n") || d.Memory == 0 || d.VCPUs < 1 {
			t.Errorf("accepted %+v", d)
		}
	})
}
