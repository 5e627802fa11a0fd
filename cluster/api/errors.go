package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm"
)

// Code classifies an error on the wire, for callers that branch on it. Codes are
// never renamed.
type Code string

const (
	CodeBadRequest      Code = "bad_request"       // the request cannot be understood
	CodeTooLarge        Code = "too_large"         // its body is larger than the route takes
	CodeInvalid         Code = "invalid"           // understood, but a value is out of its range
	CodeNotFound        Code = "not_found"         // no such host, VM, token or route
	CodeRefused         Code = "refused"           // a rule forbids it
	CodeConflict        Code = "conflict"          // the state is not what the caller thought
	CodeStale           Code = "stale"             // of an earlier epoch, incarnation or generation
	CodeDenied          Code = "denied"            // token wrong, used or expired
	CodeUnauthenticated Code = "unauthenticated"   // the caller showed no identity that counts here
	CodeNotAllowed      Code = "not_allowed"       // the caller may not do this
	CodeNotMember       Code = "not_member"        // this host belongs to no cluster
	CodeNoMaster        Code = "no_master"         // nothing was done: there is no master to do it
	CodeNotMaster       Code = "not_master"        // nothing was done: this host is not the master, and does not pass it on
	CodeUnknownOutcome  Code = "unknown_outcome"   // it may or may not have been done
	CodeHypervisor      Code = "hypervisor_silent" // the hypervisor does not answer
	CodeTimeout         Code = "timeout"           // not done in the time the server gives it
	CodeInternal        Code = "internal"          // a fault of ours
)

// status is the HTTP status that goes with a code.
func (c Code) status() int {
	switch c {
	case CodeBadRequest, CodeInvalid:
		return http.StatusBadRequest
	case CodeTooLarge:
		return http.StatusRequestEntityTooLarge
	case CodeNotFound:
		return http.StatusNotFound
	case CodeRefused, CodeConflict, CodeStale, CodeNotMember:
		return http.StatusConflict
	case CodeUnauthenticated:
		return http.StatusUnauthorized
	case CodeDenied, CodeNotAllowed:
		return http.StatusForbidden
	case CodeNotMaster:
		return http.StatusMisdirectedRequest
	case CodeNoMaster, CodeHypervisor:
		return http.StatusServiceUnavailable
	case CodeUnknownOutcome, CodeTimeout:
		return http.StatusGatewayTimeout
	case CodeInternal:
		return http.StatusInternalServerError
	}
	return http.StatusInternalServerError
}

// Error is an error as it travels: {"error": {"code", "message", "rule"}}. The
// client returns it, and errors.Is finds the sentinel behind its code.
type Error struct {
	Code    Code   `json:"code"`
	Message string `json:"message"` // for people: what, why, and how to go on
	// Rule names the rule that refused, where one did, such as "O1" (docs/safety.md).
	Rule string `json:"rule,omitempty"`
}

// Error implements error.
func (e *Error) Error() string { return e.Message }

// Is lets errors.Is find ErrNoMaster, ErrNotMaster, ErrNotMember, ErrUnknownOutcome, ErrRefused
// and vmm.ErrUnavailable on the far side of the wire.
func (e *Error) Is(target error) bool {
	switch target {
	case ErrNoMaster:
		return e.Code == CodeNoMaster
	case ErrNotMaster:
		return e.Code == CodeNotMaster
	case ErrNotMember:
		return e.Code == CodeNotMember
	case ErrUnknownOutcome:
		return e.Code == CodeUnknownOutcome
	case ErrRefused:
		return e.Code == CodeRefused || e.Code == CodeConflict || e.Code == CodeStale
	case vmm.ErrUnavailable:
		return e.Code == CodeHypervisor
	}
	return false
}

type errorBody struct {
	Error *Error `json:"error"`
}

// ruled is what a backend's refusal may implement to name its rule.
type ruled interface{ Rule() string }

// wireError turns any error into one that can travel.
func wireError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	out := &Error{Message: err.Error(), Code: CodeInternal}
	var r ruled
	if errors.As(err, &r) {
		out.Rule = r.Rule()
	}
	var refusal *fsm.Refusal
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &refusal):
		out.Code = refusalCode(refusal.Code)
	case errors.As(err, &large):
		out.Code = CodeTooLarge
	case errors.Is(err, ErrRefused):
		out.Code = CodeRefused
	case errors.Is(err, ErrNotMember):
		out.Code = CodeNotMember
	case errors.Is(err, ErrUnknownOutcome):
		out.Code = CodeUnknownOutcome
	case errors.Is(err, ErrNoMaster):
		out.Code = CodeNoMaster
	case errors.Is(err, ErrNotMaster):
		out.Code = CodeNotMaster
	case errors.Is(err, vmm.ErrUnavailable):
		out.Code = CodeHypervisor
	case errors.Is(err, vmm.ErrNoDomain):
		out.Code = CodeNotFound
	case errors.Is(err, vmm.ErrBadXML):
		out.Code = CodeInvalid
	case errors.Is(err, context.DeadlineExceeded):
		out.Code = CodeTimeout
	}
	return out
}

func refusalCode(c fsm.Code) Code {
	switch c {
	case fsm.CodeBadCommand:
		return CodeBadRequest
	case fsm.CodeInvalid:
		return CodeInvalid
	case fsm.CodeNotFound:
		return CodeNotFound
	case fsm.CodeConflict:
		return CodeConflict
	case fsm.CodeStale:
		return CodeStale
	case fsm.CodeDenied:
		return CodeDenied
	}
	return CodeInternal
}

// writeError answers with err. The status line may not have been sent yet.
func writeError(w http.ResponseWriter, err error) {
	e := wireError(err)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.Code.status())
	// The caller may have gone; there is nobody else to tell.
	_ = json.NewEncoder(w).Encode(errorBody{Error: e})
}
