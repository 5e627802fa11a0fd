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

// HasDevice reports whether the host has a device, by its word.
func (h *Host) HasDevice(word string) bool {
	h.mu.Lock()
	defer h.unlock()
	return h.devices == nil || slices.Contains(h.devices, word)
}

// handOver refuses a start, as libvirt does, whose device is not there or is another VM's.
// Needs h.mu.
func (h *Host) handOver(d *domain) error {
	for _, word := range d.devices {
		if h.devices != nil && !slices.Contains(h.devices, word) {
			return fmt.Errorf("%s: device %s not found on host %s", d.Name, word, h.cfg.Name)
		}
		for _, other := range h.sorted() {
			if other != d && other.state != vmm.Stopped && slices.Contains(other.devices, word) {
				return fmt.Errorf("%s: device %s is in use by domain %s", d.Name, word, other.Name)
			}
		}
	}
	return nil
}
