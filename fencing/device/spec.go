package device

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/holdfast-ha/holdfast/config"
)

// maxPassword is the longest password that is read from a file, in bytes.
const maxPassword = 1024

// spec is what the policy says of a device.
type spec struct{ config.Fence }

// fits checks the options against the agent's own description: agents ignore
// what they do not know.
func (s spec) fits(a *Agent) error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	for _, name := range slices.Sorted(maps.Keys(s.Options)) {
		value := s.Options[name]
		p := a.Parameter(name)
		switch {
		case p == nil:
			bad("%s has no option %q%s", a.Name, clip(name), nearest(name, a.names()))
			continue
		case p.Obsoletes != "" && s.Options[p.Obsoletes] != "":
			bad("options %s and %s are the same one: set %s alone", name, p.Obsoletes, name)
		}
		switch p.Type {
		case "boolean":
			if _, ok := truth(value); !ok {
				bad("option %s must be true or false, but is %q", name, clip(value))
			}
		case "integer", "second":
			if _, err := strconv.Atoi(value); err != nil {
				bad("option %s must be a whole number, but is %q", name, clip(value))
			}
		case "select":
			same := func(c string) bool { return strings.EqualFold(c, value) }
			if len(p.Choices) > 0 && !slices.ContainsFunc(p.Choices, same) {
				bad("option %s must be one of %s, but is %q%s", name, strings.Join(p.Choices, ", "), clip(value), nearest(value, p.Choices))
			}
		}
	}
	if (s.Password != "" || s.PasswordFile != "") && a.Parameter("password") == nil && a.Parameter("passwd") == nil {
		bad("%s takes no password", a.Name)
	}
	return errors.Join(errs...)
}

// truth reads a boolean as the agents do.
func truth(s string) (value, ok bool) {
	switch strings.ToLower(s) {
	case "1", "yes", "on", "true":
		return true, true
	case "0", "no", "off", "false":
		return false, true
	}
	return false, false
}

// input is what an agent reads for an action. The action comes first and is always
// there: an agent that is told none reboots the host.
func (s spec) input(action string, a *Agent, password string) []byte {
	var b strings.Builder
	line := func(name, value string) { fmt.Fprintf(&b, "%s=%s\n", name, quoted(value)) }
	line("action", action)
	for _, name := range slices.Sorted(maps.Keys(s.Options)) {
		value := s.Options[name]
		if p := a.Parameter(name); p != nil && p.Type == "boolean" {
			on, _ := truth(value)
			// Many agents only look whether such an option is there: ssl_insecure=0
			// would switch the check of certificates off.
			if byDefault, _ := truth(p.Default); !on && !byDefault {
				continue
			}
			value = map[bool]string{true: "1", false: "0"}[on]
		}
		line(name, value)
	}
	if password != "" {
		name := "password"
		if a.Parameter(name) == nil {
			name = "passwd"
		}
		line(name, password)
	}
	return []byte(b.String())
}

// quoted protects a value that the agents would cut: they strip spaces at the ends
// of a line, and one pair of quotes around a value.
func quoted(s string) string {
	if s != strings.TrimSpace(s) || len(s) > 1 && s[0] == '"' && s[len(s)-1] == '"' {
		return `"` + s + `"`
	}
	return s
}

// secret is the device's password, read anew each time so that a changed file
// counts at once.
func (s spec) secret() (string, error) {
	if s.PasswordFile == "" {
		return s.Password, nil
	}
	f, err := os.OpenFile(s.PasswordFile, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return "", fmt.Errorf("read password_file: %w", err)
	}
	defer f.Close() // opened for reading only
	info, err := f.Stat()
	if err != nil {
		return "", fmt.Errorf("read password_file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("password_file %s is not a file", s.PasswordFile)
	}
	if err := ours(info); err != nil || info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("password_file %s can be read by others than root (mode %v): chown root %[1]s; chmod 0600 %[1]s",
			s.PasswordFile, info.Mode())
	}
	text, err := io.ReadAll(io.LimitReader(f, maxPassword+3))
	if err != nil {
		return "", fmt.Errorf("read password_file: %w", err)
	}
	word := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	if word == "" {
		return "", fmt.Errorf("password_file %s is empty", s.PasswordFile)
	}
	if len(word) > maxPassword || strings.ContainsFunc(word, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "", fmt.Errorf("password_file %s must hold the password on one line, of at most %d bytes", s.PasswordFile, maxPassword)
	}
	return word, nil
}

// ours returns an error unless the file belongs to root or to whom this process runs as.
func ours(info fs.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return errors.New("it belongs to somebody else")
	}
	return nil
}
