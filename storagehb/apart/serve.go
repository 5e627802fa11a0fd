package apart

import (
	"encoding/json"
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/holdfast-ha/holdfast/storagehb"
)

// What a process is asked to do.
const (
	opOpen  = "open"
	opDo    = "do"
	opClose = "close"
)

// longest is the longest message, in bytes.
const longest = 64 << 10

type request struct {
	Op  string     `json:"op"`
	IOs []transfer `json:"ios,omitempty"`
	// Lock is the file to be locked for as long as the volume is open; empty: none.
	Lock string `json:"lock,omitempty"`
}

// transfer is one I/O.
type transfer struct {
	Write  bool  `json:"write,omitempty"`
	At     int   `json:"at,omitempty"` // in the shared memory
	Length int   `json:"length"`
	Offset int64 `json:"offset,omitempty"` // on the volume
}

type answer struct {
	// Done is how many I/Os ended well, N what the next one moved.
	Done  int    `json:"done,omitempty"`
	N     int    `json:"n,omitempty"`
	Error string `json:"error,omitempty"`
	// Errno is the kernel's number of the error, when it has one.
	Errno int `json:"errno,omitempty"`
	// Held says that it is storagehb.ErrHeld.
	Held bool `json:"held,omitempty"`
}

func answerOf(done, n int, err error) answer {
	a := answer{Done: done, N: n}
	if err != nil {
		a.Error, a.Held = err.Error(), errors.Is(err, storagehb.ErrHeld)
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
	case a.Held:
		return &known{a.Error, storagehb.ErrHeld}
	case a.Errno != 0:
		return &known{a.Error, syscall.Errno(a.Errno)}
	}
	return errors.New(a.Error)
}

// known is an error of the other process with what it is about, so that it can be told
// apart here as it can be there.
type known struct {
	text  string
	about error
}

func (e *known) Error() string { return e.text }
func (e *known) Unwrap() error { return e.about }

// Serve is the work of a process that an Opener started for the volume at path. It
// returns when the other side is gone, which it notices once no I/O is under way;
// the error says what is wrong with how it was started.
//
// It waits in plain system calls: with nothing else to do, a poller would only add a
// thread to wake.
func Serve(path string) error {
	memory, err := mapShared(memoryFD)
	if err != nil {
		return fmt.Errorf("this is started by the agent, and does nothing by hand: %w", err)
	}
	s := server{path: path, memory: memory}
	message := make([]byte, longest)
	for {
		n, err := ignoringEINTR(func() (int, error) { return unix.Read(socketFD, message) })
		switch {
		case err == nil && n == 0, errors.Is(err, unix.ECONNRESET):
			return nil
		case err != nil:
			return fmt.Errorf("what is to be done: %w", err)
		}
		var r request
		if err := json.Unmarshal(message[:n], &r); err != nil {
			return fmt.Errorf("what is to be done: %w", err)
		}
		text, err := json.Marshal(answerOf(s.do(r)))
		if err != nil {
			return fmt.Errorf("what came of it: %w", err)
		}
		// When nobody is there to hear it, the next reading says so.
		_, _ = ignoringEINTR(func() (int, error) { return unix.Write(socketFD, text) })
	}
}

func ignoringEINTR(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// server is the volume of such a process.
type server struct {
	path   string
	memory []byte
	file   storagehb.File // nil while it is not open
	lock   *lock          // held while it is open, if that was asked for
}

func (s *server) do(r request) (done, n int, err error) {
	switch {
	case r.Op == opOpen && s.file != nil:
		return 0, 0, fmt.Errorf("open %s: it is open", s.path)
	case r.Op == opOpen:
		return 0, 0, s.open(r.Lock)
	case s.file == nil:
		return 0, 0, fmt.Errorf("%s %s: it is not open", r.Op, s.path)
	case r.Op == opClose:
		err := s.file.Close()
		s.lock.release()
		s.file, s.lock = nil, nil
		return 0, 0, err
	case r.Op != opDo:
		return 0, 0, fmt.Errorf("%q is nothing that can be done to %s", r.Op, s.path)
	}
	for i, t := range r.IOs {
		if n, err := s.move(t); err != nil {
			return i, n, err
		}
	}
	return len(r.IOs), 0, nil
}

// open takes the lock before it touches the storage: whoever has it may have I/O under way there.
func (s *server) open(path string) (err error) {
	var l *lock
	if path != "" {
		if l, err = hold(path); err != nil {
			return err
		}
	}
	d, err := storagehb.Open(s.path)
	if err != nil {
		l.release()
		return err
	}
	s.file, s.lock = d, l
	return nil
}

func (s *server) move(t transfer) (int, error) {
	if t.At < 0 || t.Length < 0 || t.At > len(s.memory) || t.Length > len(s.memory)-t.At {
		return 0, fmt.Errorf("move %d bytes of %s by way of byte %d: the memory has %d", t.Length, s.path, t.At, len(s.memory))
	}
	b := s.memory[t.At : t.At+t.Length]
	if t.Write {
		return s.file.WriteAt(b, t.Offset)
	}
	return s.file.ReadAt(b, t.Offset)
}
