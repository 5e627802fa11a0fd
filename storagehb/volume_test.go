package storagehb_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/holdfast-ha/holdfast/storagehb"
	"github.com/holdfast-ha/holdfast/storagehb/format"
	"github.com/holdfast-ha/holdfast/storagehb/hbtest"
)

// Two hosts read what each other wrote, of every kind.
func TestHostsReadEachOther(t *testing.T) {
	inBubble(t, func(w *world) {
		a, b := w.host(0), w.host(3)
		suspicion := claim(5, 1, format.Listing{Slot: 3, Incarnation: 3, Standing: format.Suspect})
		acks := format.Acks{Epoch: 5, Seq: 1, Heard: []format.Ack{{Slot: 3, Incarnation: 3, Run: 2, Seq: 7}}}
		vms := format.VMTable{Incarnation: 3, Run: 2, Seq: 1, VMs: []format.VM{{UUID: id(1), Generation: 2, State: format.VMStoppedIsolated}}}
		for _, v := range []format.Value{beat(1), suspicion, acks, vms} {
			a.submit(v)
		}
		read := b.table()
		if read.Err != nil || len(read.Table) != slots {
			t.Fatalf("%d slots were read: %v", len(read.Table), read.Err)
		}
		s := read.Table[0]
		if diff := cmp.Diff([]format.Value{beat(1), suspicion, acks}, []format.Value{s.Heartbeat.Value, s.Claim.Value, s.Acks.Value}); diff != "" {
			t.Errorf("read otherwise than written (-written +read):\n%s", diff)
		}
		if s.Heartbeat.Origin.Host != id(0x50) || read.Table[1].Heartbeat.OK {
			t.Errorf("slot 0 is of %v, slot 1 has a heartbeat: %v", s.Heartbeat.Origin.Host, read.Table[1].Heartbeat.OK)
		}
		if err := b.ReadVMs(0); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := last[storagehb.VMsRead](b); got.Err != nil || cmp.Diff(vms, got.VMs.Value) != "" {
			t.Errorf("the VM table is read as %+v, %v", got.VMs.Value, got.Err)
		}
		a.wantState(storagehb.Working)
		a.end()
		b.end()
	})
}

// I7: whatever stands in a slot only grows, within a life of the agent and across.
func TestNeverBack(t *testing.T) {
	inBubble(t, func(w *world) {
		a := w.host(0)
		a.submit(beat(5))
		a.submit(claim(7, 4))
		for _, v := range []format.Value{beat(5), beat(4), format.Heartbeat{Incarnation: 3, Run: 1, Seq: 9}, format.Heartbeat{Incarnation: 2, Run: 9, Seq: 9}, claim(7, 4), claim(6, 9)} {
			if err := a.Submit(v); !errors.Is(err, storagehb.ErrWentBack) {
				t.Errorf("%v %v after 3.2.5 and 7.0.4: %v", v.Kind(), v.Stamp(), err)
			}
		}
		a.end()

		// The next life knows of it from the slot alone.
		a = w.host(0)
		if got := last[storagehb.Opened](a); got.Heartbeat.Value.Stamp() != (format.Stamp{Life: 3, Run: 2, Seq: 5}) || got.Claim.Value.Version != 4 {
			t.Errorf("its own slot is read as %+v", got.Slot)
		}
		a.submit(beat(5))
		a.submit(claim(7, 3))
		for _, e := range all[storagehb.Written](a) {
			if !errors.Is(e.Err, storagehb.ErrWentBack) {
				t.Errorf("%v %v was written over a newer: %v", e.Kind, e.Stamp, e.Err)
			}
		}
		a.submit(beat(6))
		a.submit(claim(7, 5))
		a.wantWrites(format.KindHeartbeat, "3.2.5!", "3.2.6")
		a.wantWrites(format.KindClaim, "7.0.3!", "7.0.5")
		a.wantState(storagehb.Working)
		a.end()
	})
}

// Sequence numbers are skipped and begin anew with each run: the copies take turns
// all the same (the disk watches that none is written over the newest).
func TestCopiesTakeTurns(t *testing.T) {
	inBubble(t, func(w *world) {
		for run := range uint64(3) {
			a := w.host(1)
			for _, seq := range []uint64{1, 3, 5, 6, 8} {
				a.submit(format.Heartbeat{Incarnation: 1, Run: run, Seq: seq})
				a.submit(format.Acks{Epoch: 1 + run, Seq: seq})
				a.submit(format.VMTable{Incarnation: 1, Run: run, Seq: seq})
			}
			if n := len(a.writes(format.KindHeartbeat)); n != 5 {
				t.Errorf("%d writes ended", n)
			}
			a.end()
		}
	})
}

// What counts is when a write or a reading began, not when it ended.
func TestMoments(t *testing.T) {
	inBubble(t, func(w *world) {
		a := w.host(0)
		a.path.SetDelay(300 * time.Millisecond)
		begin := w.now()
		a.submit(beat(1))
		time.Sleep(300 * time.Millisecond)
		synctest.Wait()
		if e := last[storagehb.Written](a); e.Submitted != begin || e.Completed != begin+300*time.Millisecond {
			t.Errorf("submitted at %v, completed at %v, want %v and 300ms later", e.Submitted, e.Completed, begin)
		}
		begin = w.now()
		read := a.table()
		if read.Started != begin || read.Completed != begin+300*time.Millisecond {
			t.Errorf("started at %v, completed at %v, want %v and one read later", read.Started, read.Completed, begin)
		}
		if o := read.Table[0].Heartbeat.Origin; o.Boot != begin-300*time.Millisecond {
			t.Errorf("the slot says that it was submitted at %v", o.Boot)
		}
		// A reading that is asked for while one is under way begins after that.
		a.ReadTable()
		time.Sleep(time.Millisecond)
		asked := w.now()
		a.ReadTable()
		time.Sleep(10 * time.Second)
		if e := last[storagehb.TableRead](a); e.Started < asked {
			t.Errorf("asked for at %v, the reading began at %v", asked, e.Started)
		}
		a.end()
	})
}

// A volume that hangs is degraded past the deadline, takes submissions without
// waiting, overtakes nothing and writes the newest alone when it goes on.
func TestHang(t *testing.T) {
	inBubble(t, func(w *world) {
		a := w.host(0)
		a.submit(beat(1))
		a.path.Hang()
		begin := w.now()
		for seq := range uint64(10) {
			a.submit(beat(2 + seq))
			a.submit(claim(1, 1+seq))
			a.ReadTable()
			time.Sleep(time.Second)
		}
		if w.now() != begin+10*time.Second {
			t.Errorf("leaving word took until %v", w.now())
		}
		a.wantState(storagehb.Degraded)
		if c := last[storagehb.Changed](a); c.Since != begin+deadline {
			t.Errorf("degraded at %v, want %v", c.Since, begin+deadline)
		}
		a.wantWrites(format.KindHeartbeat, "3.2.1")
		a.path.Release()
		time.Sleep(time.Second)
		a.wantWrites(format.KindHeartbeat, "3.2.1", "3.2.2", "3.2.11")
		a.wantWrites(format.KindClaim, "1.0.10")
		a.wantState(storagehb.Working)
		for _, e := range all[storagehb.Written](a) {
			if e.Stamp.Seq == 2 && (e.Submitted != begin || e.Completed != begin+10*time.Second) {
				t.Errorf("what hung was submitted at %v and completed at %v", e.Submitted, e.Completed)
			}
		}
		a.end()
	})
}

// Run ends though an I/O does not, and nothing is reported after that.
func TestRunEndsThoughAnIOHangs(t *testing.T) {
	for _, what := range []string{"write", "read", "open"} {
		t.Run(what, func(t *testing.T) {
			inBubble(t, func(w *world) {
				var a *host
				if what == "open" {
					a = w.host(0, func(c *storagehb.Config) {
						path := w.disk.Path(0)
						path.Hang()
						w.Cleanup(path.Release)
						c.Open = path.Open
					})
				} else {
					a = w.host(0)
					a.path.Hang()
				}
				a.ReadTable()
				if what == "write" {
					a.submit(beat(1))
				}
				time.Sleep(5 * time.Second)
				a.wantState(storagehb.Degraded)
				a.stop()
				at := w.now()
				if err := <-a.done; !errors.Is(err, storagehb.ErrAbandoned) || w.now() != at+grace {
					t.Errorf("it ended after %v with %v, want %v after %v", w.now()-at, err, storagehb.ErrAbandoned, grace)
				}
				n := len(a.events)
				a.path.Release()
				time.Sleep(time.Minute)
				if len(a.events) != n {
					t.Errorf("after its end it reported %+v", a.events[n:])
				}
			})
		})
	}
}

// While another process of the host has the volume, it counts as one that does not
// answer, with the reason; it is used at the first occasion after that.
func TestHeldByAnotherProcess(t *testing.T) {
	inBubble(t, func(w *world) {
		held := fmt.Errorf("process 7 %w", storagehb.ErrHeld)
		a := w.host(0, func(c *storagehb.Config) {
			open := c.Open
			c.Open = func() (storagehb.File, error) {
				if held != nil {
					return nil, held
				}
				return open()
			}
		})
		a.wantState(storagehb.Degraded)
		if e := last[storagehb.Changed](a); !errors.Is(e.Err, storagehb.ErrHeld) {
			t.Errorf("it is degraded for %v, want the process that has it", e.Err)
		}
		a.submit(beat(1))
		if e := last[storagehb.Written](a); !errors.Is(e.Err, storagehb.ErrHeld) {
			t.Errorf("the write ended with %v", e.Err)
		}
		held = nil
		a.path.Hang()
		a.submit(beat(2))
		time.Sleep(deadline + time.Second)
		if e := last[storagehb.Changed](a); e.State != storagehb.Degraded || e.Err != nil {
			t.Errorf("the storage hangs, and it is %v for %v: nobody has it any more", e.State, e.Err)
		}
		a.path.Release()
		synctest.Wait()
		a.wantState(storagehb.Working)
		a.wantWrites(format.KindHeartbeat, "3.2.1!", "3.2.2")
		a.end()
	})
}

// What is left behind ends the I/O that was under way and begins no other: the next
// life of the host may have begun to write.
func TestWhatIsLeftBehindBeginsNothing(t *testing.T) {
	inBubble(t, func(w *world) {
		a := w.host(0)
		a.submit(beat(1))
		a.path.SetError(hbtest.ErrIO)
		a.submit(beat(2))
		a.path.Heal()
		a.path.SetDelay(3 * time.Second)
		a.submit(beat(3)) // opens, and reads what is there, before it writes
		time.Sleep(4 * time.Second)
		a.stop()
		if err := <-a.done; !errors.Is(err, storagehb.ErrAbandoned) {
			t.Errorf("it ended with %v", err)
		}
		_, reads, writes := a.path.Counts()
		time.Sleep(time.Minute)
		if _, r, now := a.path.Counts(); r != reads || now != writes {
			t.Errorf("it began %d reads and %d writes after its end", r-reads, now-writes)
		}
	})
}

// On a volume on which every I/O takes longer than the interval, everything has its turn.
func TestNothingStarves(t *testing.T) {
	inBubble(t, func(w *world) {
		a := w.host(0)
		a.path.SetDelay(700 * time.Millisecond)
		for seq := range uint64(600) {
			for _, v := range []format.Value{beat(1 + seq), claim(1, 1+seq), format.Acks{Epoch: 1, Seq: 1 + seq}, format.VMTable{Incarnation: 1, Seq: 1 + seq}} {
				if err := a.Submit(v); err != nil {
					t.Fatal(err)
				}
			}
			a.ReadTable()
			if err := a.ReadVMs(int(seq % slots)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		// A round is four writes and two readings: 4.2 seconds.
		for _, k := range []format.Kind{format.KindHeartbeat, format.KindClaim, format.KindAcks, format.KindVMTable} {
			if n := len(a.writes(k)); n < 13 {
				t.Errorf("%v was written %d times in a minute", k, n)
			}
		}
		if tables, vms := len(all[storagehb.TableRead](a)), len(all[storagehb.VMsRead](a)); tables < 13 || vms < 13 {
			t.Errorf("the table was read %d times in a minute, a VM table %d times", tables, vms)
		}
		a.path.SetDelay(0)
		time.Sleep(time.Minute)
		a.end()
	})
}

// A write that fails is reported, not repeated; what the device holds is looked at again.
func TestWriteFails(t *testing.T) {
	half := 300
	none := 0
	tests := []struct {
		name  string
		fault hbtest.Fault
		sees  uint64 // after the failed write of 12
	}{
		{name: "nothing landed", fault: hbtest.Fault{Keep: &none, Err: hbtest.ErrIO}, sees: 11},
		{name: "it landed all the same", fault: hbtest.Fault{Err: hbtest.ErrIO}, sees: 12},
		{name: "torn", fault: hbtest.Fault{Keep: &half, Err: hbtest.ErrIO}, sees: 11},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				a, b := w.host(0), w.host(1)
				a.submit(beat(10))
				a.submit(beat(11))
				a.path.Next(tt.fault)
				a.submit(beat(12))
				a.wantState(storagehb.Failing)
				if e := last[storagehb.Written](a); !errors.Is(e.Err, hbtest.ErrIO) {
					t.Errorf("the write ended with %v", e.Err)
				}
				if s := b.table().Table[0].Heartbeat; !s.OK || s.Value.Seq != tt.sees {
					t.Errorf("another host sees %v (%v), want seq %d", s.Value.Seq, s.Errs, tt.sees)
				}
				if err := a.Submit(beat(12)); !errors.Is(err, storagehb.ErrWentBack) {
					t.Errorf("the same again: %v", err)
				}
				a.submit(beat(13))
				a.wantWrites(format.KindHeartbeat, "3.2.10", "3.2.11", "3.2.12!", "3.2.13")
				a.wantState(storagehb.Working)
				if s := b.table().Table[0].Heartbeat; s.Value.Seq != 13 || s.Problem() != nil {
					t.Errorf("another host sees %v (%v), want seq 13", s.Value.Seq, s.Errs)
				}
				if opens, _, _ := a.path.Counts(); opens != 2 {
					t.Errorf("the device was opened %d times, want a second time after the error", opens)
				}
				a.end()
				b.end()
			})
		})
	}
}

// A path that fails is tried with each submission, and works again when it does.
func TestPathComesBack(t *testing.T) {
	inBubble(t, func(w *world) {
		a := w.host(0)
		a.submit(beat(1))
		a.path.SetError(hbtest.ErrIO)
		for seq := range uint64(5) {
			a.submit(beat(2 + seq))
		}
		if read := a.table(); !errors.Is(read.Err, hbtest.ErrIO) || read.Table != nil {
			t.Errorf("a table was read: %v", read.Err)
		}
		a.wantState(storagehb.Failing)
		a.path.SetError(nil)
		a.submit(beat(7))
		a.wantWrites(format.KindHeartbeat, "3.2.1", "3.2.2!", "3.2.3!", "3.2.4!", "3.2.5!", "3.2.6!", "3.2.7")
		a.wantState(storagehb.Working)
		a.end()
	})
}

func TestSubmitRefuses(t *testing.T) {
	inBubble(t, func(w *world) {
		a := w.host(0)
		for _, v := range []format.Value{
			format.Super{Slots: 1, LogicalSector: 512},
			format.VMTable{VMs: make([]format.VM, format.MaxVMs+1)},
			claim(1, 1, format.Listing{Slot: 256, Incarnation: 1, Standing: format.Suspect}),
		} {
			if err := a.Submit(v); err == nil {
				t.Errorf("%v was taken", v.Kind())
			}
		}
		if a.ReadVMs(-1) == nil || a.ReadVMs(format.MaxSlots) == nil {
			t.Error("a VM table of no slot is to be read")
		}
		if err := a.ReadVMs(slots); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if e := last[storagehb.VMsRead](a); e.Err == nil {
			t.Error("a VM table beyond the volume's slots was read")
		}
		a.wantState(storagehb.Working)
		a.end()
	})
	if _, err := storagehb.New(storagehb.Config{}); err == nil {
		t.Error("a volume without anything was made")
	}
}
