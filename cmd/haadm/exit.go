package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/config"
)

// The exit statuses. Scripts rely on them.
const (
	exitOK         = 0  // done; for a query: yes
	exitFailed     = 1  // failed
	exitNo         = 2  // for a query: no; for a plan: there are changes
	exitNoMaster   = 3  // no master or no quorum; try again later
	exitRefused    = 4  // refused by a rule
	exitNotAllowed = 5  // not allowed
	exitUsage      = 64 // wrong usage
)

// usageError is a command line that cannot be meant.
type usageError struct {
	message string
	usage   string // how it is used, if that is known
	clear   bool   // the message says how to go on
}

func (e *usageError) Error() string { return e.message }

func usagef(format string, args ...any) error {
	return &usageError{message: fmt.Sprintf(format, args...)}
}

func usageOf(c *cli.Context, message string) error {
	return &usageError{message: c.Command.HelpName + ": " + message, usage: strings.TrimSpace(c.Command.HelpName + " " + c.Command.ArgsUsage)}
}

// refusedError is a refusal of haadm's own.
type refusedError struct{ message string }

func (e *refusedError) Error() string { return e.message }

// hintedError is an error with one more way to go on.
type hintedError struct {
	err  error
	hint string
}

func (e *hintedError) Error() string { return e.err.Error() }
func (e *hintedError) Unwrap() error { return e.err }

// exitStatus is what an error means to a script.
func exitStatus(err error) int {
	var usage *usageError
	var refused *refusedError
	var remote *api.Error
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errNo):
		return exitNo
	case errors.As(err, &usage):
		return exitUsage
	case errors.As(err, &refused):
		return exitRefused
	case errors.Is(err, fs.ErrPermission):
		return exitNotAllowed
	case errors.As(err, &remote):
		return remoteStatus(remote.Code)
	}
	return exitFailed
}

func remoteStatus(c api.Code) int {
	switch c {
	case api.CodeNoMaster, api.CodeNotMaster:
		return exitNoMaster
	case api.CodeRefused, api.CodeConflict, api.CodeStale, api.CodeInvalid:
		return exitRefused
	case api.CodeDenied, api.CodeNotAllowed, api.CodeUnauthenticated:
		return exitNotAllowed
	case api.CodeBadRequest, api.CodeTooLarge, api.CodeNotFound, api.CodeNotMember, api.CodeUnknownOutcome,
		api.CodeHypervisor, api.CodeTimeout, api.CodeInternal:
		return exitFailed
	}
	return exitFailed
}

// report tells a person, or a script that asked for JSON, what went wrong.
func (p *program) report(err error) int {
	code := exitStatus(err)
	if code == exitOK || errors.Is(err, errNo) || errors.Is(err, errReported) {
		return code
	}
	if p.format == "json" {
		var remote *api.Error
		if !errors.As(err, &remote) {
			remote = &api.Error{Code: "local", Message: strings.TrimPrefix(p.explain(err), "haadm: ")}
		}
		if code == exitUsage {
			remote.Code = "usage"
		}
		_ = writeJSON(p.stderr, struct {
			Schema int        `json:"schema"`
			Error  *api.Error `json:"error"`
		}{api.Schema, remote})
		return code
	}
	fmt.Fprintln(p.stderr, p.explain(err))
	return code
}

// explain puts an error into words: what, why, what to do next.
func (p *program) explain(err error) string {
	var usage *usageError
	var unreachable *api.UnreachableError
	var remote *api.Error
	var hinted *hintedError
	var silent *api.SilentError
	if errors.As(err, &hinted) {
		return p.explain(hinted.err) + "\n" + hinted.hint
	}
	if bad, ok := config.AsError(err); ok {
		return strings.TrimRight(bad.Text(p.width(), p.colour), "\n")
	}
	switch {
	case errors.As(err, &usage):
		text := usage.message
		if !strings.HasPrefix(text, "haadm") {
			text = "haadm: " + text
		}
		if usage.clear {
			return text
		}
		if usage.usage != "" {
			text += "\nUsage: " + usage.usage
		}
		return text + "\nSee 'haadm --help', or --help after any command."
	case errors.As(err, &unreachable) && errors.Is(err, fs.ErrPermission):
		return fmt.Sprintf("haadm: you may not use the agent's socket %s: only root and members of the groups under socket_access in haagent.hcl may.\nTry it with sudo.",
			p.socket)
	case errors.As(err, &unreachable):
		return fmt.Sprintf("haadm: no agent answers at %s (%v).\nIs it running here? 'systemctl status haagent'. Its socket may be elsewhere: --socket PATH, or HAADM_SOCKET.",
			p.socket, unreachable.Err)
	case errors.As(err, &silent):
		return fmt.Sprintf("haadm: the agent at %s has not answered for %v: it is stopped, or this host is swamped.\n"+
			"Look with 'systemctl status haagent' and 'journalctl -u haagent'; haadm on another host says what the cluster makes of this one.",
			silent.Where, silent.After)
	case errors.As(err, &remote):
		text := "haadm: " + prefix(err, remote) + remote.Message
		if remote.Rule != "" {
			text += "\nRule: " + remote.Rule
		}
		return text
	case errors.Is(err, api.ErrUnknownOutcome):
		return fmt.Sprintf("haadm: %v.\nIt may have been done or not: look ('haadm status', 'haadm events') before you try again.", err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Sprintf("haadm: not done in time: %v", err)
	case errors.Is(err, context.Canceled):
		return "haadm: interrupted"
	}
	return "haadm: " + err.Error()
}

// prefix keeps what this side said about a remote error, without saying that error twice.
func prefix(err error, remote *api.Error) string {
	before, _, _ := strings.Cut(err.Error(), remote.Message)
	return before
}
