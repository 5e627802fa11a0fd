package storagehb_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/storagehb"
	"github.com/holdfast-ha/holdfast/storagehb/format"
	"golang.org/x/sys/unix"
)

// BenchmarkInterval is what a host does each interval: write its heartbeat and read
// the table, here of 64 hosts, one of which is master. ms-cpu/op is the processor
// time of the whole process, which is idle otherwise.
func BenchmarkInterval(b *testing.B) {
	path := filepath.Join(folder(b), "hb")
	o := options()
	o.Slots = 64
	_, vol, err := storagehb.Init(b.Context(), path, o)
	if err != nil {
		b.Fatal(err)
	}
	fill(b, path, vol, o.Slots)
	began := time.Now()
	tables := make(chan storagehb.TableRead, 1)
	v, err := storagehb.New(storagehb.Config{
		Open: func() (storagehb.File, error) { return storagehb.Open(path) }, Cluster: cluster, Volume: vol, Host: id(0x50), Slot: 5,
		Timing: standard(), Deadline: time.Minute, Grace: time.Minute, Now: func() time.Duration { return time.Since(began) },
		Report: func(e storagehb.Event) {
			if r, ok := e.(storagehb.TableRead); ok {
				tables <- r
			}
		},
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(b.Context())
	done := make(chan error)
	go func() { done <- v.Run(ctx) }()
	v.ReadTable()
	<-tables
	before := processor(b)
	seq := uint64(10)
	for b.Loop() {
		seq++
		if err := v.Beat(format.Heartbeat{Incarnation: 3, Seq: seq, Name: "kvm-05"}); err != nil {
			b.Fatal(err)
		}
		if r := <-tables; r.Err != nil || len(r.Table) != o.Slots {
			b.Fatal(r.Err)
		}
	}
	b.ReportMetric(float64(processor(b)-before)/float64(time.Millisecond)/float64(b.N), "ms-cpu/op")
	stop()
	if err := <-done; err != nil {
		b.Error(err)
	}
}

// fill writes both copies of what a cluster in good health has in its slots.
func fill(b testing.TB, path string, vol format.UUID, slots int) {
	b.Helper()
	d, err := storagehb.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	buf, err := unix.Mmap(-1, 0, 1<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		b.Fatal(err)
	}
	defer unix.Munmap(buf)
	for slot := range slots {
		values := []format.Value{format.Heartbeat{Incarnation: 3, Name: "kvm-05", Reason: "the lease ended"}}
		if slot < 5 { // has been master
			acks := format.Acks{Epoch: 7}
			for s := range slots {
				acks.Heard = append(acks.Heard, format.Ack{Slot: s, Incarnation: 3, Seq: 9})
			}
			values = append(values, claim(7, 1, format.Listing{Slot: 9, Incarnation: 2, Standing: format.Evicted}), acks)
		}
		for _, v := range values {
			for copy := range 2 {
				p := buf[:v.Kind().Length()]
				o := format.Origin{Slot: uint16(slot), Copy: uint8(copy), Cluster: cluster, Volume: vol, Host: id(0x50)}
				if err := format.Encode(p, v, o); err != nil {
					b.Fatal(err)
				}
				if _, err := d.WriteAt(p, format.Layout{Slots: slots}.Offset(v.Kind(), slot, copy)); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
}

// processor is the time that this process has had on the processors, in user and kernel mode.
func processor(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
