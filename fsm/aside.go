package fsm

import (
	"fmt"
	"time"
	"unicode/utf8"
)

// Aside says that a host takes part in nothing, since its disk is older than what it has stated
// of it (safety.md, L1). It is for people: nothing is decided by it.
type Aside struct {
	// At is when the cluster learned of it, Why what the host found.
	At  time.Time `json:"at"`
	Why string    `json:"why"`
}

// EventHostStandsAside: a host has said that its disk went back in time, and that it takes part in nothing.
const EventHostStandsAside = "host_stands_aside"

// asideLimit bounds what a host says of it, in bytes.
const asideLimit = 1024

// StandAside notes that a host stands aside. It is said once: what a host that is known to
// stand aside says again changes nothing. The host's next incarnation ends it, and so does its leaving.
type StandAside struct {
	Meta
	Epoch uint64 `json:"epoch"`
	Host  string `json:"host"`
	Why   string `json:"why"`
}

func (*StandAside) kind() Type { return TypeStandAside }

func (c *StandAside) check() error {
	if len(c.Why) > asideLimit || !utf8.ValidString(c.Why) {
		return fmt.Errorf("why %s stands aside is %d bytes, allowed are %d of UTF-8", c.Host, len(c.Why), asideLimit)
	}
	return CheckHostName(c.Host)
}

func (c *StandAside) apply(s *State) (any, *Refusal) {
	if r := s.inEpoch(c.Epoch); r != nil {
		return nil, r
	}
	h := s.Hosts[c.Host]
	switch {
	case h == nil:
		return refuse(CodeNotFound, "host %s is not a member", c.Host)
	case h.Aside != nil:
		return nil, nil
	}
	s.editHost(c.Host).Aside = &Aside{At: c.At, Why: c.Why}
	s.emit(c.Meta, Event{Type: EventHostStandsAside, Severity: Critical, Host: c.Host,
		Text: fmt.Sprintf("%s stands aside, since its disk is older than the host: %s. It takes part in nothing; what it owned starts elsewhere once it is dead. Then let it leave, empty its data directory, and let it join anew",
			c.Host, c.Why)})
	return nil, nil
}
