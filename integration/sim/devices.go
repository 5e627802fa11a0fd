package sim

import (
	"fmt"
	"strings"
)

// handing is a definition that hands PCI devices of its host to the guest, by their words.
func handing(xml string, devices []string) string {
	if len(devices) == 0 {
		return xml
	}
	var b strings.Builder
	b.WriteString("  <devices>\n")
	for i, word := range devices {
		var domain, bus, slot, function int
		if n, err := fmt.Sscanf(word, "pci:%x:%x:%x.%x", &domain, &bus, &slot, &function); err != nil || n != 4 {
			panic("a scenario's device is no PCI device: " + word)
		}
		fmt.Fprintf(&b, "    <hostdev mode='subsystem' type='pci' managed='yes'>\n      <source><address domain='0x%04x' bus='0x%02x' slot='0x%02x' function='0x%x'/></source>\n"+
			"      <address type='pci' domain='0x0000' bus='0x%02x' slot='0x00' function='0x0'/>\n    </hostdev>\n", domain, bus, slot, function, 6+i)
	}
	b.WriteString("  </devices>\n")
	return strings.Replace(xml, "</domain>", b.String()+"</domain>", 1)
}

// devices holds hosts to this: nobody starts a VM with a device that another has.
func (x *watch) devices() {
	for _, name := range x.w.order {
		for _, clash := range x.w.machines[name].hyp.DeviceClashes() {
			x.w.broken("a VM was started with a device that another has: %s", clash)
		}
	}
}
