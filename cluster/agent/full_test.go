package agent

import (
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// fullLog is a log on a disk that may be full.
type fullLog struct {
	raft.LogStore
	full atomic.Bool
}

func (l *fullLog) StoreLogs(all []*raft.Log) error {
	if l.full.Load() {
		return syscall.ENOSPC
	}
	return l.LogStore.StoreLogs(all)
}

func (l *fullLog) StoreLog(one *raft.Log) error { return l.StoreLogs([]*raft.Log{one}) }

// A host that can write nothing any more is heard all the same: its VMs have no fault in it.
func TestHostWithAFullDiskKeepsItsLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		kvm2 := s.hosts["kvm2"]
		kvm2.halt()
		log := &fullLog{LogStore: kvm2.store.stores.Log}
		kvm2.store.stores.Log = log
		kvm2.start()
		s.wait("kvm2 has its lease again", func() bool { return s.live("kvm2") && kvm2.agent.Self().LeaseLeft > 0 })
		life := kvm2.agent.Self().Incarnation
		log.full.Store(true)
		for range 60 {
			if _, _, err := s.hosts["kvm1"].agent.CreateToken(t.Context(), "", time.Hour, "ann"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			if self := kvm2.agent.Self(); self.LeaseLeft <= 0 || self.Incarnation != life || self.IsMaster {
				t.Fatalf("kvm2: %+v", self)
			}
			if now := s.state().Hosts["kvm2"]; now.Incarnation != life || now.Verdict != "live" {
				t.Fatalf("the master has it that kvm2 is %s, in incarnation %d", now.Verdict, now.Incarnation)
			}
		}
		if problems := strings.Join(kvm2.agent.Self().Problems, "\n"); !strings.Contains(problems, "no space left on device") || !strings.Contains(problems, "keeps its lease") {
			t.Errorf("people are not told: %q", problems)
		}
		s.wait("everybody is told", func() bool { return len(s.events("host_disk_refuses")) > 0 })
		seen, err := s.hosts["kvm1"].agent.Observations()
		if o := seen["kvm2"]; err != nil || !strings.Contains(o.DiskError, "no space left on device") || o.DiskRefuses < 50*time.Second {
			t.Errorf("the master has it that kvm2's disk refuses what is written for %v: %q, %v; want more than 50s", o.DiskRefuses, o.DiskError, err)
		}
		if told := s.events("host_disk_refuses"); len(told) != 1 || !strings.Contains(told[0], "kvm2 cannot write to its own disk") || !strings.Contains(told[0], "no space left on device") {
			t.Errorf("people are told %q", told)
		}
		log.full.Store(false)
		s.wait("the end is told", func() bool { return len(s.events("host_disk_works")) == 1 })
		s.wait("kvm2 has caught up", func() bool {
			return len(kvm2.agent.State().Tokens) == len(s.state().Tokens) && !strings.Contains(strings.Join(kvm2.agent.Self().Problems, "\n"), "cannot be written")
		})
	})
}
