package storagehb_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/lease"
	"github.com/holdfast-ha/holdfast/storagehb"
	"github.com/holdfast-ha/holdfast/storagehb/format"
	"github.com/holdfast-ha/holdfast/storagehb/hbtest"
)

const (
	deadline = 2 * time.Second
	grace    = time.Second
	slots    = 4
)

func id(first byte) (u format.UUID) {
	for i := range u {
		u[i] = first + byte(i)
	}
	return u
}

var (
	cluster, volume = id(0x10), id(0x30)
	layout          = format.Layout{Slots: slots}
)

func standard() lease.Timing {
	t, _ := lease.Profile("standard")
	return t
}

// world is a disk in a bubble, and its hosts.
type world struct {
	*testing.T
	disk  *hbtest.Disk
	began time.Time
}

// inBubble runs f in a bubble with a disk, whose rules nobody may have broken in the end.
func inBubble(t *testing.T, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		disk, err := hbtest.NewDisk(cluster, volume, format.Super{LogicalSector: 512, Slots: slots, Timing: standard(), Wait: standard().Wait(), Cluster: "site-a", Label: "hb1"})
		if err != nil {
			t.Fatal(err)
		}
		w := &world{T: t, disk: disk, began: time.Now()}
		f(w)
		for _, v := range disk.Violations() {
			t.Errorf("broken rule: %s", v)
		}
	})
}

// now is a boot clock.
func (w *world) now() time.Duration { return time.Hour + time.Since(w.began) }

// host is an agent with one volume.
type host struct {
	*storagehb.Volume
	w    *world
	path *hbtest.Path
	stop context.CancelFunc
	done chan error

	mu     sync.Mutex // guards events
	events []storagehb.Event
}

func (w *world) host(slot int, change ...func(*storagehb.Config)) *host {
	w.Helper()
	h := &host{w: w, path: w.disk.Path(slot), done: make(chan error, 1)}
	cfg := storagehb.Config{Open: h.path.Open, Cluster: cluster, Volume: volume, Host: id(0x50 + byte(slot)), Slot: slot,
		Timing: standard(), Deadline: deadline, Grace: grace, Now: w.now, Report: h.report}
	for _, c := range change {
		c(&cfg)
	}
	v, err := storagehb.New(cfg)
	if err != nil {
		w.Fatal(err)
	}
	h.Volume = v
	ctx, stop := context.WithCancel(w.Context())
	h.stop = stop
	go func() { h.done <- v.Run(ctx) }()
	w.Cleanup(h.path.Release)
	synctest.Wait()
	return h
}

func (h *host) report(e storagehb.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, e)
}

// end stops the agent in good order.
func (h *host) end() {
	h.w.Helper()
	h.stop()
	if err := <-h.done; err != nil {
		h.w.Errorf("the volume ended with %v", err)
	}
}

// submit leaves a value and lets everything come to rest at this moment.
func (h *host) submit(v format.Value) {
	h.w.Helper()
	if err := h.Submit(v); err != nil {
		h.w.Fatal(err)
	}
	synctest.Wait()
}

// all are the events of one type so far.
func all[E storagehb.Event](h *host) (found []E) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.events {
		if e, ok := e.(E); ok {
			found = append(found, e)
		}
	}
	return found
}

// last is the newest event of one type; there has to be one.
func last[E storagehb.Event](h *host) E {
	h.w.Helper()
	found := all[E](h)
	if len(found) == 0 {
		var none E
		h.w.Fatalf("there was no %T; what there was: %+v", none, h.events)
	}
	return found[len(found)-1]
}

// table reads the table and waits until that is done.
func (h *host) table() storagehb.TableRead {
	h.w.Helper()
	return h.reading(h.ReadTable)
}

// reading waits for the reading that it asks for.
func (h *host) reading(ask func()) storagehb.TableRead {
	h.w.Helper()
	before := len(all[storagehb.TableRead](h))
	ask()
	for synctest.Wait(); len(all[storagehb.TableRead](h)) == before; synctest.Wait() {
		time.Sleep(10 * time.Millisecond)
	}
	return last[storagehb.TableRead](h)
}

// writes are how the writes ended: the stamps, with "!" for those that failed.
func (h *host) writes(k format.Kind) (ended []string) {
	for _, e := range all[storagehb.Written](h) {
		if e.Kind == k {
			mark := ""
			if e.Err != nil {
				mark = "!"
			}
			ended = append(ended, e.Stamp.String()+mark)
		}
	}
	return ended
}

func (h *host) wantWrites(k format.Kind, want ...string) {
	h.w.Helper()
	if got := h.writes(k); !slices.Equal(got, want) {
		h.w.Errorf("writes of %v ended as %v, want %v", k, got, want)
	}
}

func (h *host) wantState(want storagehb.State) {
	h.w.Helper()
	if got := last[storagehb.Changed](h); got.State != want {
		h.w.Errorf("the volume is %v (%v), want %v", got.State, got.Err, want)
	}
}

func beat(seq uint64) format.Heartbeat {
	return format.Heartbeat{Incarnation: 3, Run: 2, Seq: seq, Name: "kvm"}
}

func claim(epoch, version uint64, listed ...format.Listing) format.Claim {
	return format.Claim{Epoch: epoch, Version: version, Listed: listed}
}
