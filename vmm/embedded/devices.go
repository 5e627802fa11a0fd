package embedded

import (
	"fmt"
	"slices"

	"github.com/holdfast-ha/holdfast/vmm"
)

// SetDevices says which devices the host has that a guest can be handed, as words such as
// "pci:0000:41:00.0". Until then it has all that anybody asks for.
func (h *Host) SetDevices(words ...string) {
	h.mu.Lock()
	defer h.unlock()
	h.devices = append([]string{}, words...)
}

// Handed are the devices of the host that the definition of a domain hands over, by the domain's
// name or UUID.
func (h *Host) Handed(vm string) []string {
	h.mu.Lock()
	defer h.unlock()
	for _, d := range h.domains {
		if d.Name == vm || d.UUID == vm {
			return slices.Clone(d.devices)
		}
	}
	return nil
}

// DeviceClashes are the starts that were refused because another domain had a device of theirs,
// in words, oldest first.
func (h *Host) DeviceClashes() []string {
	h.mu.Lock()
	defer h.unlock()
	return slices.Clone(h.clashes)
}

// handOver refuses a start, as libvirt does, whose device is not there or is another domain's.
// Needs h.mu.
func (h *Host) handOver(d *domain) error {
	for _, word := range d.devices {
		if h.devices != nil && !slices.Contains(h.devices, word) {
			return fmt.Errorf("%s: device %s not found on host %s", d.Name, word, h.cfg.Name)
		}
		for _, other := range h.sorted() {
			if other != d && other.state != vmm.Stopped && slices.Contains(other.devices, word) {
				err := fmt.Errorf("%s: device %s of host %s is in use by domain %s", d.Name, word, h.cfg.Name, other.Name)
				h.clashes = append(h.clashes, err.Error())
				return err
			}
		}
	}
	return nil
}
