package fencing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// Qualification is what Qualify measured.
type Qualification struct {
	BootID  string        `json:"boot_id"` // of the boot that the watchdog ended
	Driver  string        `json:"driver"`
	Asked   time.Duration `json:"asked"`   // timeout that the driver was asked for, and said it has set
	Alive   time.Duration `json:"alive"`   // the machine was still running so long after the last pet
	Grain   time.Duration `json:"grain"`   // longest between two such stamps: how exact Alive is
	Refused string        `json:"refused"` // why the device is no good; "" when it is
}

// qualifyStep is how often the measured machine says that it lives.
const qualifyStep = 20 * time.Millisecond

// Qualify measures what the device's timeout really is: it arms it, pets it no
// more, and writes to file, durably, that the machine is still there, until it is
// not. **It resets this machine.** It returns only when that has not happened after
// four timeouts, with the timer stopped, or when the device is refused before.
func Qualify(ctx context.Context, dog *Device, file, bootID string) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("open the file for the measurement: %w", err)
	}
	defer f.Close() // every write to it is synced
	q := Qualification{BootID: bootID, Asked: dog.Timeout()}
	stamp := func() error {
		b, err := json.Marshal(q)
		if err != nil {
			return fmt.Errorf("encode the measurement: %w", err)
		}
		// One length: a later stamp covers an earlier one wholly.
		if _, err := f.WriteAt([]byte(fmt.Sprintf("%-1000s\n", b)), 0); err != nil {
			return fmt.Errorf("write the measurement: %w", err)
		}
		if err := f.Sync(); err != nil {
			return fmt.Errorf("write the measurement: %w", err)
		}
		return nil
	}
	refuse := func(err error) error {
		q.Refused = err.Error()
		return errors.Join(err, stamp())
	}
	if err := dog.Arm(); err != nil {
		return refuse(err)
	}
	armed := BootClock()
	q.Driver = dog.Info().Identity
	tick := time.NewTicker(qualifyStep)
	defer tick.Stop()
	for {
		now := BootClock() - armed
		q.Grain, q.Alive = max(q.Grain, now-q.Alive), now
		if now > 4*dog.Timeout() {
			err := fmt.Errorf("the watchdog %s did not reset this machine within %v of its last pet", dog, now.Round(time.Millisecond))
			return errors.Join(refuse(err), dog.Release())
		}
		if err := stamp(); err != nil {
			return errors.Join(err, dog.Release())
		}
		select {
		case <-ctx.Done():
			return errors.Join(refuse(errors.New("the measurement was broken off")), dog.Release())
		case <-tick.C:
		}
	}
}

// Qualified reads the measurement after the reset; bootID is the present boot's.
// It returns an error that says what to do when there is none, when the machine
// was not reset, or when the reset came too late for the timeout that was asked for.
func Qualified(file, bootID string) (*Qualification, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("the watchdog of this host was never measured: run the qualification")
	}
	if err != nil {
		return nil, fmt.Errorf("read the measurement: %w", err)
	}
	q := &Qualification{}
	if err := json.Unmarshal(b, q); err != nil {
		return nil, fmt.Errorf("read the measurement %s: %w", file, err)
	}
	switch {
	case q.Refused != "":
		return q, errors.New(q.Refused)
	case q.BootID == bootID:
		return q, errors.New("the measurement is of this boot: the machine was not reset since")
	case q.Alive > q.Asked+q.Asked/20:
		return q, fmt.Errorf("the watchdog (%s) took more than %v for a timeout of %v: the policy counts with 5%% at most; set watchdog_timeout to the measured figure in whole seconds, or use another device",
			q.Driver, q.Alive.Round(time.Millisecond), q.Asked)
	}
	return q, nil
}
