package api

import (
	"time"

	"github.com/holdfast-ha/holdfast/cluster/whatif"
)

// HostList is the answer to GET /v1/hosts.
type HostList struct {
	Schema int        `json:"schema"`
	Source *Source    `json:"source"`
	Hosts  []HostView `json:"hosts"`
}

func (a *HostList) setNote(n string) { a.Source.Note = n }

// HostAnswer is the answer to GET /v1/hosts/{host}.
type HostAnswer struct {
	Schema int      `json:"schema"`
	Source *Source  `json:"source"`
	Host   HostView `json:"host"`
}

func (a *HostAnswer) setNote(n string) { a.Source.Note = n }

// VMList is the answer to GET /v1/vms. Only the master knows of VMs outside protection.
type VMList struct {
	Schema int      `json:"schema"`
	Source *Source  `json:"source"`
	VMs    []VMView `json:"vms"`
}

func (a *VMList) setNote(n string) { a.Source.Note = n }

// VMAnswer is the answer about one VM.
type VMAnswer struct {
	Schema int     `json:"schema"`
	Source *Source `json:"source"`
	VM     VMView  `json:"vm"`
}

func (a *VMAnswer) setNote(n string) { a.Source.Note = n }

// MemberList is the answer to GET /v1/members.
type MemberList struct {
	Schema  int          `json:"schema"`
	Source  *Source      `json:"source"`
	Members []MemberView `json:"members"`
}

func (a *MemberList) setNote(n string) { a.Source.Note = n }

// MemberView is one raft server as it is shown.
type MemberView struct {
	Name      string    `json:"name"`
	Addresses []Address `json:"addresses"`
	Voter     bool      `json:"voter"`
	Master    bool      `json:"master"`
	// Contact is since the master last heard it; nil when that is not known.
	Contact *Seconds `json:"contact_seconds,omitempty"`
	Applied uint64   `json:"applied"`
	Healthy bool     `json:"healthy"`
}

// TokenList is the answer to GET /v1/tokens. The tokens themselves are kept nowhere.
type TokenList struct {
	Schema int         `json:"schema"`
	Source *Source     `json:"source"`
	Tokens []TokenView `json:"tokens"`
}

func (a *TokenList) setNote(n string) { a.Source.Note = n }

// TokenView is one invitation to join.
type TokenView struct {
	ID      string    `json:"id"`
	State   string    `json:"state"`          // open, used, expired
	Host    string    `json:"host,omitempty"` // the only host that may use it; empty: any
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
	By      string    `json:"by"`
	UsedBy  string    `json:"used_by,omitempty"`
}

// TokenRequest asks for an invitation.
type TokenRequest struct {
	Host string  `json:"host,omitempty"`
	TTL  Seconds `json:"ttl_seconds"`
}

// TokenCreated holds an invitation, the one time that it is shown.
type TokenCreated struct {
	Schema  int       `json:"schema"`
	Token   string    `json:"token"`
	ID      string    `json:"id"`
	Host    string    `json:"host,omitempty"`
	Expires time.Time `json:"expires"`
}

// PolicyAnswer is the policy in force, as its author wrote it. Secrets in it are
// Masked unless they were asked for with ?secrets=1.
type PolicyAnswer struct {
	Schema   int               `json:"schema"`
	Source   *Source           `json:"source"`
	Revision uint64            `json:"revision"` // 0: the default policy
	By       string            `json:"by,omitempty"`
	At       time.Time         `json:"at,omitzero"`
	Files    map[string]string `json:"files"` // HCL by file name
}

func (a *PolicyAnswer) setNote(n string) { a.Source.Note = n }

// PolicyRequest replaces the policy, if its revision is still Previous.
type PolicyRequest struct {
	Files    map[string]string `json:"files"`
	Previous uint64            `json:"previous"`
	// EvenIfNoSpare agrees to a policy that asks for more room for failures than there is,
	// where admission control would refuse it.
	EvenIfNoSpare bool `json:"even_if_no_spare,omitempty"`
}

// PolicyCheck is what a policy would do to the room for failures.
type PolicyCheck struct {
	Schema int     `json:"schema"`
	Source *Source `json:"source"`
	whatif.PolicyChange
}

// PolicyApplied is the revision that the policy got.
type PolicyApplied struct {
	Schema   int    `json:"schema"`
	Revision uint64 `json:"revision"`
}

// HostRequest names a host.
type HostRequest struct {
	Host string `json:"host"`
}

// FenceList is the answer to GET /v1/fence.
type FenceList struct {
	Schema  int           `json:"schema"`
	Devices []FenceDevice `json:"devices"`
}

// What can be asked of a host's fence devices.
const (
	FenceOff    = "off"    // switch off, prove it, and let its VMs start elsewhere
	FenceOn     = "on"     // switch on
	FenceReboot = "reboot" // both, one after the other
)

// FenceRequest has a host switched by its fence devices.
type FenceRequest struct {
	Action string `json:"action"` // one of FenceOff, FenceOn, FenceReboot
	// EvenIfHeard agrees to switch off a host that is heard, with all that runs on it.
	EvenIfHeard bool `json:"even_if_heard,omitempty"`
}

// FenceReport is what became of a FenceRequest.
type FenceReport struct {
	Schema   int        `json:"schema"`
	Host     string     `json:"host"`
	Action   string     `json:"action"`
	Done     bool       `json:"done"`            // all of it, and proven
	Evidence string     `json:"evidence"`        // in words, why it is done or why not
	Tries    []FenceTry `json:"tries,omitempty"` // to switch off, in order
	Freed    int        `json:"freed"`           // VMs that may start elsewhere for it
}

// FenceTry is one attempt to switch a host off.
type FenceTry struct {
	Level  int     `json:"level"` // from 1
	Device string  `json:"device"`
	Number int     `json:"number"` // of the tries on this device
	Done   bool    `json:"done"`   // and verified
	Text   string  `json:"text"`
	Took   Seconds `json:"took_seconds"`
}

// Done says in words what was done.
type Done struct {
	Schema int    `json:"schema"`
	Done   string `json:"done"`
}

func texts(files map[string][]byte) map[string]string {
	out := make(map[string]string, len(files))
	for name, b := range files {
		out[name] = string(b)
	}
	return out
}
