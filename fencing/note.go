package fencing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Note is why a host was reset, or was about to be. It is on the disk before the
// watchdog fires, and found after the boot.
type Note struct {
	BootID      string        `json:"boot_id"` // of the boot that was about to end
	Wall        time.Time     `json:"time"`    // of writing, for people
	Boot        time.Duration `json:"boot"`    // boot clock at that moment, ns
	Incarnation uint64        `json:"incarnation"`
	SoftEnd     time.Duration `json:"soft_end"` // boot clock, ns
	Covered     []string      `json:"covered"`  // VMs that were not proven gone, by UUID
	Why         string        `json:"why"`
	// Averted: it did not come to a reset, because all of them were proven gone after all.
	Averted bool `json:"averted"`
}

// noteTick is how often a note's writer looks.
const noteTick = 2 * Tick

// Reason says why the watchdog is about to reset this host at now; "" when it is not.
func (s Status) Reason(now time.Duration) string {
	w := s.Watchdog
	silent := s.Beat != 0 && now-s.Beat > 10*Tick
	switch {
	case w.State != DogArmed && w.State != DogClosed || s.Covered == 0:
		return ""
	case s.Beat == 0:
		return "the guard ended while VMs were covered, and no other has taken its place"
	case silent:
		return fmt.Sprintf("the guard has been silent for %v while VMs were covered", (now - s.Beat).Round(10*time.Millisecond))
	case s.Tripped != 0 && s.Leftover > 0:
		return fmt.Sprintf("the lease ended and %d VM(s) could not be proven gone", s.Leftover)
	case w.Petted != 0 && now-w.Petted > w.Timeout/2:
		return fmt.Sprintf("the watchdog has not been petted for %v", (now - w.Petted).Round(10*time.Millisecond))
	}
	return ""
}

// WriteNotes watches the shared memory at path and keeps file saying why this
// host is about to be reset, until ctx ends. It runs in a process of its own: the
// guard's loop must never wait for a disk. tell is told the same, for the journal.
func WriteNotes(ctx context.Context, path, file, bootID string, tell func(string)) error {
	s, err := OpenShared(path)
	if err != nil {
		return err
	}
	defer s.Close() //nolint:errcheck // the process ends with it
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return fmt.Errorf("create the directory of the note: %w", err)
	}
	lock, err := os.OpenFile(file+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("open the lock of the note: %w", err)
	}
	defer lock.Close() // it guards no data
	tick := time.NewTicker(noteTick)
	defer tick.Stop()
	mine, due := false, false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if !mine { // one writer at a time; one that an earlier guard started may still be there
			if mine = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil; !mine {
				continue
			}
		}
		now := BootClock()
		st := s.Status()
		why := st.Reason(now)
		if (why != "") == due {
			continue
		}
		n := Note{
			BootID:      bootID,
			Wall:        time.Now(),
			Boot:        now,
			Incarnation: st.Incarnation,
			SoftEnd:     st.Deadline,
			Covered:     s.Covered(),
			Why:         why,
			Averted:     why == "",
		}
		if why == "" {
			if old, err := readNote(file); err == nil {
				n.Why = old.Why
			}
			tell("averted: every covered VM is gone, or the watchdog is petted again")
		} else {
			tell("the watchdog is about to reset this host: " + why)
		}
		if err := n.save(file); err != nil {
			tell(err.Error())
			continue // tried again at the next look
		}
		due = why != ""
	}
}

// save makes the note durable before it returns.
func (n Note) save(file string) error {
	b, err := json.MarshalIndent(n, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the note: %w", err)
	}
	dir, err := os.Open(filepath.Dir(file))
	if err != nil {
		return fmt.Errorf("open the directory of the note: %w", err)
	}
	defer dir.Close() // opened for syncing alone
	f, err := os.OpenFile(file+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write the note: %w", err)
	}
	_, err = f.Write(append(b, '\n'))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write the note: %w", err)
	}
	if err := errors.Join(os.Rename(file+".new", file), dir.Sync()); err != nil {
		return fmt.Errorf("put the note in place: %w", err)
	}
	return nil
}

func readNote(file string) (*Note, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the note: %w", err)
	}
	n := &Note{}
	if err := json.Unmarshal(b, n); err != nil {
		return nil, fmt.Errorf("read the note %s: %w", file, err)
	}
	return n, nil
}

// LastReset returns why this host was reset at the end of an earlier boot, nil
// when no note says so. bootID is the present boot's. The note stays until the
// next one.
func LastReset(file, bootID string) (*Note, error) {
	n, err := readNote(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if n.Averted || n.BootID == bootID {
		return nil, nil
	}
	return n, nil
}

// String tells the note to a person.
func (n Note) String() string {
	s := fmt.Sprintf("%s (incarnation %d, %s)", n.Why, n.Incarnation, n.Wall.UTC().Format(time.RFC3339))
	if len(n.Covered) > 0 {
		s += "; VMs: " + strings.Join(n.Covered, ", ")
	}
	return s
}
