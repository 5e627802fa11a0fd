package apart

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"github.com/holdfast-ha/holdfast/storagehb"
)

// What a process is asked to do.
const (
	opOpen  = "open"
	opRead  = "read"
	opWrite = "write"
	opClose = "close"
)

type request struct {
	Op     string `json:"op"`
	Length int    `json:"length,omitempty"`
	Offset int64  `json:"offset,omitempty"`
}

type answer struct {
	N     int    `json:"n,omitempty"`
	Error string `json:"error,omitempty"`
	// Errno is the kernel's number of the error, when it has one.
	Errno int `json:"errno,omitempty"`
}

func answerOf(n int, err error) answer {
	a := answer{N: n}
	if err != nil {
		a.Error = err.Error()
		var errno syscall.Errno
		if errors.As(err, &errno) {
			a.Errno = int(errno)
		}
	}
	return a
}

func (a answer) err() error {
	switch {
	case a.Error == "":
		return nil
	case a.Errno != 0:
		return &numbered{a.Error, syscall.Errno(a.Errno)}
	}
	return errors.New(a.Error)
}

// numbered is an error of the other process with the kernel's number, so that it can
// be told apart here as it can be there.
type numbered struct {
	text  string
	errno syscall.Errno
}

func (e *numbered) Error() string { return e.text }
func (e *numbered) Unwrap() error { return e.errno }

// Serve is the work of a process that an Opener started for the volume at path. It
// returns when the other side is gone, which it notices once no I/O is under way;
// the error says what is wrong with how it was started.
func Serve(path string) error {
	socket := os.NewFile(socketFD, "volume")
	conn, err := net.FileConn(socket)
	if err != nil {
		return fmt.Errorf("this is started by the agent, and does nothing by hand: %w", err)
	}
	defer conn.Close()
	if err := socket.Close(); err != nil {
		return fmt.Errorf("close the inherited connection: %w", err)
	}
	memory, err := mapShared(memoryFD)
	if err != nil {
		return err
	}
	s := server{path: path, memory: memory}
	enc, dec := json.NewEncoder(conn), json.NewDecoder(conn)
	for {
		var r request
		if err := dec.Decode(&r); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
				return nil
			}
			return fmt.Errorf("what is to be done: %w", err)
		}
		if err := enc.Encode(answerOf(s.do(r))); err != nil {
			return nil // nobody is there to hear it
		}
	}
}

// server is the volume of such a process.
type server struct {
	path   string
	memory []byte
	file   storagehb.File // nil while it is not open
}

func (s *server) do(r request) (int, error) {
	if r.Op == opOpen {
		if s.file != nil {
			return 0, fmt.Errorf("open %s: it is open", s.path)
		}
		d, err := storagehb.Open(s.path)
		if err == nil {
			s.file = d
		}
		return 0, err
	}
	if s.file == nil {
		return 0, fmt.Errorf("%s %s: it is not open", r.Op, s.path)
	}
	if r.Length < 0 || r.Length > len(s.memory) {
		return 0, fmt.Errorf("%s %d bytes of %s: from 0 to %d can be moved at once", r.Op, r.Length, s.path, len(s.memory))
	}
	switch b := s.memory[:r.Length]; r.Op {
	case opRead:
		return s.file.ReadAt(b, r.Offset)
	case opWrite:
		return s.file.WriteAt(b, r.Offset)
	case opClose:
		f := s.file
		s.file = nil
		return 0, f.Close()
	}
	return 0, fmt.Errorf("%q is nothing that can be done to %s", r.Op, s.path)
}
