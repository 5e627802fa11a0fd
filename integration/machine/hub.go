package machine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// hub is the switch between the machines: each frame that one sends goes to all
// others, except over a cable that is cut. QEMU's stream sockets put the length,
// four bytes, before each frame.
type hub struct {
	wg sync.WaitGroup

	mu     sync.Mutex // guards what follows; never held while reading or writing
	ports  map[string]*port
	closed bool
}

type port struct {
	listener net.Listener
	cut      bool
	conn     net.Conn
	out      chan []byte
}

// queue is how many frames wait for one machine before they are lost, as in a switch.
const queue = 256

func newHub() *hub { return &hub{ports: map[string]*port{}} }

// plug listens for one machine's cable at a unix socket.
func (h *hub) plug(name, path string) error {
	l, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("plug in %s: %w", name, err)
	}
	p := &port{listener: l, out: make(chan []byte, queue)}
	h.mu.Lock()
	h.ports[name] = p
	h.mu.Unlock()
	h.wg.Go(func() {
		conn, err := l.Accept()
		if err != nil {
			return // closed before the machine was there
		}
		h.mu.Lock()
		p.conn = conn
		closed := h.closed
		h.mu.Unlock()
		if closed {
			_ = conn.Close()
			return
		}
		h.wg.Go(func() {
			for frame := range p.out {
				if _, err := conn.Write(frame); err != nil {
					return
				}
			}
		})
		h.pump(name, conn)
	})
	return nil
}

// pump takes frames from one machine until its cable is gone.
func (h *hub) pump(name string, conn net.Conn) {
	var size [4]byte
	for {
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			return
		}
		n := binary.BigEndian.Uint32(size[:])
		if n > 1<<17 {
			return // out of step; the machine's network is dead and its test will say so
		}
		frame := make([]byte, 4+n)
		copy(frame, size[:])
		if _, err := io.ReadFull(conn, frame[4:]); err != nil {
			return
		}
		h.mu.Lock()
		if !h.closed && !h.ports[name].cut {
			for other, p := range h.ports {
				if other == name || p.cut {
					continue
				}
				select {
				case p.out <- frame:
				default: // lost
				}
			}
		}
		h.mu.Unlock()
	}
}

// cut pulls one machine's cable, or puts it back.
func (h *hub) cut(name string, cut bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ports[name].cut = cut
}

// close ends the switch and waits until nothing of it runs.
func (h *hub) close() error {
	h.mu.Lock()
	h.closed = true
	var errs []error
	for _, p := range h.ports {
		errs = append(errs, p.listener.Close())
		if p.conn != nil {
			_ = p.conn.Close() // the machine may have closed it
		}
		close(p.out)
	}
	h.mu.Unlock()
	h.wg.Wait()
	return errors.Join(errs...)
}
