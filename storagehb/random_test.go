package storagehb_test

import (
	"errors"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-ha/holdfast/storagehb"
	"github.com/holdfast-ha/holdfast/storagehb/format"
	"github.com/holdfast-ha/holdfast/storagehb/hbtest"
)

// Hosts write and read while their paths do what they like: late, torn and failed
// writes, hangs, restarts. Nobody breaks a rule (the disk watches), no heartbeat
// disappears, a completed write is seen by whoever begins to read
// after it, and when all is well again everything works.
func TestRandomFaults(t *testing.T) {
	runs := uint64(150)
	if testing.Short() {
		runs = 30
	}
	for seed := range runs {
		inBubble(t, func(w *world) {
			rng := rand.New(rand.NewPCG(seed, 3))
			hosts := make([]*host, slots)
			var run, seq [slots]uint64
			var change []func(*storagehb.Config)
			if seed%2 == 1 {
				change = append(change, together(t, &tally{}))
			}
			for i := range hosts {
				hosts[i] = w.host(i, change...)
			}
			for range 150 {
				i := rng.IntN(slots)
				h := hosts[i]
				switch rng.IntN(16) {
				case 0:
					h.path.Hang()
				case 1, 2, 3:
					h.path.Heal()
				case 4:
					h.path.SetError(hbtest.ErrIO)
				case 5:
					h.path.SetDelay(time.Duration(rng.Int64N(int64(3 * time.Second))))
				case 6:
					keep := rng.IntN(4097)
					h.path.Next(hbtest.Fault{Keep: &keep, Err: hbtest.ErrIO})
				case 7:
					h.path.Next(hbtest.Fault{Err: hbtest.ErrIO})
				case 8:
					h.path.Release()
					h.stop()
					if err := <-h.done; err != nil && !errors.Is(err, storagehb.ErrAbandoned) {
						t.Error(err)
					}
					h.checkReadings(seed)
					// What the old life left in flight ends before the next begins, or the
					// slot goes back: that is for its claims' readers to allow for.
					time.Sleep(10 * time.Second)
					run[i]++
					seq[i] = 0
					hosts[i] = w.host(i, change...)
				default:
					seq[i] += 1 + rng.Uint64N(3)
					for _, v := range []format.Value{claim(1+run[i], seq[i]), format.Acks{Epoch: 1 + run[i], Seq: seq[i]}} {
						if err := hosts[i].Submit(v); err != nil {
							t.Fatal(err)
						}
					}
					if err := hosts[i].Beat(format.Heartbeat{Incarnation: 1, Run: run[i], Seq: seq[i]}); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(time.Duration(rng.Int64N(int64(time.Second))))
			}
			for i, h := range hosts {
				h.path.Heal()
				time.Sleep(time.Minute)
				h.submit(format.Heartbeat{Incarnation: 1, Run: run[i], Seq: seq[i] + 1})
				h.submit(format.Heartbeat{Incarnation: 1, Run: run[i], Seq: seq[i] + 9})
			}
			w.checkCompleted(seed, hosts)
			for i, h := range hosts {
				read := h.table()
				if read.Err != nil {
					t.Fatalf("seed %d: when all is well, slot %d reads: %v", seed, i, read.Err)
				}
				for j, s := range read.Table {
					if got := s.Heartbeat.Value.Seq; got != seq[j]+9 {
						t.Errorf("seed %d: when all is well, slot %d reads %d of slot %d, want %d", seed, i, got, j, seq[j]+9)
					}
				}
				h.checkReadings(seed)
				h.end()
			}
			synctest.Wait()
		})
		if t.Failed() {
			return
		}
	}
}

// checkReadings holds what one host read: a heartbeat that was there once is never gone.
func (h *host) checkReadings(seed uint64) {
	h.w.Helper()
	var seen [slots]format.Stamp
	for _, e := range all[storagehb.TableRead](h) {
		if e.Err != nil {
			continue
		}
		for slot, s := range e.Table {
			if !s.Heartbeat.OK {
				if seen[slot] != (format.Stamp{}) {
					h.w.Fatalf("seed %d: the heartbeat of slot %d is gone", seed, slot)
				}
				continue
			}
			seen[slot] = s.Heartbeat.Value.Stamp()
		}
	}
}

// checkCompleted holds readings against writes: what was complete before a reading
// began is in it, or something newer is.
func (w *world) checkCompleted(seed uint64, hosts []*host) {
	w.Helper()
	for i, writer := range hosts {
		for _, wrote := range all[storagehb.Written](writer) {
			if wrote.Err != nil || wrote.Kind != format.KindHeartbeat {
				continue
			}
			for _, reader := range hosts {
				for _, read := range all[storagehb.TableRead](reader) {
					if read.Err != nil || read.Started <= wrote.Completed { // at the same moment either may have been first
						continue
					}
					if s := read.Table[i].Heartbeat; !s.OK || s.Value.Stamp().Compare(wrote.Stamp) < 0 {
						w.Fatalf("seed %d: %v of slot %d was complete at %v; a reading begun at %v shows %v (%v)",
							seed, wrote.Stamp, i, wrote.Completed, read.Started, s.Value.Stamp(), s.Errs)
					}
				}
			}
		}
	}
}
