package libvirt

import (
	"errors"
	"regexp"
	"strings"

	rpc "github.com/digitalocean/go-libvirt"
)

// A copy of a VM that Migrate sends bears a mark in the metadata of its live
// definition until it is let run: libvirt calls a copy that has come "paused by a
// user", as it calls one that a person has paused. The mark is there before the
// copy is, and outlives the daemon.
const (
	markURI  = "urn:holdfast:incoming"
	markText = `<holdfast:incoming xmlns:holdfast="` + markURI + `"/>`
)

var (
	markElement   = regexp.MustCompile(`[ \t]*<[A-Za-z_][\w.-]*:incoming xmlns:[\w.-]+=["']` + markURI + `["']\s*/>\n?`)
	emptyMetadata = regexp.MustCompile(`[ \t]*<metadata>\s*</metadata>\n?`)
)

var errNoUUIDElement = errors.New("the definition has no <uuid>")

// Incoming tells whether a definition is that of a copy which Migrate of another
// host sends here.
func Incoming(xml string) bool { return markElement.MatchString(xml) }

// withMark puts the mark into a definition as libvirt writes it: <uuid> is among
// its first elements and nothing before it can hold another one.
func withMark(xml string) (string, error) {
	if Incoming(xml) {
		return xml, nil
	}
	const metadata, uuid = "<metadata>", "</uuid>"
	if before, after, ok := strings.Cut(xml, metadata); ok {
		return before + metadata + markText + after, nil
	}
	before, after, ok := strings.Cut(xml, uuid)
	if !ok {
		return "", errNoUUIDElement
	}
	return before + uuid + metadata + markText + "</metadata>" + after, nil
}

// withoutMark is the definition as it was before withMark.
func withoutMark(xml string) string {
	if !Incoming(xml) {
		return xml
	}
	return emptyMetadata.ReplaceAllString(markElement.ReplaceAllString(xml, ""), "")
}

// isMarked tells whether an active domain has come here by Migrate and was not let
// run since. It does not wait for the VM's monitor.
func isMarked(l *rpc.Libvirt, ref rpc.Domain) (bool, error) {
	_, err := l.DomainGetMetadata(ref, int32(rpc.DomainMetadataElement), rpc.OptString{markURI}, rpc.DomainAffectLive)
	if hasCode(err, rpc.ErrNoDomainMetadata, rpc.ErrNoDomain, rpc.ErrOperationInvalid) {
		return false, nil // has none, or has ended a moment ago
	}
	return err == nil, err
}

// wholeIfMarked refuses a copy whose memory has not all come: libvirt calls it
// "starting up" and "migrating", and "paused by a user" once the source knows that it is whole.
func wholeIfMarked(l *rpc.Libvirt, ref rpc.Domain) error {
	marked, err := isMarked(l, ref)
	if err != nil || !marked {
		return err
	}
	state, reason, err := l.DomainGetState(ref, 0)
	if err != nil {
		return err
	}
	if rpc.DomainState(state) == rpc.DomainPaused && rpc.DomainPausedReason(reason) != rpc.DomainPausedUser {
		return errNotWhole
	}
	return nil
}

// errNotWhole travels through call as an answer of the daemon.
var errNotWhole = rpc.Error{Code: uint32(rpc.ErrOperationInvalid), Message: "it comes from another host and is not here as a whole"}

// settleIn makes a domain that came by Migrate and was let run like any other.
func settleIn(l *rpc.Libvirt, ref rpc.Domain) error {
	marked, err := isMarked(l, ref)
	if err != nil || !marked {
		return err
	}
	if err := l.DomainSetAutostart(ref, 0); err != nil {
		return err
	}
	return l.DomainSetMetadata(ref, int32(rpc.DomainMetadataElement), nil, nil, rpc.OptString{markURI}, rpc.DomainAffectLive)
}
