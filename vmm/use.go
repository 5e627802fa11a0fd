package vmm

import "time"

// Use is what a VM that has a process has taken of its host.
type Use struct {
	// CPUTime is the time of processors that it has taken since some moment of its life: two readings
	// tell how many it used between them. It goes back when the process is another one.
	CPUTime time.Duration
	// Memory is how much of the host's memory its process holds, bytes.
	Memory uint64
}
