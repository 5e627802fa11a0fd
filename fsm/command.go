package fsm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// Type numbers a command in the log. Numbers are never reused or changed.
type Type uint8

const (
	TypeCreateCluster    Type = 1
	TypeTakeOffice       Type = 2
	TypeCreateToken      Type = 3
	TypeRevokeToken      Type = 4
	TypeAddHost          Type = 5
	TypeRemoveHost       Type = 6
	TypeUpdateHost       Type = 7
	TypeBeginIncarnation Type = 8
	TypeSetVerdict       Type = 9
	TypeDeclareDead      Type = 10
	TypeProtect          Type = 11
	TypeUnprotect        Type = 12
	TypeRedefine         Type = 13
	TypeAssign           Type = 14
	TypeReport           Type = 15
	TypeSetIntent        Type = 16
	TypeApplyPolicy      Type = 17
	TypeRecord           Type = 18
	TypeSetWaiting       Type = 19
	TypeAdopt            Type = 20
	TypeConfirmOff       Type = 21
	TypeSetVolumes       Type = 22
	TypeNoteVolumes      Type = 23
	TypeNoteWatchdog     Type = 24
	TypeBeginMove        Type = 25
	TypeEndMove          Type = 26
	TypeSetMaintenance   Type = 27
	TypeRetryVM          Type = 28
	TypeHoldHost         Type = 30
	TypeRestartVM        Type = 31
	TypeStandAside       Type = 34
	TypeNoteShutdown     Type = 33
	TypeDisarmCluster    Type = 35
	TypeArmCluster       Type = 36
	TypeWarnArms         Type = 37
)

// Command is one change of the state. Only the types of this package implement it.
type Command interface {
	kind() Type
	// check validates what can be seen without the state.
	check() error
	// apply changes the state or refuses; it must not change anything when it refuses.
	apply(*State) (any, *Refusal)
}

// Refusal is why a command was not carried out. It is the same on every member.
type Refusal struct {
	Code    Code   `json:"code"`
	Message string `json:"message"` // for people: what, why and what to do
}

// Error implements error.
func (r *Refusal) Error() string { return r.Message }

// Code classifies a refusal for callers that branch on it.
type Code string

const (
	CodeBadCommand Code = "bad_command" // cannot be decoded, or is of a type or version not known here
	CodeInvalid    Code = "invalid"     // a field is out of its range
	CodeNotFound   Code = "not_found"
	CodeConflict   Code = "conflict" // the state is not what the proposer thought: look again
	CodeStale      Code = "stale"    // of an earlier epoch, incarnation or generation
	CodeDenied     Code = "denied"   // token wrong, used or expired
)

func refuse(c Code, format string, args ...any) (any, *Refusal) {
	return nil, &Refusal{Code: c, Message: fmt.Sprintf(format, args...)}
}

// Meta is what every command carries: when, by the proposer's wall clock (for
// people only), and who asked.
type Meta struct {
	At time.Time `json:"at"`
	By string    `json:"by,omitempty"`
}

// CreateCluster is the first command of a log.
type CreateCluster struct {
	Meta
	Cluster Cluster           `json:"cluster"`
	Host    Host              `json:"host"` // the first member
	Policy  map[string][]byte `json:"policy"`
}

// TakeOffice begins a new epoch. Every later command of the office names it and
// is refused once another epoch has begun.
type TakeOffice struct {
	Meta
	Master string `json:"master"`
	// Epoch must be one more than the last.
	Epoch uint64 `json:"epoch"`
}

// CreateToken commits an invitation before it is shown to anybody.
type CreateToken struct {
	Meta
	Token Token `json:"token"`
}

// RevokeToken takes an unused invitation back.
type RevokeToken struct {
	Meta
	ID string `json:"id"`
}

// AddHost admits a host by its token, which it uses up. A machine that asks again is
// told the same.
type AddHost struct {
	Meta
	TokenID    string `json:"token_id"`
	SecretHash []byte `json:"secret_hash"`
	Host       Host   `json:"host"`
}

// RemoveHost takes a member out. It is refused while the host owns VMs, unless
// its incarnation is dead.
type RemoveHost struct {
	Meta
	Host string `json:"host"`
}

// UpdateHost changes a host's addresses.
type UpdateHost struct {
	Meta
	Host      string    `json:"host"`
	Addresses []Address `json:"addresses"`
}

// BeginIncarnation starts a new life of a host that has proven that none of its
// protected VMs runs: what its earlier incarnation owned is released.
type BeginIncarnation struct {
	Meta
	Epoch uint64 `json:"epoch"`
	Host  string `json:"host"`
	// Previous is the incarnation the host knew last (compare-and-set).
	Previous uint64 `json:"previous"`
	BootID   string `json:"boot_id"`
	Why      string `json:"why"` // why a new one is due: "first start", "rebooted", "lease ended", …
}

// SetVerdict commits a verdict that people or recovery go by.
type SetVerdict struct {
	Meta
	Epoch       uint64     `json:"epoch"`
	Host        string     `json:"host"`
	Incarnation uint64     `json:"incarnation"`
	Verdict     string     `json:"verdict"`
	Evidence    []Evidence `json:"evidence"`
	Text        string     `json:"text"`
}

// DeclareDead is HostDead(h, i, E): from here on the incarnation is over, and
// what it owned may be placed elsewhere.
type DeclareDead struct {
	Meta
	Epoch       uint64 `json:"epoch"`
	Host        string `json:"host"`
	Incarnation uint64 `json:"incarnation"`
	// Heard is when the host was last heard, by the proposer's wall clock; zero
	// when it has not been heard since the proposer took office.
	Heard    time.Time  `json:"heard,omitzero"`
	Evidence []Evidence `json:"evidence"`
	Text     string     `json:"text"`
}

// ConfirmOff says that a host is off: somebody who can know it vouches (Meta.By).
// It ends the incarnation as DeclareDead does, without a wait, and it answers for
// the VMs that were seen running there and that the host never confirmed.
type ConfirmOff struct {
	Meta
	Epoch       uint64 `json:"epoch"`
	Host        string `json:"host"`
	Incarnation uint64 `json:"incarnation"`
	// Heard is as in DeclareDead.
	Heard    time.Time  `json:"heard,omitzero"`
	Evidence []Evidence `json:"evidence"`
	Text     string     `json:"text"`
}

// Protect puts a VM under protection. When it runs, Owner is the incarnation
// that runs it.
type Protect struct {
	Meta
	Epoch uint64 `json:"epoch"`
	VM    VM     `json:"vm"`
	// Running says that Host runs it now.
	Running     bool   `json:"running"`
	Host        string `json:"host"`
	Incarnation uint64 `json:"incarnation"`
}

// Unprotect lets a VM go. It goes on running where it runs.
type Unprotect struct {
	Meta
	UUID string `json:"uuid"`
}

// Redefine replaces a protected VM's definition.
type Redefine struct {
	Meta
	Epoch   uint64 `json:"epoch"`
	UUID    string `json:"uuid"`
	Name    string `json:"name"`
	XML     []byte `json:"xml"`
	XMLHash string `json:"xml_hash"`
	VCPUs   int    `json:"vcpus"`
	Memory  uint64 `json:"memory"`
	// Host is where it was read, and Devices are as in VM; none: it hands over no devices that could
	// be exchanged.
	Host    string   `json:"host,omitempty"`
	Devices []string `json:"devices,omitempty"`
}

// Assign is a placement: a compare-and-set on the generation (O1).
type Assign struct {
	Meta
	Epoch uint64 `json:"epoch"`
	UUID  string `json:"uuid"`
	// Previous is the generation that the proposer saw; the placement gets the next.
	Previous    uint64 `json:"previous"`
	Host        string `json:"host"`
	Incarnation uint64 `json:"incarnation"`
	// Round numbers the tries to start the VM by the policy's schedule, from 1; each is one
	// on every host that could take it. 0: it is no matter.
	Round int    `json:"round,omitempty"`
	Why   string `json:"why"`
	// Devices are as in Placement.
	Devices []string `json:"devices,omitempty"`
	// Considered is what was said of every host that was looked at.
	Considered []Lot `json:"considered,omitempty"`
}

// Outcome is what a host reports of one generation of a VM that it owns.
type Outcome string

const (
	OutcomeRunning     Outcome = "running"      // it runs
	OutcomeStopped     Outcome = "stopped"      // the guest or a person shut it down: respected
	OutcomeCrashed     Outcome = "crashed"      // released: gone without anybody's wish
	OutcomeStartFailed Outcome = "start_failed" // released: it could not be started
	OutcomeReleased    Outcome = "released"     // released: proven not running, will never run in this generation (O3)
)

// Report commits what a host says of a VM it owns. The releasing outcomes end its ownership.
type Report struct {
	Meta
	Epoch       uint64  `json:"epoch"`
	UUID        string  `json:"uuid"`
	Host        string  `json:"host"`
	Incarnation uint64  `json:"incarnation"`
	Generation  uint64  `json:"generation"`
	Outcome     Outcome `json:"outcome"`
	Detail      string  `json:"detail"`
	// Move is the one that a moving outcome is of (Move.ID).
	Move uint64 `json:"move,omitempty"`
}

// SetIntent changes what people want of a VM.
type SetIntent struct {
	Meta
	UUID   string `json:"uuid"`
	Intent Intent `json:"intent"`
	Why    string `json:"why"`
}

// ApplyPolicy replaces the policy's text (compare-and-set on its revision).
type ApplyPolicy struct {
	Meta
	Previous uint64            `json:"previous"`
	Files    map[string][]byte `json:"files"`
}

// Record adds events that change nothing else.
type Record struct {
	Meta
	Epoch  uint64  `json:"epoch"`
	Events []Event `json:"events"` // ID and At are set by Apply
}

// Adopt notes that a VM that nobody owns was seen running on a host: a person
// started it there by hand. The host becomes its owner with its own report.
type Adopt struct {
	Meta
	Epoch       uint64 `json:"epoch"`
	UUID        string `json:"uuid"`
	Previous    uint64 `json:"previous"` // the generation that the proposer saw
	Host        string `json:"host"`
	Incarnation uint64 `json:"incarnation"`
}

// Wait is what a VM waits for that shall run and is nobody's.
type Wait string

const (
	WaitNoHost  Wait = ""         // a host that could take it
	WaitHeld    Wait = "held"     // others, which start before it
	WaitGivenUp Wait = "given_up" // a person, or a change of the cluster: every try failed
)

// SetWaiting notes why a VM that shall run is nobody's, once per reason.
type SetWaiting struct {
	Meta
	Epoch uint64 `json:"epoch"`
	UUID  string `json:"uuid"`
	For   Wait   `json:"for,omitempty"`
	Why   string `json:"why"`
	// Considered is what excluded every host, where no host can take it.
	Considered []Lot `json:"considered,omitempty"`
}

func (*CreateCluster) kind() Type    { return TypeCreateCluster }
func (*TakeOffice) kind() Type       { return TypeTakeOffice }
func (*CreateToken) kind() Type      { return TypeCreateToken }
func (*RevokeToken) kind() Type      { return TypeRevokeToken }
func (*AddHost) kind() Type          { return TypeAddHost }
func (*RemoveHost) kind() Type       { return TypeRemoveHost }
func (*UpdateHost) kind() Type       { return TypeUpdateHost }
func (*BeginIncarnation) kind() Type { return TypeBeginIncarnation }
func (*SetVerdict) kind() Type       { return TypeSetVerdict }
func (*DeclareDead) kind() Type      { return TypeDeclareDead }
func (*Protect) kind() Type          { return TypeProtect }
func (*Unprotect) kind() Type        { return TypeUnprotect }
func (*Redefine) kind() Type         { return TypeRedefine }
func (*Assign) kind() Type           { return TypeAssign }
func (*Report) kind() Type           { return TypeReport }
func (*SetIntent) kind() Type        { return TypeSetIntent }
func (*ApplyPolicy) kind() Type      { return TypeApplyPolicy }
func (*Record) kind() Type           { return TypeRecord }
func (*SetWaiting) kind() Type       { return TypeSetWaiting }
func (*Adopt) kind() Type            { return TypeAdopt }
func (*ConfirmOff) kind() Type       { return TypeConfirmOff }

func blank(t Type) Command {
	switch t {
	case TypeCreateCluster:
		return &CreateCluster{}
	case TypeTakeOffice:
		return &TakeOffice{}
	case TypeCreateToken:
		return &CreateToken{}
	case TypeRevokeToken:
		return &RevokeToken{}
	case TypeAddHost:
		return &AddHost{}
	case TypeRemoveHost:
		return &RemoveHost{}
	case TypeUpdateHost:
		return &UpdateHost{}
	case TypeBeginIncarnation:
		return &BeginIncarnation{}
	case TypeSetVerdict:
		return &SetVerdict{}
	case TypeDeclareDead:
		return &DeclareDead{}
	case TypeProtect:
		return &Protect{}
	case TypeUnprotect:
		return &Unprotect{}
	case TypeRedefine:
		return &Redefine{}
	case TypeAssign:
		return &Assign{}
	case TypeReport:
		return &Report{}
	case TypeSetIntent:
		return &SetIntent{}
	case TypeApplyPolicy:
		return &ApplyPolicy{}
	case TypeRecord:
		return &Record{}
	case TypeSetWaiting:
		return &SetWaiting{}
	case TypeAdopt:
		return &Adopt{}
	case TypeConfirmOff:
		return &ConfirmOff{}
	case TypeSetVolumes:
		return &SetVolumes{}
	case TypeNoteVolumes:
		return &NoteVolumes{}
	case TypeNoteWatchdog:
		return &NoteWatchdog{}
	case TypeBeginMove:
		return &BeginMove{}
	case TypeEndMove:
		return &EndMove{}
	case TypeSetMaintenance:
		return &SetMaintenance{}
	case TypeRetryVM:
		return &RetryVM{}
	case TypeHoldHost:
		return &HoldHost{}
	case TypeRestartVM:
		return &RestartVM{}
	case TypeStandAside:
		return &StandAside{}
	case TypeNoteShutdown:
		return &NoteShutdown{}
	case TypeDisarmCluster:
		return &DisarmCluster{}
	case TypeArmCluster:
		return &ArmCluster{}
	case TypeWarnArms:
		return &WarnArms{}
	}
	return nil
}

// commandVersion is the first byte of every command.
const commandVersion = 1

// MaxCommand is the largest command that is accepted, in bytes.
const MaxCommand = 1 << 20

// Encode writes a command for the log: a version byte, a type byte, JSON.
func Encode(c Command) ([]byte, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	body, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode command %d: %w", c.kind(), err)
	}
	if len(body)+2 > MaxCommand {
		return nil, fmt.Errorf("command of %d bytes is larger than the %d that the log takes", len(body)+2, MaxCommand)
	}
	return append([]byte{commandVersion, byte(c.kind())}, body...), nil
}

// Decode reads a command strictly: an unknown version, type or field, a missing
// or trailing byte, or a value out of range is an error, the same on every member.
func Decode(b []byte) (Command, error) {
	if len(b) < 2 {
		return nil, fmt.Errorf("command of %d bytes is too short", len(b))
	}
	if len(b) > MaxCommand {
		return nil, fmt.Errorf("command of %d bytes is larger than %d", len(b), MaxCommand)
	}
	if b[0] != commandVersion {
		return nil, fmt.Errorf("command version %d is not known here (%d is): upgrade this member", b[0], commandVersion)
	}
	c := blank(Type(b[1]))
	if c == nil {
		return nil, fmt.Errorf("command type %d is not known here: upgrade this member", b[1])
	}
	if len(b) > 2 && b[2] != '{' { // json takes null for a command without fields
		return nil, fmt.Errorf("command of type %d is not an object", b[1])
	}
	dec := json.NewDecoder(bytes.NewReader(b[2:]))
	dec.DisallowUnknownFields()
	if err := dec.Decode(c); err != nil {
		return nil, fmt.Errorf("decode command of type %d: %w", b[1], err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("command of type %d has bytes after its end", b[1])
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	return c, nil
}
