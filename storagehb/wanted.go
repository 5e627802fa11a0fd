package storagehb

import (
	"fmt"

	"github.com/holdfast-ha/holdfast/storagehb/format"
)

// job is one thing for the I/O goroutine to do.
type job struct {
	write format.Value // to be written; nil for a reading
	vms   int          // the slot whose VM table is to be read; -1 for the table of all slots
}

// wanted is what has been asked for and not begun.
type wanted struct {
	values [kindCount]format.Value // the newest of each kind
	newest [kindCount]format.Stamp // ever submitted
	any    [kindCount]bool
	table  bool
	vms    [format.MaxSlots]bool
	last   int // which of the turns was the last
}

// kindCount is one more than the highest kind, to index arrays by.
const kindCount = format.KindVMTable + 1

// turns is the order in which what is wanted is done: everything has its turn, so
// that on a slow volume nothing is starved by what is asked for more often.
var turns = [...]format.Kind{format.KindClaim, format.KindHeartbeat, format.KindAcks, readTable, format.KindVMTable, readVMs}

// The turns that are readings.
const (
	readTable = kindCount + iota
	readVMs
)

func (w *wanted) write(value format.Value) error {
	k, s := value.Kind(), value.Stamp()
	if w.any[k] && s.Compare(w.newest[k]) <= 0 {
		return fmt.Errorf("submit %v %v: %w (%v)", k, s, ErrWentBack, w.newest[k])
	}
	w.any[k], w.newest[k], w.values[k] = true, s, value
	return nil
}

// next takes the next job out.
func (w *wanted) next() (job, bool) {
	for i := 1; i <= len(turns); i++ {
		at := (w.last + i) % len(turns)
		if j, ok := w.take(turns[at]); ok {
			w.last = at
			return j, true
		}
	}
	return job{}, false
}

func (w *wanted) take(turn format.Kind) (job, bool) {
	switch turn {
	case readTable:
		asked := w.table
		w.table = false
		return job{vms: -1}, asked
	case readVMs:
		for slot := range w.vms {
			if w.vms[slot] {
				w.vms[slot] = false
				return job{vms: slot}, true
			}
		}
		return job{}, false
	}
	value := w.values[turn]
	w.values[turn] = nil
	return job{write: value}, value != nil
}
