package machine

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// Event is what QEMU said about a machine, such as WATCHDOG or RESET.
type Event struct {
	Name string
	At   time.Time // QEMU's own time stamp, of this machine's wall clock
}

// monitor speaks QMP with one machine.
type monitor struct {
	conn net.Conn
	done chan struct{}

	mu      sync.Mutex // guards what follows
	events  []Event
	replies chan json.RawMessage
}

type message struct {
	Event     string `json:"event"`
	Timestamp struct{ Seconds, Microseconds int64 }
	Return    json.RawMessage `json:"return"`
	Error     json.RawMessage `json:"error"`
}

// dialMonitor connects to the socket and negotiates.
func dialMonitor(path string) (*monitor, error) {
	conn, err := dialSoon(path)
	if err != nil {
		return nil, err
	}
	m := &monitor{conn: conn, done: make(chan struct{}), replies: make(chan json.RawMessage, 1)}
	go func() {
		defer close(m.done)
		for dec := json.NewDecoder(conn); ; {
			var msg message
			if dec.Decode(&msg) != nil {
				return
			}
			switch {
			case msg.Event != "":
				m.mu.Lock()
				m.events = append(m.events, Event{msg.Event, time.Unix(msg.Timestamp.Seconds, msg.Timestamp.Microseconds*1000)})
				m.mu.Unlock()
			case msg.Error != nil:
				m.replies <- msg.Error
			case msg.Return != nil:
				m.replies <- nil
			}
		}
	}()
	return m, m.do("qmp_capabilities", nil)
}

// dialSoon connects to a socket that is about to be there.
func dialSoon(path string) (net.Conn, error) {
	for until := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("unix", path)
		if err == nil {
			return conn, nil
		}
		if time.Now().After(until) {
			return nil, fmt.Errorf("connect to the machine: %w", err)
		}
	}
}

// do runs one command; one at a time.
func (m *monitor) do(command string, args any) error {
	b, err := json.Marshal(map[string]any{"execute": command, "arguments": args})
	if args == nil {
		b, err = json.Marshal(map[string]any{"execute": command})
	}
	if err != nil {
		return fmt.Errorf("encode %s: %w", command, err)
	}
	if _, err := m.conn.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("send %s: %w", command, err)
	}
	select {
	case r := <-m.replies:
		if r != nil {
			return fmt.Errorf("%s: %s", command, r)
		}
		return nil
	case <-m.done:
		return errors.New(command + ": the machine has ended")
	case <-time.After(10 * time.Second):
		return errors.New(command + ": no answer within 10 s")
	}
}

// since lists the events of that name from a moment on.
func (m *monitor) since(name string, from time.Time) []time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	var at []time.Time
	for _, e := range m.events {
		if e.Name == name && !e.At.Before(from) {
			at = append(at, e.At)
		}
	}
	return at
}
