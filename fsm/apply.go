package fsm

import (
	"crypto/subtle"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

func (c *CreateCluster) apply(s *State) (any, *Refusal) {
	if s.Cluster.ID != "" {
		return refuse(CodeConflict, "this log already belongs to cluster %q (%s)", s.Cluster.Name, s.Cluster.ID)
	}
	s.Cluster = c.Cluster
	s.Policy = Policy{Files: c.Policy, By: c.By, At: c.At}
	h := s.admit(c.Host, c.At)
	s.emit(c.Meta, Event{Type: EventClusterCreated, Host: h.Name, Text: fmt.Sprintf("cluster %s created on %s", c.Cluster.Name, h.Name)})
	return nil, nil
}

func (c *TakeOffice) apply(s *State) (any, *Refusal) {
	if s.Hosts[c.Master] == nil {
		return refuse(CodeNotFound, "host %s is not a member and cannot be master", c.Master)
	}
	if c.Epoch != s.Office.Epoch+1 {
		return refuse(CodeStale, "epoch %d cannot begin: the last one is %d", c.Epoch, s.Office.Epoch)
	}
	s.Office = Office{Epoch: c.Epoch, Master: c.Master, Since: c.At}
	s.emit(c.Meta, Event{Type: EventMasterElected, Host: c.Master, Text: fmt.Sprintf("%s is master, epoch %d", c.Master, c.Epoch)})
	return nil, nil
}

func (s *State) inEpoch(epoch uint64) *Refusal {
	if epoch != s.Office.Epoch {
		return &Refusal{CodeStale, fmt.Sprintf("decided in epoch %d, but epoch %d (%s) has begun", epoch, s.Office.Epoch, s.Office.Master)}
	}
	return nil
}

func (c *CreateToken) apply(s *State) (any, *Refusal) {
	if s.Tokens[c.Token.ID] != nil {
		return refuse(CodeConflict, "a token %s exists already", c.Token.ID)
	}
	tokens := s.writeTokens()
	for id, t := range tokens { // used and long expired ones have served
		if c.At.Sub(t.Expires) > tokenKept {
			delete(tokens, id)
		}
	}
	t := c.Token
	tokens[t.ID] = &t
	s.emit(c.Meta, Event{Type: EventTokenCreated, Host: t.Host,
		Text: fmt.Sprintf("join token %s created, expires %s", t.ID, t.Expires.UTC().Format("2006-01-02 15:04:05 MST"))})
	return nil, nil
}

func (c *RevokeToken) apply(s *State) (any, *Refusal) {
	t := s.Tokens[c.ID]
	if t == nil {
		return refuse(CodeNotFound, "there is no token %s", c.ID)
	}
	if t.UsedBy != "" {
		return refuse(CodeConflict,
			"token %s was used by %s: remove that host with `haadm cluster leave %s` if it should not be a member", c.ID, t.UsedBy, t.UsedBy)
	}
	delete(s.writeTokens(), c.ID)
	s.emit(c.Meta, Event{Type: EventTokenRevoked, Text: fmt.Sprintf("join token %s revoked", c.ID)})
	return nil, nil
}

func (c *AddHost) apply(s *State) (any, *Refusal) {
	t := s.Tokens[c.TokenID]
	switch {
	case t == nil:
		return refuse(CodeDenied, "token %s is not known: it was revoked, or belongs to another cluster", c.TokenID)
	case subtle.ConstantTimeCompare(t.Hash, c.SecretHash) != 1:
		return refuse(CodeDenied, "token %s: wrong secret", c.TokenID)
	case t.UsedBy == c.Host.Name && s.Hosts[c.Host.Name] != nil && s.Hosts[c.Host.Name].ID == c.Host.ID:
		return s.Hosts[c.Host.Name], nil // the same machine asks again: the first answer was lost
	case t.UsedBy != "":
		return refuse(CodeDenied,
			"token %s was already used by %s: a token is good for one host; create another with `haadm cluster token create`",
			c.TokenID, t.UsedBy)
	case c.At.After(t.Expires):
		return refuse(CodeDenied, "token %s expired at %s: create another with `haadm cluster token create`",
			c.TokenID, t.Expires.UTC().Format("2006-01-02 15:04:05 MST"))
	case t.Host != "" && t.Host != c.Host.Name:
		return refuse(CodeDenied, "token %s is for host %s, not for %s", c.TokenID, t.Host, c.Host.Name)
	}
	if h := s.Hosts[c.Host.Name]; h != nil {
		return refuse(CodeConflict,
			"a host named %s is a member already (machine %s, joined %s): give this one another node_name, or remove the old one with `haadm cluster leave %s`",
			h.Name, h.ID, h.Joined.UTC().Format("2006-01-02"), h.Name)
	}
	if r := s.addressesFree(c.Host.Name, c.Host.Addresses); r != nil {
		return nil, r
	}
	if s.Slots == math.MaxUint16 {
		return refuse(CodeConflict, "all %d host slots were given out, and none is used twice: no further host can join this cluster", s.Slots)
	}
	h := s.admit(c.Host, c.At)
	used := *t
	used.UsedBy = h.Name
	s.writeTokens()[t.ID] = &used
	s.emit(c.Meta, Event{Type: EventHostJoined, Host: h.Name, Text: fmt.Sprintf("%s joined with token %s", h.Name, t.ID)})
	return h, nil
}

// admit makes a new member of which only name, machine and addresses are the
// proposer's to say: its standing begins here.
func (s *State) admit(is Host, at time.Time) *Host {
	s.Slots++
	h := &Host{Name: is.Name, ID: is.ID, Addresses: is.Addresses, Slot: s.Slots, Joined: at, Since: at,
		Status: HostJoining, Incarnation: s.RetiredIncarnation}
	s.writeHosts()[h.Name] = h
	return h
}

func (s *State) addressesFree(host string, addrs []Address) *Refusal {
	for _, h := range s.SortedHosts() {
		if h.Name == host {
			continue
		}
		for _, a := range h.Addresses {
			if slices.Contains(addrs, a) {
				return &Refusal{CodeConflict, fmt.Sprintf("address %s on network %s is already %s's", a.Addr, a.Network, h.Name)}
			}
		}
	}
	return nil
}

func (c *RemoveHost) apply(s *State) (any, *Refusal) {
	h := s.Hosts[c.Host]
	if h == nil {
		return refuse(CodeNotFound, "host %s is not a member", c.Host)
	}
	if s.Office.Master == c.Host {
		return refuse(CodeInvalid, "%s is the master: hand the office over first with `haadm cluster transfer-master`", c.Host)
	}
	if owned := s.Owned(h.Name, h.Incarnation); len(owned) > 0 {
		return refuse(CodeInvalid, "%s still owns %d protected VMs (%s): stop or unprotect them first", c.Host, len(owned), names(owned))
	}
	for _, vm := range s.SortedVMs() {
		if vm.Sighting != nil && vm.Sighting.Host == c.Host {
			return refuse(CodeInvalid,
				"%s was seen running protected VM %s and has not said what became of it: stop or unprotect it first", c.Host, vm.Name)
		}
	}
	for uuid, host := range s.Loose {
		if host == c.Host { // a person says that nothing of it is left
			delete(s.writeLoose(), uuid)
		}
	}
	s.endMovesTo(c.Host, c.Meta, c.Host+" leaves the cluster")
	s.unfreeze(c.Host, c.Meta, c.Host+" leaves the cluster")
	s.RetiredIncarnation = max(s.RetiredIncarnation, h.Incarnation)
	left := maps.Clone(s.Left)
	if left == nil {
		left = map[string]string{}
	}
	left[h.ID] = h.Name
	s.Left = left
	delete(s.writeHosts(), c.Host)
	s.emit(c.Meta, Event{Type: EventHostLeft, Host: c.Host, Text: c.Host + " left the cluster"})
	return nil, nil
}

// names lists VMs for people, at most five.
func names(vms []*VM) string {
	var n []string
	for _, vm := range vms {
		n = append(n, vm.Name)
	}
	if len(n) > 5 {
		n = append(n[:5], "…")
	}
	return strings.Join(n, ", ")
}

func (c *UpdateHost) apply(s *State) (any, *Refusal) {
	if s.Hosts[c.Host] == nil {
		return refuse(CodeNotFound, "host %s is not a member", c.Host)
	}
	if r := s.addressesFree(c.Host, c.Addresses); r != nil {
		return nil, r
	}
	s.editHost(c.Host).Addresses = c.Addresses
	return nil, nil
}

// apply numbers the host's next life. The host stated that none of its VMs runs,
// so no wait is due: what the last life owned is free at once.
func (c *BeginIncarnation) apply(s *State) (any, *Refusal) {
	if r := s.inEpoch(c.Epoch); r != nil {
		return nil, r
	}
	h := s.editHost(c.Host)
	if h == nil {
		return refuse(CodeNotFound, "host %s is not a member", c.Host)
	}
	if c.Previous != h.Incarnation {
		return refuse(CodeStale, "%s asks for the life after incarnation %d, but its last one is %d", c.Host, c.Previous, h.Incarnation)
	}
	if c.BootID != h.BootID {
		h.Held = nil // somebody has switched it on
	}
	owned := s.Owned(h.Name, h.Incarnation)
	h.Incarnation++
	h.Volumes = s.Volumes.Revision // the host is told, and begins with no older one
	h.Watchdog = Watchdog{}        // it says it anew
	h.Aside = nil
	h.Shutdown = nil
	h.Status, h.BootID, h.Since, h.Verdict, h.Evidence = HostLive, c.BootID, c.At, "live", nil
	id := s.emit(c.Meta, Event{Type: EventHostAvailable, Host: h.Name,
		Text: fmt.Sprintf("%s begins incarnation %d: %s", h.Name, h.Incarnation, c.Why)})
	s.endMovesTo(h.Name, c.Meta, fmt.Sprintf("%s began incarnation %d", h.Name, h.Incarnation))
	for _, vm := range owned {
		vm = s.editVM(vm.UUID)
		s.release(vm, c.Meta, fmt.Sprintf("%s stopped it (%s)", h.Name, c.Why))
		vm.Cause = id
	}
	return h.Incarnation, nil
}

func (s *State) liveHost(name string, incarnation uint64) *Refusal {
	h := s.Hosts[name]
	switch {
	case h == nil:
		return &Refusal{CodeNotFound, fmt.Sprintf("host %s is not a member", name)}
	case h.Incarnation != incarnation:
		return &Refusal{CodeStale, fmt.Sprintf("%s is in incarnation %d, not %d", name, h.Incarnation, incarnation)}
	case h.Status != HostLive:
		return &Refusal{CodeStale, fmt.Sprintf("%s in incarnation %d is %s", name, incarnation, h.Status)}
	}
	return nil
}

func (c *SetVerdict) apply(s *State) (any, *Refusal) {
	if r := s.inEpoch(c.Epoch); r != nil {
		return nil, r
	}
	if r := s.liveHost(c.Host, c.Incarnation); r != nil {
		return nil, r
	}
	h := s.editHost(c.Host)
	if h.Verdict == c.Verdict {
		return nil, nil
	}
	h.Verdict, h.Evidence = c.Verdict, c.Evidence
	e := Event{Type: EventHostSuspected, Severity: Warning, Host: c.Host, Text: c.Text, Evidence: c.Evidence}
	switch c.Verdict {
	case "live":
		e.Type, e.Severity = EventHostHeardAgain, Info
		e.Cause = s.suspicion(c.Host)
	case "partitioned":
		e.Type = EventHostPartitioned
	case "isolated":
		e.Type = EventHostIsolated
	case "agent_down":
		e.Type = EventHostAgentDown
	}
	s.emit(c.Meta, e)
	return nil, nil
}

func (c *DeclareDead) apply(s *State) (any, *Refusal) {
	if r := s.inEpoch(c.Epoch); r != nil {
		return nil, r
	}
	if r := s.liveHost(c.Host, c.Incarnation); r != nil {
		return nil, r
	}
	return s.bury(c.Meta, c.Host, c.Heard, c.Evidence, c.Text), nil
}

// bury ends the present incarnation of a live host and returns how many VMs it owned.
func (s *State) bury(m Meta, host string, heard time.Time, ev []Evidence, text string) int {
	h := s.editHost(host)
	h.Status, h.Since, h.Verdict, h.Evidence = HostDead, m.At, "dead", ev
	owned := s.Owned(h.Name, h.Incarnation)
	id := s.emit(m, Event{Type: EventHostDead, Severity: Critical, Host: host, Text: text, Evidence: ev, Cause: s.suspicion(host)})
	s.endMovesTo(host, m, host+" was declared dead")
	for _, vm := range owned {
		vm = s.editVM(vm.UUID)
		ran := vm.Owner.Phase == PhaseRunning
		s.release(vm, m, fmt.Sprintf("%s was declared dead", h.Name))
		vm.Cause = id
		if ran && !heard.IsZero() && heard.Before(m.At) {
			vm.WaitingSince, vm.Lost = heard, true
		}
	}
	return len(owned)
}

// apply also serves a host that is dead already: what it never confirmed is then
// all that is left to answer for.
func (c *ConfirmOff) apply(s *State) (any, *Refusal) {
	if r := s.inEpoch(c.Epoch); r != nil {
		return nil, r
	}
	h := s.Hosts[c.Host]
	switch {
	case h == nil:
		return refuse(CodeNotFound, "host %s is not a member", c.Host)
	case h.Incarnation != c.Incarnation:
		return refuse(CodeStale, "%s is in incarnation %d, not %d", c.Host, h.Incarnation, c.Incarnation)
	}
	freed := 0
	if h.Status == HostLive {
		freed = s.bury(c.Meta, c.Host, c.Heard, c.Evidence, c.Text)
	}
	for _, vm := range s.SortedVMs() {
		if vm.Sighting == nil || vm.Sighting.Host != c.Host {
			continue
		}
		vm = s.editVM(vm.UUID)
		vm.Sighting, vm.Astray, vm.WaitingSince, vm.Lost = nil, true, c.At, false
		vm.Waiting = fmt.Sprintf("%s, where it was seen running, is off, says %s", c.Host, c.By)
		vm.Cause = s.emit(c.Meta, Event{Type: EventVMStopped, Severity: Warning, VM: vm.Name, Host: c.Host, Cause: vm.Cause,
			Text: vm.Name + " does not run any more: " + vm.Waiting})
		freed++
	}
	for uuid, host := range s.Loose {
		if host == c.Host {
			delete(s.writeLoose(), uuid)
		}
	}
	s.unfreeze(c.Host, c.Meta, fmt.Sprintf("%s is off, says %s", c.Host, c.By))
	return freed, nil
}

func (c *Protect) apply(s *State) (any, *Refusal) {
	if r := s.inEpoch(c.Epoch); r != nil {
		return nil, r
	}
	if vm := s.VMs[c.VM.UUID]; vm != nil {
		return refuse(CodeConflict, "VM %s is protected already, by %s", vm.Name, vm.By)
	}
	for _, vm := range s.SortedVMs() {
		if vm.Name == c.VM.Name {
			return refuse(CodeConflict,
				"another VM named %s (%s) is protected already: two definitions of one name cannot run on one host; rename one",
				vm.Name, vm.UUID)
		}
	}
	if s.Hosts[c.Host] == nil {
		return refuse(CodeNotFound, "host %s is not a member", c.Host)
	}
	if c.Running {
		if r := s.liveHost(c.Host, c.Incarnation); r != nil {
			return nil, r
		}
	}
	vm := VM{UUID: c.VM.UUID, Name: c.VM.Name, XML: c.VM.XML, XMLHash: c.VM.XMLHash, VCPUs: c.VM.VCPUs, Memory: c.VM.Memory,
		Intent: c.VM.Intent, By: c.By, Since: c.At, Generation: s.RetiredGeneration, Home: c.Host}
	if vm.Devices = c.VM.Devices; vm.Devices != nil {
		vm.DevicesOf = c.Host
	}
	if c.Running {
		vm.Intent = IntentRun
	}
	switch loose, was := s.Loose[vm.UUID]; {
	case was && !(c.Running && c.Host == loose): // its word first, also where it runs elsewhere by now: that is adopted after
		vm.see(loose, c.Meta)
		vm.Waiting = fmt.Sprintf("%s ran it when it was unprotected, and has not said what became of it", loose)
	case c.Running:
		vm.see(c.Host, c.Meta)
	}
	if s.Loose[vm.UUID] != "" {
		delete(s.writeLoose(), vm.UUID)
	}
	s.writeVMs()[vm.UUID] = &vm
	vm.Cause = s.emit(c.Meta, Event{Type: EventVMProtected, VM: vm.Name, Host: c.Host,
		Text: fmt.Sprintf("%s is protected, by %s", vm.Name, c.By)})
	return &vm, nil
}

func (c *Unprotect) apply(s *State) (any, *Refusal) {
	vm := s.VMs[c.UUID]
	if vm == nil {
		return refuse(CodeNotFound, "VM %s is not protected", c.UUID)
	}
	if vm.Move != nil {
		return refuse(CodeConflict,
			"%s is on its way to %s: wait until it is there, or call the move off with `haadm vms migrate %s --cancel`",
			vm.Name, vm.Move.Host, vm.Name)
	}
	if vm.Restart != nil {
		return refuse(CodeConflict, "%s is being restarted, and would stay down if nobody started it again: wait until it runs", vm.Name)
	}
	switch {
	case vm.Owner != nil:
		s.writeLoose()[vm.UUID] = vm.Owner.Host
	case vm.Sighting != nil:
		s.writeLoose()[vm.UUID] = vm.Sighting.Host
	}
	s.RetiredGeneration = max(s.RetiredGeneration, vm.Generation)
	delete(s.writeVMs(), c.UUID)
	s.emit(c.Meta, Event{Type: EventVMUnprotected, VM: vm.Name, Host: vm.Home,
		Text: fmt.Sprintf("%s is no longer protected; it is left as it is", vm.Name)})
	return nil, nil
}

func (c *Redefine) apply(s *State) (any, *Refusal) {
	if r := s.inEpoch(c.Epoch); r != nil {
		return nil, r
	}
	vm := s.editVM(c.UUID)
	if vm == nil {
		return refuse(CodeNotFound, "VM %s is not protected", c.UUID)
	}
	if vm.XMLHash == c.XMLHash && slices.Equal(vm.Devices, c.Devices) && (c.Devices == nil || vm.DevicesOf == c.Host) {
		return nil, nil
	}
	if o := vm.Owner; o != nil && o.Phase == PhaseOrdered && o.Devices != nil {
		return refuse(CodeConflict, "%s is being started on %s, with devices that were chosen by the definition that is known", vm.Name, o.Host)
	}
	for _, other := range s.SortedVMs() {
		if other.Name == c.Name && other.UUID != c.UUID {
			return refuse(CodeConflict, "%s was renamed to %s, but another protected VM (%s) has that name", vm.Name, c.Name, other.UUID)
		}
	}
	same := vm.XMLHash == c.XMLHash
	changed := vm.reads(s, c)
	vm.Name, vm.XML, vm.XMLHash, vm.VCPUs, vm.Memory = c.Name, c.XML, c.XMLHash, c.VCPUs, c.Memory
	if same && !changed {
		return nil, nil // it names the devices of another host, as it was started there
	}
	vm.Failures = nil // they were another definition's
	s.emit(c.Meta, Event{Type: EventVMRedefined, VM: vm.Name, Host: vm.Home, Text: fmt.Sprintf("the definition of %s changed", vm.Name)})
	return nil, nil
}

func (c *SetIntent) apply(s *State) (any, *Refusal) {
	vm := s.editVM(c.UUID)
	if vm == nil {
		return refuse(CodeNotFound, "VM %s is not protected", c.UUID)
	}
	if vm.Sighting != nil {
		return refuse(CodeConflict,
			"%s was seen running on %s, which has not confirmed yet that it guards it: try again in a moment", vm.Name, vm.Sighting.Host)
	}
	if vm.Intent == c.Intent {
		if was := vm.Asked; vm.Owner == nil && vm.asks(s) && !was {
			vm.Cause = s.emit(c.Meta, Event{Type: EventVMIntentChanged, VM: vm.Name, Host: vm.Home, Cause: vm.Cause,
				Text: fmt.Sprintf("%s is started though the cluster is disarmed: %s", vm.Name, c.Why)})
		}
		return nil, nil
	}
	vm.Intent = c.Intent
	vm.Failures = nil
	vm.Restart = nil // a stop that comes in the middle of it is a person's last word
	vm.Frozen = nil
	if vm.Move != nil {
		s.endMove(vm, c.Meta, "it shall stop")
	}
	id := s.emit(c.Meta, Event{Type: EventVMIntentChanged, VM: vm.Name, Host: vm.Home,
		Text: fmt.Sprintf("%s shall %s: %s", vm.Name, c.Intent, c.Why)})
	if c.Intent == IntentRun && vm.Owner == nil && vm.Sighting == nil {
		vm.WaitingSince, vm.Lost, vm.Waiting, vm.Cause = c.At, false, "a person wants it running", id
	}
	vm.Asked = false
	vm.asks(s) // also while its host has it still, and is about to have stopped it
	return nil, nil
}

func (c *ApplyPolicy) apply(s *State) (any, *Refusal) {
	if c.Previous != s.Policy.Revision {
		return refuse(CodeConflict, "the policy is at revision %d, changed by %s since you looked at revision %d: plan again",
			s.Policy.Revision, s.Policy.By, c.Previous)
	}
	s.Policy = Policy{Revision: c.Previous + 1, Files: c.Files, By: c.By, At: c.At}
	s.emit(c.Meta, Event{Type: EventPolicyApplied, Text: fmt.Sprintf("policy revision %d applied", s.Policy.Revision)})
	return s.Policy.Revision, nil
}

func (c *Record) apply(s *State) (any, *Refusal) {
	if r := s.inEpoch(c.Epoch); r != nil {
		return nil, r
	}
	for _, e := range c.Events {
		s.emit(c.Meta, e)
	}
	return nil, nil
}

func (c *SetWaiting) apply(s *State) (any, *Refusal) {
	if r := s.inEpoch(c.Epoch); r != nil {
		return nil, r
	}
	vm := s.editVM(c.UUID)
	if vm == nil {
		return refuse(CodeNotFound, "VM %s is not protected", c.UUID)
	}
	if vm.Owner != nil || vm.Sighting != nil || vm.Waiting == c.Why {
		return nil, nil
	}
	vm.Waiting = c.Why
	e := Event{Type: EventVMNoHost, Severity: Critical, VM: vm.Name, From: vm.Home, Cause: vm.Cause, Considered: c.Considered,
		Text: fmt.Sprintf("%s cannot be started: %s", vm.Name, c.Why)}
	switch c.For {
	case WaitHeld:
		e.Type, e.Severity, e.Text = EventVMHeld, Info, fmt.Sprintf("%s is not started yet: %s", vm.Name, c.Why)
	case WaitGivenUp:
		e.Type, e.Text = EventVMGivenUp, fmt.Sprintf("%s is given up: %s", vm.Name, c.Why)
	}
	s.emit(c.Meta, e)
	return nil, nil
}
