package fsm

import (
	"fmt"
	"net/netip"
	"regexp"
	"time"
)

// tokenKept is how long an expired token stays visible.
const tokenKept = 7 * 24 * time.Hour

const (
	maxName = 63
	maxText = 4096
	// maxEvidence is how many signals a verdict can rest on: a few for each member that reads them.
	maxEvidence = 256
)

var (
	hostName = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9._-]{0,61}[a-zA-Z0-9])?$`)
	uuidForm = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
)

func invalid(format string, args ...any) error {
	return &Refusal{Code: CodeInvalid, Message: fmt.Sprintf(format, args...)}
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// CheckHostName says why a name cannot be a host's, or nil.
func CheckHostName(name string) error {
	if !hostName.MatchString(name) {
		return invalid("host name %.70q: 1 to %d letters, digits, dots, hyphens or underscores, beginning and ending with a letter or digit",
			name, maxName)
	}
	return nil
}

func checkUUID(u string) error {
	if !uuidForm.MatchString(u) {
		return invalid("UUID %.50q: lower-case hexadecimal with hyphens is wanted", u)
	}
	return nil
}

func checkText(what, s string) error {
	if len(s) > maxText {
		return invalid("%s of %d bytes is longer than %d", what, len(s), maxText)
	}
	return nil
}

func checkEvidence(all []Evidence) error {
	if len(all) > maxEvidence {
		return invalid("%d pieces of evidence are more than %d", len(all), maxEvidence)
	}
	for _, e := range all {
		if n := len(e.Signal) + len(e.Value) + len(e.By); n > maxText {
			return invalid("evidence of %d bytes is longer than %d", n, maxText)
		}
	}
	return nil
}

func checkIncarnation(i uint64) error {
	if i == 0 {
		return invalid("incarnation 0 is nobody's")
	}
	return nil
}

func checkAddresses(addrs []Address) error {
	if len(addrs) == 0 || len(addrs) > 4 {
		return invalid("a host has one address on each of 1 to 4 HA networks, not %d", len(addrs))
	}
	seen := map[string]bool{}
	for _, a := range addrs {
		if a.Network == "" || len(a.Network) > maxName || seen[a.Network] {
			return invalid("network name %.70q is empty, too long or used twice", a.Network)
		}
		seen[a.Network] = true
		if _, err := netip.ParseAddrPort(a.Addr); err != nil {
			return invalid("address %.70q on network %s: an IP address and a port are wanted, such as 10.0.0.1:7300", a.Addr, a.Network)
		}
	}
	return nil
}

func checkHost(h Host) error {
	return first(CheckHostName(h.Name), checkUUID(h.ID), checkAddresses(h.Addresses))
}

func checkFiles(files map[string][]byte) error {
	total := 0
	for name, b := range files {
		if name == "" || len(name) > 255 {
			return invalid("policy file name %.70q is empty or too long", name)
		}
		total += len(b)
	}
	if total > MaxCommand/2 {
		return invalid("policy of %d bytes is larger than %d", total, MaxCommand/2)
	}
	return nil
}

func (c *CreateCluster) check() error {
	if c.Cluster.Name == "" || len(c.Cluster.Name) > maxName {
		return invalid("cluster name %.70q: 1 to %d characters", c.Cluster.Name, maxName)
	}
	return first(checkUUID(c.Cluster.ID), checkHost(c.Host), checkFiles(c.Policy))
}
func (c *TakeOffice) check() error { return CheckHostName(c.Master) }
func (c *CreateToken) check() error {
	t := c.Token
	if t.ID == "" || len(t.ID) > maxName || len(t.Hash) != 32 {
		return invalid("token %.70q: an id and a SHA-256 hash are wanted", t.ID)
	}
	if t.UsedBy != "" || !t.Expires.After(c.At) {
		return invalid("token %s: must be unused and expire in the future", t.ID)
	}
	if t.Host != "" {
		return CheckHostName(t.Host)
	}
	return nil
}
func (c *RevokeToken) check() error { return nil }
func (c *AddHost) check() error     { return checkHost(c.Host) }
func (c *RemoveHost) check() error  { return CheckHostName(c.Host) }
func (c *UpdateHost) check() error {
	return first(CheckHostName(c.Host), checkAddresses(c.Addresses))
}
func (c *BeginIncarnation) check() error {
	return first(CheckHostName(c.Host), checkText("reason", c.Why))
}
func (c *SetVerdict) check() error {
	if c.Verdict == "" || c.Verdict == "dead" || len(c.Verdict) > maxName {
		return invalid("verdict %.70q cannot be set: dead is declared, others are named", c.Verdict)
	}
	return first(CheckHostName(c.Host), checkIncarnation(c.Incarnation), checkText("text", c.Text), checkEvidence(c.Evidence))
}
func (c *DeclareDead) check() error {
	return first(CheckHostName(c.Host), checkIncarnation(c.Incarnation), checkText("text", c.Text), checkEvidence(c.Evidence))
}
func (c *ConfirmOff) check() error {
	if c.By == "" {
		return invalid("that %.70s is off must be vouched for by somebody", c.Host)
	}
	return first(CheckHostName(c.Host), checkIncarnation(c.Incarnation), checkText("text", c.Text), checkEvidence(c.Evidence))
}
func (c *Protect) check() error {
	if c.VM.Intent != IntentRun && c.VM.Intent != IntentStop {
		return invalid("intent %q: run or stop is wanted", c.VM.Intent)
	}
	return first(checkVM(c.VM.UUID, c.VM.Name, c.VM.XML), CheckHostName(c.Host), checkDevices(c.VM.Devices))
}
func checkVM(uuid, name string, xml []byte) error {
	if name == "" || len(name) > 255 {
		return invalid("VM name %.70q: 1 to 255 characters", name)
	}
	if len(xml) == 0 {
		return invalid("VM %s has no definition", name)
	}
	return checkUUID(uuid)
}
func (c *Unprotect) check() error { return checkUUID(c.UUID) }
func (c *Redefine) check() error {
	if c.Host != "" {
		if err := CheckHostName(c.Host); err != nil {
			return err
		}
	}
	return first(checkVM(c.UUID, c.Name, c.XML), checkDevices(c.Devices))
}
func (c *Assign) check() error {
	if c.Round < 0 || c.Round > maxRound {
		return invalid("round %d: 0 to %d are wanted", c.Round, maxRound)
	}
	return first(checkUUID(c.UUID), CheckHostName(c.Host), checkIncarnation(c.Incarnation),
		checkText("reason", c.Why), checkLots(c.Considered), checkDevices(c.Devices))
}

// maxRound bounds the tries of a schedule, which the policy bounds further.
const maxRound = 1 << 20

func (c *Adopt) check() error {
	return first(checkUUID(c.UUID), CheckHostName(c.Host), checkIncarnation(c.Incarnation))
}
func (c *Report) check() error {
	switch c.Outcome {
	case OutcomeRunning, OutcomeStopped, OutcomeCrashed, OutcomeStartFailed, OutcomeReleased:
		if c.Move != 0 {
			return invalid("outcome %s is of no move, but names %d", c.Outcome, c.Move)
		}
	case OutcomeMoved, OutcomeMoveFailed:
		if c.Move == 0 {
			return invalid("outcome %s is of move 0, which is none", c.Outcome)
		}
	default:
		return invalid("outcome %.50q is not one", c.Outcome)
	}
	return first(checkUUID(c.UUID), CheckHostName(c.Host), checkIncarnation(c.Incarnation), checkText("detail", c.Detail))
}
func (c *SetIntent) check() error {
	if c.Intent != IntentRun && c.Intent != IntentStop {
		return invalid("intent %.50q: run or stop is wanted", c.Intent)
	}
	return first(checkUUID(c.UUID), checkText("reason", c.Why))
}
func (c *ApplyPolicy) check() error { return checkFiles(c.Files) }
func (c *Record) check() error {
	if len(c.Events) == 0 || len(c.Events) > 100 {
		return invalid("%d events at once: 1 to 100 are wanted", len(c.Events))
	}
	for _, e := range c.Events {
		if e.Type == "" || e.ID != 0 || e.Cause != 0 {
			return invalid("event %.50q: a type is wanted, and no id", e.Type)
		}
		if err := first(checkText("text", e.Text), checkEvidence(e.Evidence), checkLots(e.Considered)); err != nil {
			return err
		}
	}
	return nil
}
func (c *SetWaiting) check() error {
	switch c.For {
	case WaitNoHost, WaitHeld, WaitGivenUp:
	default:
		return invalid("a VM cannot wait for %.50q", c.For)
	}
	return first(checkUUID(c.UUID), checkText("reason", c.Why), checkLots(c.Considered))
}
