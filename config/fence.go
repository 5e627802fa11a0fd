package config

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

const (
	// MinFenceTimeout and MaxFenceTimeout bound one run of a fence agent.
	MinFenceTimeout = time.Second
	MaxFenceTimeout = 5 * time.Minute
	// MaxFenceAttempts bounds how often one device is tried.
	MaxFenceAttempts = 10
	// MinFenceCheck and MaxFenceCheck bound the time between two checks of a device:
	// controllers are slow, and one that is not checked for a day is not known to work.
	MinFenceCheck = 10 * time.Second
	MaxFenceCheck = 24 * time.Hour

	defaultFenceTimeout  = 20 * time.Second
	defaultFenceAttempts = 2
	defaultFenceCheck    = 5 * time.Minute

	// maxFenceValue is the longest value of an option, and the longest password, in bytes.
	maxFenceValue = 1024
	// maxFenceOptions is how many options a device may have.
	maxFenceOptions = 64
	// maxFencePerHost is how many devices a host may have.
	maxFencePerHost = 16
)

// Fence is a fence device: what switches one host off from outside.
type Fence struct {
	// Agent is the fence agent that speaks to it, such as fence_ipmilan.
	Agent string `json:"agent"`
	// Options is what the agent is told besides the action and the password.
	// Numbers are their digits, true is "1" and false "0".
	Options map[string]string `json:"options,omitempty"`
	// Password is the login's, unless PasswordFile, an absolute path on every host, holds it.
	Password     string `json:"password,omitempty"`
	PasswordFile string `json:"password_file,omitempty"`
	// Timeout is the longest that one run of the agent may take.
	Timeout time.Duration `json:"timeout"`
	// Attempts is how often the device is tried before the next one is.
	Attempts int `json:"attempts"`
	// Check is the time between two proofs that the device answers.
	Check time.Duration `json:"check"`
}

var (
	// fenceAgentName is the form of an agent's name: no path, no option, no shell word.
	fenceAgentName = regexp.MustCompile(`^fence_[a-z0-9][a-z0-9_]{0,40}$`)
	// fenceOptionName is the form of an option's name.
	fenceOptionName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,63}$`)
)

// BadFenceAgent says what is wrong with the name of a fence agent, or nothing. Some
// agents are refused by name, as their "off" is something else than no power; the
// reasons are what the sources of fence-agents 4.12 do.
func BadFenceAgent(name string) string {
	if !fenceAgentName.MatchString(name) {
		hint := ""
		if fenceAgentName.MatchString("fence_" + name) {
			hint = fmt.Sprintf(" (did you mean %q?)", "fence_"+name)
		}
		return fmt.Sprintf("is %s%s, but a fence agent's name begins with fence_ and goes on with small letters, digits and _, such as fence_ipmilan",
			quote(name), hint)
	}
	why := ""
	switch name {
	case "fence_sbd":
		why = "its status reads the message that was left for the host, not the host's power"
	case "fence_crosslink":
		why = "it calls a host off that does not answer a ping"
	case "fence_virsh":
		why = "it calls a machine off that is suspended or still shutting down, and then does nothing"
	case "fence_amt":
		why = "it calls a host off that only sleeps (S3), and then does nothing"
	case "fence_zvmip":
		why = "it calls every machine off that it does not know"
	case "fence_evacuate", "fence_compute":
		why = "it asks OpenStack to move machines, and switches no host off"
	case "fence_ack_manual":
		why = "it only writes down what a person says"
	case "fence_kdump", "fence_heuristics_ping", "fence_ovh", "fence_rcd_serial":
		why = "it has no action off, or no status that would verify it"
	case "fence_brocade", "fence_cisco_mds", "fence_ifmib", "fence_mpath", "fence_sanbox2", "fence_scsi":
		why = "it cuts a host off from its storage or network, not from its power: the host's VMs would run on"
	default:
		return ""
	}
	return fmt.Sprintf("is %s, which cannot prove that a host is off: %s", quote(name), why)
}

// BadFenceOption says why an option of a fence agent cannot be set, or nothing.
func BadFenceOption(name string) string {
	if !fenceOptionName.MatchString(name) {
		return "an option's name has small letters, digits, _ and -"
	}
	const (
		writes = "with it the agent, which runs as root, writes to any file"
		runs   = "with it the agent, which runs as root, runs other programs"
	)
	n := strings.ReplaceAll(name, "-", "_")
	switch n {
	case "action", "option":
		return "the action is chosen for each call"
	case "password", "passwd":
		return "use password_file or password of the fence block, which are not shown"
	case "missing_as_off":
		return "a device that does not know the host must never be taken for one that has switched it off"
	case "network_fencing":
		return "it cuts a machine off from its network, not from its power"
	case "help", "version", "usage":
		return "with it the agent prints a text and does nothing"
	case "record_only":
		return "with it the agent does nothing"
	case "debug", "debug_file", "logfile", "cookie_file", "status_file":
		return writes
	case "ssh_options", "openrc", "kubeconfig":
		return runs
	case "api_path", "store_path": // of a URL
		return ""
	}
	if strings.HasSuffix(n, "_script") || strings.HasSuffix(n, "_path") {
		return runs
	}
	return ""
}

// badFenceValue says why a value cannot be sent to an agent on one line, or nothing.
func badFenceValue(s string) string {
	if len(s) > maxFenceValue {
		return fmt.Sprintf("has %d bytes, the most is %d", len(s), maxFenceValue)
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "holds a line break or another control character"
	}
	return ""
}

// badFenceOptions checks all options of a device.
func badFenceOptions(v any) string {
	m := v.(map[string]string)
	if len(m) > maxFenceOptions {
		return fmt.Sprintf("has %d options, the most is %d", len(m), maxFenceOptions)
	}
	for _, name := range sortedKeys(m) {
		if why := BadFenceOption(name); why != "" {
			return fmt.Sprintf("cannot hold %s: %s", quote(name), why)
		}
		if problem := badFenceValue(m[name]); problem != "" {
			return fmt.Sprintf("holds %s, whose value %s", name, problem)
		}
	}
	return ""
}

// Validate checks what can be checked without the agent.
func (f Fence) Validate() error {
	var errs []error
	bad := func(name, problem string) {
		if problem != "" {
			errs = append(errs, fmt.Errorf("%s %s", name, problem))
		}
	}
	bad("agent", BadFenceAgent(f.Agent))
	bad("options", badFenceOptions(f.Options))
	bad("password", badFenceValue(f.Password))
	bad("password_file", badPasswordFile(f.PasswordFile))
	bad("password_file", f.twoPasswords())
	bad("timeout", durationBetween(MinFenceTimeout, MaxFenceTimeout)(f.Timeout))
	bad("attempts", fenceAttempts(int64(f.Attempts)))
	bad("check", durationBetween(MinFenceCheck, MaxFenceCheck)(f.Check))
	return errors.Join(errs...)
}

func (f Fence) twoPasswords() string {
	if f.Password != "" && f.PasswordFile != "" {
		return "is set beside password: one of them"
	}
	return ""
}

func badPasswordFile(v any) string {
	if s := v.(string); s != "" && (!filepath.IsAbs(s) || badFenceValue(s) != "") {
		return fmt.Sprintf("must be an absolute path, but is %s", quote(s))
	}
	return ""
}

func fenceAttempts(v any) string {
	if n := v.(int64); n < 1 || n > MaxFenceAttempts {
		return fmt.Sprintf("must be 1 to %d, but is %d", MaxFenceAttempts, n)
	}
	return ""
}

// clone copies what the fence shares with nothing then.
func (f Fence) clone() Fence {
	f.Options = maps.Clone(f.Options)
	return f
}

// target is what a device's options say of the thing it switches: all but how to
// log in and how patient to be. Two devices of one target are one device.
func (f Fence) target() string {
	var parts []string
	for _, name := range sortedKeys(f.Options) {
		n := strings.ReplaceAll(name, "-", "_")
		switch n {
		case "ipaddr":
			n = "ip"
		case "port":
			n = "plug"
		case "username", "login", "lanplus", "auth", "cipher", "privlvl", "hexadecimal_kg",
			"method", "delay", "quiet", "verbose", "verbose_level",
			"ssl", "ssl_insecure", "ssl_secure", "notls", "ssh", "secure", "retry_on",
			"power_wait", "community", "stonith_status_sleep", "identity_file":
			continue
		}
		if strings.HasSuffix(n, "_timeout") || strings.HasPrefix(n, "snmp_") || strings.HasPrefix(n, "inet") {
			continue
		}
		parts = append(parts, n+"="+strings.TrimSpace(f.Options[name]))
	}
	slices.Sort(parts)
	return strings.Join(parts, "\n")
}
