package storagehb

import (
	"context"

	"github.com/holdfast-ha/holdfast/storagehb/format"
)

// access is an open device as the worker uses it. It begins no I/O once ctx has
// ended: a worker that was left behind must not write into the next life of its host.
type access struct {
	File
	ctx context.Context
	own []byte // memory, where the device has none
	out []byte // for what is written: has room for any record
	in  []byte // for what is read
}

// outSize is the room for what is written.
const outSize = format.SlotBlocks * format.BlockSize

// room makes the memory for readings n bytes long at least. No I/O is under way.
func (a *access) room(n int64) (err error) {
	if int64(len(a.in)) >= n {
		return nil
	}
	var all []byte
	if b, ok := a.File.(Batcher); ok {
		all, err = b.Memory(outSize + int(n))
	} else {
		freeBuffer(a.own)
		a.own, a.out, a.in = nil, nil, nil
		all, err = newBuffer(outSize + int(n))
		a.own = all
	}
	if err != nil {
		return err
	}
	a.out, a.in = all[:outSize], all[outSize:]
	return nil
}

// Close gives the memory back as well. No I/O is under way.
func (a *access) Close() error {
	freeBuffer(a.own)
	a.own, a.out, a.in = nil, nil, nil
	return a.File.Close()
}

func (a *access) ReadAt(p []byte, off int64) (int, error) {
	if err := a.ctx.Err(); err != nil {
		return 0, err
	}
	return a.File.ReadAt(p, off)
}

func (a *access) WriteAt(p []byte, off int64) (int, error) {
	if err := a.ctx.Err(); err != nil {
		return 0, err
	}
	return a.File.WriteAt(p, off)
}

// do does several I/Os. Of those that are handed over together the first alone may be
// a write: the others may begin after ctx has ended.
func (a *access) do(ios []IO) (int, error) {
	b, ok := a.File.(Batcher)
	if !ok {
		return Do(a, ios...)
	}
	if err := a.ctx.Err(); err != nil {
		return 0, err
	}
	return b.Do(ios...)
}
