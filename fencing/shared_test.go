package fencing_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/fencing"
)

// listed is the memory of an incarnation 1 whose lease ends at 500, and what its guard ended.
func listed(t *testing.T) (*fencing.Shared, *[]int) {
	t.Helper()
	s, _ := openShared(t)
	var ended []int
	fencing.SetEnd(s, func(pid int, _ uint64) bool {
		ended = append(ended, pid)
		return true
	})
	if err := s.Begin(1, 500); err != nil {
		t.Fatal(err)
	}
	return s, &ended
}

func uuidOf(n int) string { return fmt.Sprintf("10000000-0000-4000-8000-%012x", n) }

func TestShared(t *testing.T) {
	must := func(t *testing.T, errs ...error) {
		t.Helper()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name string
		do   func(t *testing.T, s *fencing.Shared)
		now  time.Duration // of a look afterwards
		want []int         // processes that it ends
	}{
		{"before the deadline nothing is ended", func(t *testing.T, s *fencing.Shared) { must(t, s.Cover(uuidOf(1), 11, 7)) }, 499, nil},
		{"at the deadline what is covered is ended", func(t *testing.T, s *fencing.Shared) {
			must(t, s.Cover(uuidOf(1), 11, 7), s.Cover(uuidOf(2), 12, 7))
		}, 500, []int{11, 12}},
		{"an extension holds", func(t *testing.T, s *fencing.Shared) { must(t, s.Cover(uuidOf(1), 11, 7), s.Extend(1, 600)) }, 599, nil},
		{"an old extension does not shorten", func(t *testing.T, s *fencing.Shared) {
			must(t, s.Cover(uuidOf(1), 11, 7), s.Extend(1, 600), s.Extend(1, 550))
		}, 599, nil},
		{"another incarnation extends nothing", func(t *testing.T, s *fencing.Shared) {
			must(t, s.Cover(uuidOf(1), 11, 7))
			for _, i := range []uint64{0, 2} {
				if err := s.Extend(i, 600); !errors.Is(err, fencing.ErrExpired) {
					t.Errorf("extend incarnation %d: %v, want %v", i, err, fencing.ErrExpired)
				}
			}
		}, 500, []int{11}},
		{"a lease that ended is not had back", func(t *testing.T, s *fencing.Shared) {
			fencing.Look(s, 500)
			if err := s.Extend(1, 600); !errors.Is(err, fencing.ErrExpired) {
				t.Errorf("extend: %v, want %v", err, fencing.ErrExpired)
			}
			if err := s.Cover(uuidOf(1), 11, 7); !errors.Is(err, fencing.ErrExpired) {
				t.Errorf("cover: %v, want %v", err, fencing.ErrExpired)
			}
		}, 501, []int{11}},
		{"what was uncovered is left alone", func(t *testing.T, s *fencing.Shared) {
			must(t, s.Cover(uuidOf(1), 11, 7), s.Cover(uuidOf(2), 12, 7))
			s.Uncover(uuidOf(1))
			s.Uncover(uuidOf(3))
		}, 500, []int{12}},
		{"the newest process of a VM counts", func(t *testing.T, s *fencing.Shared) {
			must(t, s.Cover(uuidOf(1), 11, 7), s.Cover(uuidOf(1), 13, 8), s.Cover(uuidOf(1), 13, 8))
			if got := s.Covered(); !slices.Equal(got, []string{uuidOf(1)}) {
				t.Errorf("covers %v, want one VM", got)
			}
		}, 500, []int{13}},
		{"the next incarnation begins with nothing", func(t *testing.T, s *fencing.Shared) {
			must(t, s.Cover(uuidOf(1), 11, 7))
			must(t, s.Begin(2, 700))
			if st := s.Status(); st.Covered != 0 || st.Incarnation != 2 || st.Deadline != 700 || st.Tripped != 0 {
				t.Errorf("status %+v, want incarnation 2 until 700, nothing covered", st)
			}
		}, 699, nil},
		{"an incarnation begins once", func(t *testing.T, s *fencing.Shared) {
			must(t, s.Begin(5, 700), s.Cover(uuidOf(1), 11, 7))
			for _, i := range []uint64{1, 4, 5} {
				if err := s.Begin(i, 9000); err == nil {
					t.Errorf("incarnation %d began after 5", i)
				}
			}
		}, 700, []int{11}},
		{"what is no VM or no process is refused", func(t *testing.T, s *fencing.Shared) {
			for _, err := range []error{s.Cover("web", 11, 7), s.Cover("", 11, 7), s.Cover(uuidOf(1), 0, 7), s.Cover(uuidOf(1), 1, 7), s.Cover(uuidOf(1), 11, 0)} {
				if err == nil {
					t.Error("covered")
				}
			}
		}, 500, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, ended := listed(t)
			tt.do(t, s)
			fencing.Look(s, tt.now)
			slices.Sort(*ended)
			if !slices.Equal(*ended, tt.want) {
				t.Errorf("at %d ended %v, want %v", tt.now, *ended, tt.want)
			}
			if st := s.Status(); (st.Tripped != 0) != (tt.now >= st.Deadline) {
				t.Errorf("at %d the status is %+v", tt.now, st)
			}
		})
	}
}

func TestWhatIsNotGoneIsEndedAgain(t *testing.T) {
	s, _ := listed(t)
	tries := 0
	fencing.SetEnd(s, func(int, uint64) bool {
		tries++
		return tries == 3
	})
	if err := s.Cover(uuidOf(1), 11, 7); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		fencing.Look(s, 500+time.Duration(i))
		want := 1
		if i >= 2 {
			want = 0
		}
		if st := s.Status(); st.Leftover != want || st.Covered != want {
			t.Errorf("after look %d: %d left over, %d covered; want %d", i+1, st.Leftover, st.Covered, want)
		}
	}
	if tries != 3 {
		t.Errorf("tried %d times, want until it was gone, the third time", tries)
	}
}

func TestSharedIsFull(t *testing.T) {
	s, _ := listed(t)
	for i := range fencing.MaxCovered {
		if err := s.Cover(uuidOf(i), 100+i, 7); err != nil {
			t.Fatalf("VM %d: %v", i, err)
		}
	}
	if err := s.Cover(uuidOf(fencing.MaxCovered), 99, 7); err == nil || !strings.Contains(err.Error(), "1024") {
		t.Errorf("one more: %v, want it refused with the number", err)
	}
	if err := s.Cover(uuidOf(3), 9999, 8); err != nil {
		t.Errorf("another process of one that is covered: %v", err)
	}
	s.Uncover(uuidOf(5))
	if err := s.Cover(uuidOf(fencing.MaxCovered), 99, 7); err != nil {
		t.Errorf("after one was taken out: %v", err)
	}
}

// The memory outlives those who map it; what another program wrote is not touched.
func TestTheMemoryIsTheFile(t *testing.T) {
	s, path := openShared(t)
	if err := errors.Join(s.Begin(3, 500), s.Cover(uuidOf(1), 11, 7)); err != nil {
		t.Fatal(err)
	}
	other, err := fencing.OpenShared(path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close() // a test's
	if st := other.Status(); st.Incarnation != 3 || st.Deadline != 500 || st.Covered != 1 {
		t.Errorf("another mapping says %+v", st)
	}
	foreign := filepath.Join(t.TempDir(), "guard")
	if err := os.WriteFile(foreign, []byte("something else"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := fencing.OpenShared(foreign); err == nil {
		t.Error("a file of another program was taken for the guard's memory")
	}
}

// twice maps one file two times, as agent and guard do. What the second mapping
// ends is counted by process number.
func twice(t *testing.T) (agent, guard *fencing.Shared, ended func(pid int) bool) {
	t.Helper()
	agent, path := openShared(t)
	guard, err := fencing.OpenShared(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = guard.Close() })
	var mu sync.Mutex
	pids := map[int]bool{}
	fencing.SetEnd(guard, func(pid int, _ uint64) bool {
		mu.Lock()
		defer mu.Unlock()
		pids[pid] = true
		return true
	})
	return agent, guard, func(pid int) bool {
		mu.Lock()
		defer mu.Unlock()
		return pids[pid]
	}
}

// A VM is covered at the very moment at which the guard acts: either the guard
// ends it or the agent is told that it came too late. Never neither.
func TestCoverWhileTheGuardActs(t *testing.T) {
	agent, guard, ended := twice(t)
	var turns atomic.Int64
	for i := range 2000 {
		if err := agent.Begin(uint64(i+1), 500); err != nil {
			t.Fatal(err)
		}
		var err error
		var wg sync.WaitGroup
		spin := rand.IntN(2000)
		wg.Add(2)
		go func() {
			defer wg.Done()
			for range spin {
				turns.Add(1)
			}
			err = agent.Cover(uuidOf(i%100), 1000+i, 7)
		}()
		go func() {
			defer wg.Done()
			fencing.Look(guard, 500)
		}()
		wg.Wait()
		switch {
		case errors.Is(err, fencing.ErrExpired):
		case err != nil:
			t.Fatal(err)
		case !ended(1000 + i):
			t.Fatalf("round %d: covered without an error, and the guard's pass did not see it", i)
		}
	}
}

// A guard that was held up in the middle of its pass, while the last VM ended and
// the next incarnation began, leaves alone what is covered by then.
func TestBeginDuringAPass(t *testing.T) {
	s, ended := listed(t)
	for i := range 3 {
		if err := s.Cover(uuidOf(i), 11+i, 7); err != nil {
			t.Fatal(err)
		}
	}
	fencing.SetEnd(s, func(pid int, _ uint64) bool {
		*ended = append(*ended, pid)
		if pid == 11 {
			if err := errors.Join(s.Begin(2, 2000), s.Cover(uuidOf(7), 21, 7), s.Cover(uuidOf(8), 22, 7), s.Cover(uuidOf(9), 23, 7)); err != nil {
				t.Error(err)
			}
		}
		return true
	})
	fencing.Look(s, 500)
	if want := []int{11}; !slices.Equal(*ended, want) {
		t.Errorf("ended %v, want %v and nothing of the next incarnation", *ended, want)
	}
	if st := s.Status(); st.Tripped != 0 || st.Covered != 3 {
		t.Errorf("status %+v, want the next incarnation's three VMs covered and its lease held", st)
	}
}

// agent is the part of an agent: it starts a guard, covers a process and extends
// the lease, until it is killed or stopped.
func agent(path, pid, start string) {
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	s, err := fencing.OpenShared(path)
	fail(err)
	cmd := exec.Command(os.Args[0], path)
	cmd.Env = append(os.Environ(), role+"=guard")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	fail(cmd.Start())
	n, err := strconv.Atoi(pid)
	fail(err)
	st, err := strconv.ParseUint(start, 10, 64)
	fail(err)
	fail(s.Begin(1, fencing.BootClock()+time.Second))
	fail(s.Cover(uuidOf(1), n, st))
	for {
		fail(s.Extend(1, fencing.BootClock()+time.Second))
		time.Sleep(50 * time.Millisecond)
	}
}

// The guard acts whatever becomes of the agent that started it, and of a guard
// that waits in line.
func TestTheGuardActsWithoutItsAgent(t *testing.T) {
	for _, tt := range []struct {
		name string
		to   func(t *testing.T, agent *os.Process)
	}{
		{"the agent is killed", func(t *testing.T, a *os.Process) {
			if err := a.Kill(); err != nil {
				t.Fatal(err)
			}
		}},
		{"the agent is stopped", func(t *testing.T, a *os.Process) {
			if err := a.Signal(syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, path := openShared(t)
			pid, start, gone := sleeper(t)
			a := play(t, "agent", path, strconv.Itoa(pid), strconv.FormatUint(start, 10))
			eventually(t, "the process is covered by a guard that is alive", func() bool {
				st := s.Status()
				return st.Covered == 1 && s.GuardAlive(fencing.BootClock())
			})
			guard := s.Status().GuardPID
			t.Cleanup(func() { _ = syscall.Kill(guard, syscall.SIGKILL) })
			second := play(t, "guard", path)
			eventually(t, "the lease has been extended beyond its first second", func() bool { return s.Status().Deadline > 0 && extended(s) })
			if gone() || s.Status().Tripped != 0 {
				t.Fatal("the process was ended though its lease was extended")
			}
			tt.to(t, a.Process)
			end := s.Status().Deadline
			eventually(t, "the process is gone", gone)
			if now := fencing.BootClock(); now < end {
				t.Errorf("gone %v before the end of the lease", end-now)
			}
			if st := s.Status(); st.GuardPID != guard || st.GuardPID == second.Process.Pid {
				t.Errorf("the guard that acted is process %d, want %d", st.GuardPID, guard)
			}
		})
	}
}

// extended reports whether the lease lasts longer than when it was first seen.
func extended(s *fencing.Shared) bool {
	first := s.Status().Deadline
	time.Sleep(60 * time.Millisecond)
	return s.Status().Deadline > first && s.Status().Deadline > fencing.BootClock()
}

// A VM that runs and is put on the list stays there, also when the watchdog is not
// armed: the guard is then all that ends it.
func TestAnUnarmedWatchdogUncoversNothing(t *testing.T) {
	for _, state := range []fencing.DogState{fencing.DogFailed, fencing.DogClosed, fencing.DogIdle} {
		t.Run(state.String(), func(t *testing.T) {
			s, ended := listed(t)
			if err := s.Cover(uuidOf(1), 11, 7); err != nil {
				t.Fatal(err)
			}
			fencing.SetDogState(s, state)
			for i := range 2 { // one that was listed before, and one that was not
				if err := s.Cover(uuidOf(1+i), 11+i, 7); !errors.Is(err, fencing.ErrUnarmed) {
					t.Errorf("covering process %d: %v, want %v", 11+i, err, fencing.ErrUnarmed)
				}
			}
			fencing.Look(s, 500)
			if slices.Sort(*ended); !slices.Equal(*ended, []int{11, 12}) {
				t.Errorf("at the deadline ended %v, want both", *ended)
			}
		})
	}
}
