package storagehb

import (
	"fmt"
	"slices"

	"github.com/holdfast-ha/holdfast/storagehb/format"
)

// job is one thing for the I/O goroutine to do.
type job struct {
	write format.Value // to be written; nil for a reading
	table bool         // the table of all slots is to be read, after the write where there is one
	vms   int          // the slot whose VM table is to be read; otherwise -1
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

// next takes the next job out. Where together is set, a heartbeat and the reading of the
// table are one: both are done each interval, and handing them over one by one costs a
// good part of what they do.
func (w *wanted) next(together bool) (job, bool) {
	for i := 1; i <= len(turns); i++ {
		at := (w.last + i) % len(turns)
		if j, ok := w.take(turns[at]); ok {
			w.last = at
			if together {
				w.join(&j)
			}
			return j, true
		}
	}
	return job{}, false
}

// join adds to a heartbeat the reading, or to the reading a heartbeat. Both have had
// their turn then: a claim that comes next is written before it is read back.
func (w *wanted) join(j *job) {
	beat := &w.values[format.KindHeartbeat]
	switch {
	case j.write != nil && j.write.Kind() == format.KindHeartbeat && w.table:
		j.table, w.table = true, false
	case j.write == nil && j.table && *beat != nil:
		j.write, *beat = *beat, nil
	default:
		return
	}
	w.last = slices.Index(turns[:], readTable)
}

func (w *wanted) take(turn format.Kind) (job, bool) {
	switch turn {
	case readTable:
		asked := w.table
		w.table = false
		return job{table: true, vms: -1}, asked
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
	return job{write: value, vms: -1}, value != nil
}
