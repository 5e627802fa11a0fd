package storagehb_test

import (
	"bytes"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"unsafe"

	"github.com/holdfast-ha/holdfast/storagehb"
	"github.com/holdfast-ha/holdfast/storagehb/format"
	"github.com/holdfast-ha/holdfast/storagehb/hbtest"
)

// tally is a list that several paths of a host add to.
type tally struct {
	mu   sync.Mutex
	list []int
}

func (y *tally) add(n int) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.list = append(y.list, n)
}

func (y *tally) take() []int {
	y.mu.Lock()
	defer y.mu.Unlock()
	list := y.list
	y.list = nil
	return list
}

// batched is a path that takes several I/Os at once and has memory of its own, which
// is not to be used after it was closed.
type batched struct {
	storagehb.File
	t      testing.TB
	memory []byte
	sizes  *tally // of what was handed over together
	closed bool
}

func (b *batched) Memory(n int) ([]byte, error) {
	if b.memory == nil {
		b.memory = make([]byte, 2<<20)
		if past := uintptr(unsafe.Pointer(&b.memory[0])) % format.BlockSize; past > 0 {
			b.memory = b.memory[format.BlockSize-past:]
		}
	}
	return b.memory[:n], nil
}

func (b *batched) Do(ios ...storagehb.IO) (int, error) {
	if b.closed {
		b.t.Error("I/O is asked for after the volume was closed")
	}
	b.sizes.add(len(ios))
	return storagehb.Do(b.File, ios...)
}

func (b *batched) Close() error {
	b.closed = true
	copy(b.memory, bytes.Repeat([]byte{0xff}, len(b.memory))) // what is taken from it now is noise
	return b.File.Close()
}

// together makes a host's path one that takes several I/Os at once.
func together(t testing.TB, sizes *tally) func(*storagehb.Config) {
	return func(c *storagehb.Config) {
		open := c.Open
		c.Open = func() (storagehb.File, error) {
			f, err := open()
			if err != nil {
				return nil, err
			}
			return &batched{File: f, t: t, sizes: sizes}, nil
		}
	}
}

// A heartbeat and a reading that are asked for together are handed over together, in
// this order: the reading shows the write, and counts from before it.
func TestHeartbeatAndReadingTogether(t *testing.T) {
	inBubble(t, func(w *world) {
		var sizes tally
		a := w.host(0, together(t, &sizes))
		for seq := range uint64(3) {
			read := a.beat(1 + seq)
			wrote := last[storagehb.Written](a)
			if got := read.Table[0].Heartbeat.Value; got.Seq != 1+seq || wrote.Stamp != got.Stamp() {
				t.Errorf("heartbeat %d was written, %v is reported, %d is read", 1+seq, wrote.Stamp, got.Seq)
			}
			if read.Started > wrote.Submitted {
				t.Errorf("the reading counts from %v, the write that it followed from %v", read.Started, wrote.Submitted)
			}
		}
		if got, want := sizes.take(), []int{2, 2, 2}; !slices.Equal(got, want) {
			t.Errorf("I/Os were handed over as %v, want %v", got, want)
		}
		a.end()
	})
}

// Where the storage takes its time they go one by one: what a reading proves would
// count from the beginning of the write before it.
func TestSlowReadingsBeginAfterTheWrite(t *testing.T) {
	inBubble(t, func(w *world) {
		var sizes tally
		a := w.host(0, together(t, &sizes))
		a.path.SetDelay(deadline / 4)
		a.table()
		read := a.beat(1)
		if wrote := last[storagehb.Written](a); read.Started < wrote.Completed {
			t.Errorf("the reading counts from %v, the write before it was complete at %v", read.Started, wrote.Completed)
		}
		if got, want := sizes.take(), []int{1, 1, 1}; !slices.Equal(got, want) {
			t.Errorf("I/Os were handed over as %v, want %v", got, want)
		}
		a.end()
	})
}

// A write that fails takes no reading with it.
func TestReadingOutlivesTheWrite(t *testing.T) {
	inBubble(t, func(w *world) {
		var sizes tally
		a := w.host(0, together(t, &sizes))
		a.submit(beat(1))
		a.path.Next(hbtest.Fault{Err: hbtest.ErrIO})
		if read := a.beat(2); read.Err != nil || read.Table[0].Heartbeat.Value.Seq != 2 {
			t.Errorf("the reading ended with %v", read.Err)
		}
		a.wantWrites(format.KindHeartbeat, "3.2.1", "3.2.2!")
		if got, want := sizes.take(), []int{1, 2, 1}; !slices.Equal(got, want) {
			t.Errorf("I/Os were handed over as %v, want %v", got, want)
		}
		a.end()
	})
}

// beat leaves a heartbeat, and waits for the reading that is due with it.
func (h *host) beat(seq uint64) storagehb.TableRead {
	h.w.Helper()
	return h.reading(func() {
		if err := h.Beat(beat(seq)); err != nil {
			h.w.Fatal(err)
		}
	})
}

// What is left while a heartbeat and a reading are under way has its turn as if each of
// them had had its own: a claim is written before it is read back.
func TestClaimIsWrittenBeforeItIsReadBack(t *testing.T) {
	inBubble(t, func(w *world) {
		var sizes tally
		a := w.host(0, together(t, &sizes))
		for n := range uint64(3) {
			a.path.Hang()
			if err := a.Beat(beat(1 + n)); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if err := a.Submit(claim(1, 1+n)); err != nil {
				t.Fatal(err)
			}
			a.ReadTable()
			a.path.Release()
			synctest.Wait()
			if got := last[storagehb.TableRead](a).Table[0].Claim; !got.OK || got.Value.Version != 1+n {
				t.Errorf("the last reading shows version %d of the claim (%v), want %d", got.Value.Version, got.Errs, 1+n)
			}
		}
		a.end()
	})
}
