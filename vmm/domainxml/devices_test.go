package domainxml

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// handing is a definition with devices of every kind: those that can be exchanged, in an order,
// and those that cannot.
const handing = `<domain type='kvm'><name>gpu1</name><uuid>` + id + `</uuid><memory unit='MiB'>512</memory><vcpu>1</vcpu>
<devices>
  <interface type='hostdev' managed='yes'>
    <mac address='52:54:00:00:00:01'/>
    <source>
      <address type='pci' domain='0x0000' bus='0x05' slot='0x10' function='0x2'/>
    </source>
    <address type='pci' domain='0x0000' bus='0x00' slot='0x07' function='0x0'/>
  </interface>
  <!-- <hostdev mode='subsystem' type='pci'><source><address bus='0x99' slot='0' function='0'/></source></hostdev> -->
  <hostdev mode='subsystem' type='pci' managed='yes'>
    <driver name='vfio'/>
    <source>
      <address domain='0x0000' bus='0x41' slot='0x00' function='0x0'/>
    </source>
    <address type='pci' domain='0x0000' bus='0x06' slot='0x00' function='0x0'/>
  </hostdev>
  <hostdev mode='subsystem' type='mdev' model='vfio-pci'>
    <source><address uuid='C2177883-f1bb-47f0-914d-32a22e3a8804'></address></source>
    <address type='pci' domain='0x0000' bus='0x08' slot='0x00' function='0x0'/>
  </hostdev>
  <hostdev mode='subsystem' type='usb'>
    <source><vendor id='0x0529'/><product id='0x1'/></source>
    <address type='usb' bus='0' port='2'/>
  </hostdev>
  <hostdev mode='subsystem' type='usb'><source><address bus='1' device='4'/></source></hostdev>
</devices></domain>`

func handingWords() []string {
	return []string{"pci:0000:05:10.2", "pci:0000:41:00.0", "mdev:c2177883-f1bb-47f0-914d-32a22e3a8804", "usb:0529:0001"}
}

func TestDevicesAreFoundInOrder(t *testing.T) {
	got, err := Devices(handing)
	if err != nil || !slices.Equal(got, handingWords()) {
		t.Fatalf("Devices is %q (%v), want %q", got, err, handingWords())
	}
	n, err := ParseNeeds(handing)
	if err != nil {
		t.Fatal(err)
	}
	var tied []string
	for _, x := range n.Ties(func(string) bool { return true }) {
		if x.Device != "" {
			tied = append(tied, x.Device)
		}
	}
	if want := handingWords(); !slices.Equal(tied, want) {
		t.Errorf("its ties name %q, want the same %q", tied, want)
	}
}

// Only the sources change: the guest's own addresses, and devices that cannot be exchanged, stay.
func TestWithDevicesRewritesSourcesAlone(t *testing.T) {
	others := []string{"pci:0001:c1:1f.7", "pci:0000:02:00.0", "mdev:11111111-2222-3333-4444-555555555555", "usb:abcd:00ef"}
	got, err := WithDevices(handing, others)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.NewReplacer(
		`<address type='pci' domain='0x0000' bus='0x05' slot='0x10' function='0x2'/>`, `<address type='pci' domain='0x0001' bus='0xc1' slot='0x1f' function='0x7'/>`,
		`<address domain='0x0000' bus='0x41' slot='0x00' function='0x0'/>`, `<address domain='0x0000' bus='0x02' slot='0x00' function='0x0'/>`,
		`<address uuid='C2177883-f1bb-47f0-914d-32a22e3a8804'>`, `<address uuid='11111111-2222-3333-4444-555555555555'>`,
		`<vendor id='0x0529'/><product id='0x1'/>`, `<vendor id='0xabcd'/><product id='0x00ef'/>`,
	).Replace(handing)
	if got != want {
		t.Errorf("the definition became\n%s\nwant\n%s", got, want)
	}
	if again, err := Devices(got); err != nil || !slices.Equal(again, others) {
		t.Errorf("it hands over %q then (%v), want %q", again, err, others)
	}
	if same, err := WithDevices(handing, handingWords()); err != nil || same != handing {
		t.Errorf("its own devices change it (%v):\n%s", err, same)
	}
	a, _ := Hash(handing)
	if b, err := Hash(got); err != nil || a != b {
		t.Errorf("the hash changes with the devices from %s to %s (%v): a start elsewhere would look like a person's change", a, b, err)
	}
	moved := strings.Replace(handing, `bus='0x06'`, `bus='0x07'`, 1)
	if b, _ := Hash(moved); a == b {
		t.Error("the hash does not change with a device's place in the guest")
	}
	if b, _ := Hash(strings.Replace(handing, `device='4'`, `device='5'`, 1)); a == b {
		t.Error("the hash does not change with a device that cannot be exchanged")
	}
}

func TestWithDevicesRefusesWhatDoesNotFit(t *testing.T) {
	for name, words := range map[string][]string{
		"too few":      {"pci:0000:02:00.0"},
		"none":         nil,
		"another kind": {"pci:0000:02:00.0", "mdev:11111111-2222-3333-4444-555555555555", "pci:0000:03:00.0", "usb:0529:0001"},
		"no address":   {"pci:0000:05:10.2", "pci:", "mdev:c2177883-f1bb-47f0-914d-32a22e3a8804", "usb:0529:0001"},
		"a quote":      {"pci:0000:05:10.2", "pci:0000:41:00.0", "mdev:'/><x y='", "usb:0529:0001"},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := WithDevices(handing, words); !errors.Is(err, ErrInvalid) || got != "" {
				t.Errorf("it gave %v and\n%s", err, got)
			}
		})
	}
}

// FuzzDevices: what is read as a device can be written back as it is, and as another.
func FuzzDevices(f *testing.F) {
	f.Add(handing)
	f.Add(whole)
	f.Fuzz(func(t *testing.T, text string) {
		words, err := Devices(text)
		if err != nil {
			return
		}
		if same, err := WithDevices(text, words); err != nil || same != text {
			t.Fatalf("%q does not go back (%v)", words, err)
		}
		for i := range words {
			if strings.HasPrefix(words[i], pciWord) {
				words[i] = "pci:0000:7f:1e.3"
			}
		}
		other, err := WithDevices(text, words)
		if err != nil {
			t.Fatalf("%q does not go in: %v", words, err)
		}
		if again, err := Devices(other); err != nil || !slices.Equal(again, words) {
			t.Fatalf("%q is read back as %q (%v)", words, again, err)
		}
	})
}
