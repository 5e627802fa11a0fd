package vmm

// Offer is what a host has for VMs besides room. A nil field is not known: nothing
// may be concluded from it, where an empty one says that there is none.
type Offer struct {
	// Networks are what VMs can be connected to: "bridge:br0", "network:default" (of
	// libvirt, active), "device:eth1".
	Networks []string `json:"networks,omitzero"`
	// Pools are libvirt's active storage pools.
	Pools []string `json:"pools,omitzero"`
	// Capabilities are words for what the hypervisor can run: "type:kvm", "arch:x86_64",
	// "machine:pc-q35-7.2", "emulator:/usr/bin/qemu-system-x86_64", "cpu:EPYC-Rome",
	// "feature:pcid". Of a kind that has no word nothing is known.
	Capabilities []string `json:"capabilities,omitzero"`
	// HugePages are the bytes that are set aside by the size of a page in KiB; 0 is the default size.
	HugePages map[uint64]uint64 `json:"huge_pages,omitzero"`
	// DefaultPage is the default size in KiB, where it is known: what a VM gets that names no size.
	DefaultPage uint64 `json:"default_page,omitempty"`
}
