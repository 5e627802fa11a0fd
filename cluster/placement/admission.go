package placement

// Admission says how much room is kept for failures, and how it is reckoned.
type Admission struct {
	Kind AdmissionKind
	Mode Mode
	// Failures to be tolerated; Domains and Succession as in Failures, and for
	// ByPlacement only.
	Failures   int
	Domains    bool
	Succession bool
	Slots      SlotSize
	// CPUPercent and MemoryPercent are kept free by ByPercentage; with Auto they are
	// what the largest Failures hosts make of all.
	CPUPercent, MemoryPercent int
	Auto                      bool
	// MinMHz and MinMemory are what a VM without a reservation counts (slots and percentage).
	MinMHz    int
	MinMemory int64 // bytes
	// ProtectedOnly leaves VMs outside the class Protected out of slots and percentages.
	ProtectedOnly bool
}

// Mode is what follows from a No or Unknown.
type Mode int

const (
	// Enforce refuses the change.
	Enforce Mode = iota
	// Warn lets it pass, with the same answer.
	Warn
	// Off does not reckon; only what no host can run at all is refused.
	Off
)

// AdmissionKind is one way to reckon.
type AdmissionKind string

const (
	// ByPlacement asks whether any N hosts may fail, by real placements.
	ByPlacement AdmissionKind = "placement"
	// BySlots counts VMs in slots of one size.
	BySlots AdmissionKind = "slots"
	// ByPercentage keeps a part of all capacity free.
	ByPercentage AdmissionKind = "percentage"
	// ByFailoverHosts keeps the hosts marked Failover empty.
	ByFailoverHosts AdmissionKind = "failover_hosts"
)

// SlotSize bounds or fixes the size of a slot. Zero fields are not set.
type SlotSize struct {
	MaxMHz, FixedMHz       int
	MaxMemory, FixedMemory int64 // bytes
}
