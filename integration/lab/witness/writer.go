package witness

import (
	"errors"
	"fmt"
)

// Device is the disk that a Writer writes to. Its writes must be on stable
// storage when they return (O_DIRECT and O_DSYNC in a guest), and its reads must
// not come from a cache of the reader's.
type Device interface {
	ReadAt(block []byte, off int64) (int, error)
	WriteAt(block []byte, off int64) (int, error)
}

// Writer is one life of a guest, writing heartbeats. It is not safe for
// concurrent use.
type Writer struct {
	dev      Device
	block    []byte // BlockSize, aligned as the device needs it
	life     Life
	count    uint64
	found    Record // the heartbeat at boot
	conflict bool
}

// NewWriter enters life into the list of lives on dev. block is the buffer to
// work with, BlockSize long and aligned as dev wants it.
func NewWriter(dev Device, block []byte, life Life) (*Writer, error) {
	w := &Writer{dev: dev, block: block, life: life}
	found, err := ReadHeartbeat(dev, block)
	if err != nil && !errors.Is(err, ErrBlank) {
		return nil, err
	}
	w.found = found
	for n := firstLife; n < firstLife+MaxLives; n++ {
		if _, err := dev.ReadAt(block, int64(n)*BlockSize); err != nil {
			return nil, fmt.Errorf("read witness block %d: %w", n, err)
		}
		if _, err := Decode(block); errors.Is(err, ErrBlank) {
			return w, w.put(n, Record{Life: life, Other: found.Life, OtherCount: found.Count})
		}
	}
	return w, nil
}

// Beat writes the next heartbeat. conflict is true when another life has written
// since this one began: the disk has two writers, and says so from now on.
func (w *Writer) Beat() (count uint64, conflict bool, err error) {
	last, err := ReadHeartbeat(w.dev, w.block)
	if err != nil && !errors.Is(err, ErrBlank) {
		return w.count, w.conflict, err
	}
	expected := last.Life == w.life && last.Count == w.count
	if w.count == 0 {
		expected = last.Life == w.found.Life && last.Count == w.found.Count
	}
	if !expected && !w.conflict {
		w.conflict = true
		if err := w.put(conflictBlock, Record{Life: w.life, Count: w.count, Other: last.Life, OtherCount: last.Count}); err != nil {
			return w.count, true, err
		}
	}
	w.count++
	err = w.put(heartbeatBlock, Record{Life: w.life, Count: w.count, Other: w.found.Life, OtherCount: w.found.Count})
	return w.count, w.conflict, err
}

func (w *Writer) put(n int, r Record) error {
	r.Encode(w.block)
	if _, err := w.dev.WriteAt(w.block, int64(n)*BlockSize); err != nil {
		return fmt.Errorf("write witness block %d: %w", n, err)
	}
	return nil
}
