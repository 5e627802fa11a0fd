package api

import (
	"time"

	"github.com/holdfast-ha/holdfast/cluster/whatif"
	"github.com/holdfast-ha/holdfast/fsm"
)

// MaintenanceRequest takes a host out of service, or puts it back.
type MaintenanceRequest struct {
	On  bool   `json:"on"`
	Why string `json:"why,omitempty"`
	// EvenIfNoSpare agrees to have too little room left for failures, where admission
	// control would refuse it.
	EvenIfNoSpare bool `json:"even_if_no_spare,omitempty"`
}

// MaintenanceAnswer is the answer to GET /v1/hosts/{host}/maintenance: what taking the host
// out of service would come to; of one that is, what is left to be done and what comes back after.
type MaintenanceAnswer struct {
	Schema int     `json:"schema"`
	Source *Source `json:"source"`
	Host   string  `json:"host"`
	// State is that of the host, and Maintenance is set while it is out of service.
	State       string           `json:"state"`
	Master      bool             `json:"master,omitempty"` // it holds the office
	Maintenance *MaintenanceView `json:"maintenance,omitempty"`
	// Running are its VMs: protected ones that it owns, and others that run there.
	Running []LeavingVM `json:"running"`
	// Empty: it is in maintenance, and no VM is left.
	Empty bool `json:"empty"`
	// Out is what the master does, or would do, to empty it.
	Out *whatif.Service `json:"out"`
	// Back is what would come to it once it is back in service; only where it is out.
	Back *whatif.Service `json:"back,omitempty"`
	// Voters are those that answer, with this host among them or not, and Needed how many a
	// majority takes.
	Voters int  `json:"voters"`
	Needed int  `json:"voters_needed"`
	Votes  bool `json:"votes"` // this host has a vote
}

// LeavingVM is one VM on a host that is taken out of service.
type LeavingVM struct {
	Name      string `json:"name"`
	UUID      string `json:"uuid"`
	Protected bool   `json:"protected"`
	State     string `json:"state"`
	// Move is set while it is on its way.
	Move *MoveView `json:"move,omitempty"`
	// Failed are its moves that came to nothing, newest last.
	Failed []FailureView `json:"failed,omitempty"`
	// Again is when it is tried again after those; left out: that is over, or none has failed.
	Again time.Time `json:"again,omitzero"`
	// Blocked says why it stays; empty: it goes, or waits for its turn.
	Blocked string `json:"blocked,omitempty"`
}

// MaintenanceView says since when a host is out of service, by whom and why.
type MaintenanceView struct {
	Since time.Time `json:"since"`
	By    string    `json:"by,omitempty"`
	Why   string    `json:"why,omitempty"`
	// Left is how many VMs run there yet; Staying are those that nothing moves, each with
	// the reason. Nil where that is not known: only the master does.
	Left    *int             `json:"left,omitempty"`
	Staying []whatif.Staying `json:"staying,omitempty"`
}

// MoveView is a VM's way to another host.
type MoveView struct {
	ID   uint64    `json:"id"`
	To   string    `json:"to"`
	Cold bool      `json:"cold,omitempty"` // it is shut down and started there
	At   time.Time `json:"at"`
	By   string    `json:"by,omitempty"` // a person, where one asked for it
	Why  string    `json:"why"`
}

func moveView(m *fsm.Move) *MoveView {
	if m == nil {
		return nil
	}
	return &MoveView{ID: m.ID, To: m.Host, Cold: m.Cold, At: m.At, By: m.By, Why: m.Why}
}

// MoveRequest has VMs moved. POST /v1/moves/plan asks what would come of it.
type MoveRequest struct {
	// VMs are protected ones, by name or UUID. They go together or not at all.
	VMs []string `json:"vms"`
	// Host is where they go; empty: where each fits best.
	Host string `json:"host,omitempty"`
	// Cold has them shut down and started there.
	Cold bool   `json:"cold,omitempty"`
	Why  string `json:"why,omitempty"`
	// EvenIfNoSpare is as in MaintenanceRequest.
	EvenIfNoSpare bool `json:"even_if_no_spare,omitempty"`
}

// MoveAnswer is what would come, or came, of a MoveRequest.
type MoveAnswer struct {
	Schema int     `json:"schema"`
	Source *Source `json:"source"`
	whatif.Granted
	// Orders are the numbers of the moves that were ordered, by UUID; 0 for a VM that is
	// stopped, and only belongs elsewhere now. None in an answer to a question.
	Orders map[string]uint64 `json:"orders,omitempty"`
}

// RestartRequest has a VM that runs shut down and started again.
type RestartRequest struct {
	Why string `json:"why,omitempty"`
	// EvenIfNoSpare is as in MaintenanceRequest.
	EvenIfNoSpare bool `json:"even_if_no_spare,omitempty"`
}

// RestartAnswer is the answer to a RestartRequest: it is ordered, and goes on by itself.
type RestartAnswer struct {
	Schema int    `json:"schema"`
	Done   string `json:"done"`
	// Order is the number of the restart, RestartView.ID while the VM is being shut down.
	Order uint64 `json:"order"`
	// Generation is that of the VM now: once it runs in a later one it has been started again.
	Generation uint64 `json:"generation"`
}

// RestartView is a restart whose VM is not down yet.
type RestartView struct {
	ID  uint64    `json:"id"`
	At  time.Time `json:"at"`
	By  string    `json:"by,omitempty"`
	Why string    `json:"why"`
}

// IntentRequest has a VM started or stopped.
type IntentRequest struct {
	Intent fsm.Intent `json:"intent"`
	Why    string     `json:"why,omitempty"`
	// EvenIfNoSpare is as in MaintenanceRequest.
	EvenIfNoSpare bool `json:"even_if_no_spare,omitempty"`
}
