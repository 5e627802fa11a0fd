package fencing_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-ha/holdfast/fencing"
	"github.com/holdfast-ha/holdfast/fencing/watchdogtest"
)

// A keeper turn by turn: what was done to the device and how things stand then.
func TestKeeper(t *testing.T) {
	const s = time.Second
	covered := func(now, end time.Duration) fencing.Turn {
		return fencing.Turn{Now: now, Deadline: end, Covered: true}
	}
	idle := func(now time.Duration) fencing.Turn { return fencing.Turn{Now: now} }
	for _, tt := range []struct {
		name  string
		chip  func(*watchdogtest.Chip)
		turns []fencing.Turn
		did   string
		state fencing.DogState
	}{
		{"an idle host's device is tried and stopped", nil, []fencing.Turn{idle(s), idle(2 * s), idle(3 * s)}, "arm release", fencing.DogIdle},
		{"armed for the first VM, petted each turn", nil, []fencing.Turn{idle(s), covered(2*s, 9*s), covered(3*s, 9*s), covered(4*s, 9*s)}, "arm release arm pet pet", fencing.DogArmed},
		{"stopped when the last VM is gone", nil, []fencing.Turn{covered(2*s, 9*s), covered(3*s, 9*s), idle(4 * s)}, "arm pet release", fencing.DogIdle},
		{"closed at the last turn, then left alone", nil, []fencing.Turn{covered(2*s, 4*s), covered(3850*time.Millisecond, 4*s), covered(3900*time.Millisecond, 4*s), covered(5*s, 4*s)}, "arm close", fencing.DogClosed},
		{"past the last turn neither petted nor closed", nil, []fencing.Turn{covered(2*s, 4*s), covered(3950*time.Millisecond, 4*s), covered(4*s, 4*s), covered(5*s, 0)}, "arm", fencing.DogArmed},
		{"armed again when the lease was renewed after all", nil, []fencing.Turn{covered(2*s, 4*s), covered(3850*time.Millisecond, 4*s), covered(3900*time.Millisecond, 6*s), covered(4*s, 6*s)}, "arm close arm pet", fencing.DogArmed},
		{"stopped once all are gone after the end", nil, []fencing.Turn{covered(2*s, 4*s), covered(3850*time.Millisecond, 4*s), covered(4050*time.Millisecond, 0), idle(4100 * time.Millisecond), idle(9 * s)}, "arm close arm release", fencing.DogIdle},
		{"not armed on the last turn", nil, []fencing.Turn{idle(s), covered(3850*time.Millisecond, 4*s)}, "arm release", fencing.DogIdle},
		{"not armed without a lease", nil, []fencing.Turn{idle(s), covered(2*s, 0)}, "arm release", fencing.DogIdle},
		{"one that stops with its holder is never closed", func(c *watchdogtest.Chip) { c.Fragile = true },
			[]fencing.Turn{covered(2*s, 4*s), covered(3850*time.Millisecond, 4*s), covered(3920*time.Millisecond, 4*s)}, "arm pet", fencing.DogArmed},
		{"one that cannot be stopped is petted on an idle host", func(c *watchdogtest.Chip) { c.NoWayOut = true },
			[]fencing.Turn{idle(s), idle(2 * s)}, "arm release pet release pet", fencing.DogArmed},
		{"one that refuses is tried again after a while", func(c *watchdogtest.Chip) { c.Refuse = unix.EBUSY },
			[]fencing.Turn{covered(2*s, 9*s), covered(2100*time.Millisecond, 9*s), covered(3*s, 9*s)}, "arm arm", fencing.DogFailed},
		{"one that is lost bounds nothing from the first pet that fails", func(c *watchdogtest.Chip) { lose(c, "pet", (*watchdogtest.Chip).Lose) },
			[]fencing.Turn{covered(2*s, 9*s), covered(3*s, 9*s)}, "arm pet", fencing.DogFailed},
		{"one that ignores a pet bounds nothing", func(c *watchdogtest.Chip) { lose(c, "pet", (*watchdogtest.Chip).Ignore) },
			[]fencing.Turn{covered(2*s, 9*s), covered(3*s, 9*s), covered(4*s, 9*s), covered(4100*time.Millisecond, 9*s)}, "arm pet arm", fencing.DogFailed},
		{"one that ignored a single pet is taken hold of at the next turn", func(c *watchdogtest.Chip) {
			lose(c, "pet", func(c *watchdogtest.Chip) {
				c.Ignore()
				lose(c, "arm", (*watchdogtest.Chip).Mend)
			})
		}, []fencing.Turn{covered(2*s, 9*s), covered(3*s, 9*s), covered(3050*time.Millisecond, 9*s)}, "arm pet arm", fencing.DogArmed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			now := time.Duration(0)
			var did []string
			chip := watchdogtest.New(time.Minute, func() time.Duration { return now })
			if tt.chip != nil {
				tt.chip(chip)
			}
			befall := chip.Before
			chip.Before = func(what string) {
				did = append(did, what)
				if befall != nil {
					befall(what)
				}
			}
			k := fencing.NewKeeper(chip, func() time.Duration { return now })
			for _, turn := range tt.turns {
				now = turn.Now
				k.Turn(turn)
			}
			state, err := k.State()
			if got := strings.Join(did, " "); got != tt.did || state != tt.state {
				t.Errorf("did %q and is %v (%v), want %q and %v", got, state, err, tt.did, tt.state)
			}
		})
	}
}

// lose has something befall the chip before the first order of that kind reaches it.
func lose(c *watchdogtest.Chip, order string, befalls func(*watchdogtest.Chip)) {
	before, done := c.Before, false
	c.Before = func(what string) {
		if before != nil {
			before(what)
		}
		if what == order && !done {
			done = true
			befalls(c)
		}
	}
}

// The chip keeps time in a bubble.
func TestChipInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		chip := watchdogtest.New(2*time.Second, func() time.Duration { return time.Since(began) })
		if err := chip.Arm(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		chip.HolderDies() // the kernel pets
		if at, ok := chip.FiresAt(); !ok || at != 3*time.Second {
			t.Errorf("fires at %v (%v), want 3s", at, ok)
		}
		time.Sleep(2 * time.Second)
		if err := chip.Arm(); !errors.Is(err, watchdogtest.ErrFired) {
			t.Errorf("arm after it fired: %v", err)
		}
		chip.Reboot()
		if _, ok := chip.FiresAt(); ok {
			t.Error("it runs after power-on")
		}
	})
}

func TestDeviceIsRefusedForWhatItIs(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, path string
		timeout    time.Duration
		says       string
	}{
		{"no such file", file + "x", 3 * time.Second, "no such file"},
		{"a file", file, 3 * time.Second, "not a character device"},
		{"half a second", "/dev/null", 500 * time.Millisecond, "whole seconds"},
		{"a second and a half", "/dev/null", 1500 * time.Millisecond, "whole seconds"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, err := fencing.OpenDevice(tt.path, tt.timeout)
			if err == nil {
				err = d.Arm()
			}
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("said %v, want %q", err, tt.says)
			}
		})
	}
	d, err := fencing.OpenDevice("/dev/null", 3*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Arm(); !errors.Is(err, unix.ENOTTY) || d.FD() != -1 {
		t.Errorf("arming what is no watchdog: %v, descriptor %d; want ENOTTY and none open", err, d.FD())
	}
}

func TestReasonForAReset(t *testing.T) {
	const s = time.Second
	armed := fencing.WatchdogStatus{State: fencing.DogArmed, Timeout: 3 * s, Petted: 10 * s}
	closed := fencing.WatchdogStatus{State: fencing.DogClosed, Timeout: 3 * s, Petted: 10 * s}
	for _, tt := range []struct {
		name string
		st   fencing.Status
		now  time.Duration
		says string
	}{
		{"all is well", fencing.Status{Beat: 10 * s, Covered: 1, Watchdog: armed}, 10 * s, ""},
		{"no watchdog", fencing.Status{Beat: s, Covered: 1}, 10 * s, ""},
		{"nothing covered", fencing.Status{Beat: s, Watchdog: armed}, 10 * s, ""},
		{"silent", fencing.Status{Beat: 10 * s, Covered: 1, Watchdog: armed}, 11 * s, "silent for 1s"},
		{"gone", fencing.Status{Covered: 1, Watchdog: armed}, 11 * s, "the guard ended"},
		{"a VM stays", fencing.Status{Beat: 10 * s, Covered: 1, Leftover: 1, Tripped: 10 * s, Watchdog: closed}, 10 * s, "1 VM(s) could not be proven gone"},
		{"the lease ended a moment ago", fencing.Status{Beat: 10 * s, Covered: 1, Tripped: 10 * s, Watchdog: closed}, 10 * s, ""},
		{"not petted", fencing.Status{Beat: 12 * s, Covered: 1, Watchdog: armed}, 12 * s, "not been petted for 2s"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if why := tt.st.Reason(tt.now); tt.says == "" && why != "" || !strings.Contains(why, tt.says) {
				t.Errorf("said %q, want %q", why, tt.says)
			}
		})
	}
}

func TestQualification(t *testing.T) {
	for _, tt := range []struct{ name, file, says string }{
		{"good", `{"boot_id":"a","driver":"x","asked":3000000000,"alive":2990000000,"grain":30000000,"refused":""}`, ""},
		{"twice as long", `{"boot_id":"a","driver":"x","asked":3000000000,"alive":5990000000}`, "took more than 5.99s for a timeout of 3s"},
		{"of this boot", `{"boot_id":"b","driver":"x","asked":3000000000,"alive":2990000000}`, "not reset since"},
		{"refused", `{"boot_id":"a","refused":"it did not reset"}`, "it did not reset"},
		{"no JSON", `{`, "read the measurement"},
		{"none", "", "never measured"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "q")
			if tt.file != "" {
				if err := os.WriteFile(file, []byte(tt.file), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			q, err := fencing.Qualified(file, "b")
			if tt.says == "" {
				if err != nil || q.Alive != 2990*time.Millisecond {
					t.Errorf("%+v, %v", q, err)
				}
			} else if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("said %v, want %q", err, tt.says)
			}
		})
	}
}
