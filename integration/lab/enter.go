package lab

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strings"
)

// The names under which this binary is executed again. They are what a person
// sees in ps, and what Sweep looks for.
const (
	hostProcess   = "holdfast-lab-host"
	keeperProcess = "holdfast-lab-keeper"
)

// controlFD is where a child finds its end of the control connection. Its end of
// file means that the lab's process is gone.
const controlFD = 3

// Enter must be the first thing that main or TestMain of a program with a lab
// calls. When the program was executed as a part of a lab (the first process of
// a host, or the keeper) Enter does that part's work and does not return;
// otherwise it returns at once.
func Enter() {
	var part func(*control) error
	switch os.Args[0] {
	case hostProcess:
		part = runHost
	case keeperProcess:
		part = runKeeper
	default:
		return
	}
	conn, err := controlFromFD()
	if err == nil {
		err = part(conn)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", strings.Join(os.Args, " "), err)
		os.Exit(1)
	}
	os.Exit(0)
}

// control is a connection between the lab's process and one of its parts: one
// JSON value there, one JSON value back. One user at a time.
type control struct {
	net.Conn
	enc *json.Encoder
	dec *json.Decoder
}

func newControl(f *os.File) (*control, error) {
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("control connection: %w", err)
	}
	return &control{Conn: conn, enc: json.NewEncoder(conn), dec: json.NewDecoder(conn)}, nil
}

func controlFromFD() (*control, error) {
	f := os.NewFile(controlFD, "control")
	if f == nil {
		return nil, fmt.Errorf("no control connection on descriptor %d", controlFD)
	}
	defer f.Close()
	return newControl(f)
}

// request is what the lab asks of a host's first process, or of the keeper.
type request struct {
	// Op is view, start, signal, stop, list, mount or unmount for a host, and attach,
	// unmount, freeze, thaw or fail for the keeper.
	Op string

	View *view `json:",omitempty"` // view

	Name string   `json:",omitempty"` // start, signal, stop: the program's name in this host
	Argv []string `json:",omitempty"` // start
	Env  []string `json:",omitempty"` // start: added to the environment
	Log  string   `json:",omitempty"` // start: file for its output
	// Restart has the program started again whenever it ends, until it is stopped.
	Restart bool `json:",omitempty"`
	Signal  int  `json:",omitempty"` // signal

	// Mount is the directory of a volume, Device what a host mounts there.
	Mount  string `json:",omitempty"`
	Device string `json:",omitempty"`
}

// reply is the answer. Running lists the programs that were started and have not
// ended; one that is about to be started again has PID 0.
type reply struct {
	Error   string         `json:",omitempty"`
	Running map[string]int `json:",omitempty"` // name to PID inside the host
	Device  loopDevice     // attach: what the image is on
}
