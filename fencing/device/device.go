package device

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"sync"
	"time"

	"github.com/holdfast-ha/holdfast/config"
)

// retryPause is the time between two tries on one device.
const retryPause = time.Second

// errPreempted ends a check when the host is to be switched off.
var errPreempted = errors.New("the device is needed to switch its host off")

// Device is one fence device, which switches one host. It runs one agent process
// at a time. It is safe for concurrent use; switching off goes before a check.
type Device struct {
	name   string
	spec   spec
	runner *Runner
	slot   chan struct{} // held while a process of the agent is there

	mu       sync.Mutex              // guards what follows
	checking context.CancelCauseFunc // of the check under way; nil: none
	acting   int                     // switchings under way
	distrust string                  // why it is not used to switch off; empty: it is
}

// Device returns the device of that name; the same one as before while f says the
// same, so that its uses know of each other. What can be checked without running
// the agent is checked; Validate checks the rest.
func (r *Runner) Device(name string, f config.Fence) (*Device, error) {
	err := f.Validate()
	if err == nil {
		err = r.fit(f.Agent, nil)
	}
	if err != nil {
		return nil, fmt.Errorf("fence device %s: %w", name, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if d := r.devices[name]; d != nil && reflect.DeepEqual(d.spec.Fence, f) {
		return d, nil
	}
	f.Options = maps.Clone(f.Options)
	d := &Device{name: name, spec: spec{f}, runner: r, slot: make(chan struct{}, 1)}
	r.devices[name] = d
	return d, nil
}

// Name is the device's name in the policy.
func (d *Device) Name() string { return d.name }

// Every is how often the device is to be checked.
func (d *Device) Every() time.Duration { return d.spec.Check }

// Bound is the longest that Off can take.
func (d *Device) Bound() time.Duration {
	sum := describeTimeout + 2*killGrace // what prepare takes
	for range d.spec.Attempts {
		sum += 2*(d.spec.Timeout+killGrace) + retryPause
	}
	return sum
}

// String names the device for people, without its password.
func (d *Device) String() string {
	at := d.spec.Options["ip"]
	if at == "" {
		at = d.spec.Options["ipaddr"]
	}
	plug := d.spec.Options["plug"]
	if plug == "" {
		plug = d.spec.Options["port"]
	}
	s := d.name + " (" + d.spec.Agent
	if at != "" {
		s += " at " + printable(at)
	}
	if plug != "" {
		s += ", plug " + printable(plug)
	}
	return s + ")"
}

// Validate holds the device's options against what the installed agent says of
// itself, and lets the agent check them. Nothing is switched, and the device is not
// spoken to. The error names each option that is wrong.
func (d *Device) Validate(ctx context.Context) error {
	a, password, err := d.prepare(ctx)
	if err != nil {
		return fmt.Errorf("fence device %s: %w", d.name, err)
	}
	if !a.Does("validate-all") {
		return nil
	}
	if x := d.run(ctx, "validate-all", a, password); x.failed() != "" {
		return fmt.Errorf("fence device %s: %s refuses its options: %s", d.name, d.spec.Agent, x.failed())
	}
	return nil
}

// prepare gets what a run of the agent needs, or says why it cannot be run.
func (d *Device) prepare(ctx context.Context) (*Agent, string, error) {
	a, err := d.runner.Describe(ctx, d.spec.Agent)
	if err != nil {
		return nil, "", err
	}
	if err := d.runner.fit(d.spec.Agent, a); err != nil {
		return nil, "", err
	}
	if err := d.spec.fits(a); err != nil {
		return nil, "", err
	}
	type read struct {
		password string
		err      error
	}
	// The file may be on a disk that hangs. The goroutine ends when the disk answers.
	done := make(chan read, 1)
	go func() {
		password, err := d.spec.secret()
		done <- read{password, err}
	}()
	late := time.NewTimer(killGrace)
	defer late.Stop()
	select {
	case x := <-done:
		return a, x.password, x.err
	case <-ctx.Done():
		return nil, "", context.Cause(ctx)
	case <-late.C:
		return nil, "", fmt.Errorf("read password_file %s: no answer for %v", d.spec.PasswordFile, killGrace)
	}
}

// run runs the agent once.
func (d *Device) run(ctx context.Context, action string, a *Agent, password string) answer {
	path, _, err := d.runner.find(d.spec.Agent)
	if err != nil {
		return answer{exit: -1, err: err}
	}
	x := start(ctx, path, d.spec.input(action, a, password), d.spec.Timeout, headKept, d.slot)
	x.hide = password
	return x
}

// Try is one attempt to switch a host's power.
type Try struct {
	Level  int           `json:"level"` // from 1; 0 when the device was used alone
	Device string        `json:"device"`
	Number int           `json:"number"` // of the tries on this device, from 1
	Done   bool          `json:"done"`   // done and verified
	Text   string        `json:"text"`   // what was seen, for people
	Took   time.Duration `json:"took"`
}

// Off switches the host off and verifies it by the device's status. It tries as
// often as the device's attempts say. The tries are in order; the host is off
// exactly when the last one is done. at is the boot clock right after the status
// that said so.
func (d *Device) Off(ctx context.Context) (tries []Try, at time.Duration) {
	return d.turn(ctx, PowerOff, d.trusted)
}

// Distrust keeps the device from being used to switch off until a check says that
// its host's power is on. It is for a device that calls a host off which runs: it
// switches something else, and its word would start VMs twice.
func (d *Device) Distrust(why string) {
	d.mu.Lock()
	d.distrust = why
	d.mu.Unlock()
}

// On switches the host on and verifies it likewise. may is asked before each try, and an
// error of it ends them: a person may have switched the host off meanwhile. nil: nobody objects.
func (d *Device) On(ctx context.Context, may func() error) (tries []Try, at time.Duration) {
	return d.turn(ctx, PowerOn, may)
}

// trusted is an error while the device's word on a host that is off is not believed.
func (d *Device) trusted() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.distrust != "" {
		return errors.New(d.distrust)
	}
	return nil
}

// turn tries to bring the power to want, while may has no objection.
func (d *Device) turn(ctx context.Context, want Power, may func() error) (tries []Try, at time.Duration) {
	defer d.act()()
	begin := time.Now()
	a, password, err := d.prepare(ctx)
	for n := 1; ; n++ {
		if err == nil && may != nil {
			err = may()
		}
		if err != nil {
			return append(tries, Try{Device: d.name, Number: n, Text: fmt.Sprintf("%v: not tried: %v", d, err), Took: time.Since(begin)}), 0
		}
		begin = time.Now()
		text, done := d.once(ctx, want, a, password)
		at = d.runner.clock()
		tries = append(tries, Try{Device: d.name, Number: n, Done: done, Text: fmt.Sprintf("%v: %s", d, text), Took: time.Since(begin)})
		if done || n >= d.spec.Attempts || !pause(ctx, retryPause) {
			return tries, at
		}
	}
}

// once is one try: the action, and then the question whether it is so.
func (d *Device) once(ctx context.Context, want Power, a *Agent, password string) (text string, done bool) {
	order := d.run(ctx, string(want), a, password)
	if why := order.failed(); why != "" {
		return fmt.Sprintf("%s failed after %v: %s", want, order.took.Round(time.Millisecond), why), false
	}
	said := order.words()
	status := d.run(ctx, "status", a, password)
	took := (order.took + status.took).Round(time.Millisecond)
	switch is := powerOf(status.exit, status.stdout); {
	case status.err != nil:
		return fmt.Sprintf("told to switch %s (it said %q), but nothing verifies it: status %v", want, said, status.err), false
	case is == want:
		return fmt.Sprintf("switched %s (it said %q), and its status says %s, after %v", want, said, is, took), true
	case is == PowerUnknown:
		return fmt.Sprintf("told to switch %s (it said %q), but nothing verifies it: status ended with %d: %q",
			want, said, status.exit, status.words()), false
	default:
		return fmt.Sprintf("told to switch %s (it said %q), but its status still says %s", want, said, is), false
	}
}

// act ends a check that is under way and keeps others off until the function that
// it returns is called.
func (d *Device) act() (end func()) {
	d.mu.Lock()
	d.acting++
	cancel := d.checking
	d.mu.Unlock()
	if cancel != nil {
		cancel(errPreempted)
	}
	return func() {
		d.mu.Lock()
		d.acting--
		d.mu.Unlock()
	}
}

// Status is what a check of a device has found.
type Status struct {
	Device string        `json:"device"`
	OK     bool          `json:"ok"`    // it answered, and knows the host
	Power  Power         `json:"power"` // of its host
	Text   string        `json:"text"`  // why not, or what it said
	At     time.Duration `json:"at"`    // boot clock at the answer
	Took   time.Duration `json:"took"`
	// Skipped says that the device was busy switching; nothing was found.
	Skipped bool `json:"skipped,omitempty"`
}

// Check asks the device for the power of its host: proof that it answers, that the
// login is right, and that it knows the host. (The agents' own "monitor" proves less:
// where a device has plugs it only lists them.) Nothing is switched.
func (d *Device) Check(ctx context.Context) Status {
	s := Status{Device: d.name, Power: PowerUnknown}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	d.mu.Lock()
	busy := d.acting > 0 || d.checking != nil
	if !busy {
		d.checking = cancel
	}
	d.mu.Unlock()
	if busy {
		s.Skipped, s.Text, s.At = true, "not checked: the device is in use", d.runner.clock()
		return s
	}
	defer func() {
		d.mu.Lock()
		d.checking = nil
		d.mu.Unlock()
	}()
	begin := time.Now()
	a, password, err := d.prepare(ctx)
	var x answer
	if err == nil {
		x = d.run(ctx, "status", a, password)
	}
	s.At, s.Took = d.runner.clock(), time.Since(begin)
	s.Skipped = errors.Is(context.Cause(ctx), errPreempted)
	switch {
	case err != nil:
		s.Text = err.Error()
	case x.err != nil:
		s.Text = x.failed()
	default:
		s.Power = powerOf(x.exit, x.stdout)
		s.OK = s.Power != PowerUnknown
		if s.Power == PowerOn {
			d.Distrust("")
		}
		if s.Text = x.failed(); s.OK {
			s.Text = "power is " + string(s.Power)
		} else if s.Text == "" {
			s.Text = fmt.Sprintf("exit status 0, but it said %q", x.words())
		}
	}
	return s
}

// pause waits; false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
