package fsm

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
)

// Machine holds the State of one member and applies the log to it. State values
// that View returned stay as they were.
type Machine struct {
	mu      sync.Mutex // guards what follows
	state   *State
	index   uint64
	changed chan struct{} // closed, and replaced, at each change
}

// New returns a Machine with an empty State.
func New() *Machine {
	return &Machine{state: &State{}, changed: make(chan struct{})}
}

// Result is what Apply answers.
type Result struct {
	Value   any
	Refusal *Refusal
}

// View returns the present State, to be read only, the index of the last entry
// in it, and a channel that is closed at the next change.
func (m *Machine) View() (s *State, index uint64, changed <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state, m.index, m.changed
}

// Apply carries out one committed command and returns a Result. It never fails
// and never panics on what a command holds: one that is bad or not lawful in the
// present state is refused, the same way on every member, and changes nothing. It
// panics where what it made of a lawful one breaks invariant I6: a member that went on
// from there could place what is owned.
func (m *Machine) Apply(index uint64, data []byte) any {
	m.mu.Lock()
	defer m.mu.Unlock()
	next, res := m.state.step(data)
	m.index = index
	if next != nil {
		if err := next.follows(m.state); err != nil {
			panic(fmt.Sprintf("invariant I6 is violated by entry %d, and this member applies nothing more: %v", index, err))
		}
		m.state = next
	}
	close(m.changed)
	m.changed = make(chan struct{})
	return res
}

func (s *State) step(data []byte) (*State, Result) {
	c, err := Decode(data)
	if err != nil {
		var r *Refusal
		if !errors.As(err, &r) {
			r = &Refusal{Code: CodeBadCommand, Message: err.Error()}
		}
		return nil, Result{Refusal: r}
	}
	if _, first := c.(*CreateCluster); !first && s.Cluster.ID == "" {
		return nil, Result{Refusal: &Refusal{Code: CodeConflict, Message: "no cluster has been created in this log"}}
	}
	d := s.draft()
	v, r := c.apply(d)
	if r != nil {
		return nil, Result{Refusal: r}
	}
	return d, Result{Value: v}
}

// snapshotMagic begins every snapshot; the format number follows as text.
const snapshotMagic = "holdfast-state"

// Snapshot returns a function that writes the present State.
func (m *Machine) Snapshot() (func(io.Writer) error, error) {
	s, index, _ := m.View()
	return func(w io.Writer) error { return writeSnapshot(w, s, index) }, nil
}

func snapshotHeader(format int, index uint64) string {
	return fmt.Sprintf("%s %d %d\n", snapshotMagic, format, index)
}

func writeSnapshot(w io.Writer, s *State, index uint64) error {
	if _, err := io.WriteString(w, snapshotHeader(Format, index)); err != nil {
		return fmt.Errorf("write snapshot header: %w", err)
	}
	if err := json.NewEncoder(w).Encode(s); err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	return nil
}

// Restore replaces the State by a snapshot's, which must be whole: one that is cut,
// damaged or of a newer format is refused. On any error the old State stays.
func (m *Machine) Restore(r io.Reader) error {
	s, index, err := readSnapshot(r)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state, m.index = s, index
	close(m.changed)
	m.changed = make(chan struct{})
	return nil
}

func readSnapshot(r io.Reader) (*State, uint64, error) {
	in := bufio.NewReader(r)
	line, err := in.ReadSlice('\n')
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
		return nil, 0, fmt.Errorf("read snapshot: %w", err)
	}
	var format int
	var index uint64
	_, err = fmt.Sscanf(string(line), snapshotMagic+" %d %d\n", &format, &index)
	if err != nil || snapshotHeader(format, index) != string(line) {
		return nil, 0, fmt.Errorf("not a snapshot of a Holdfast cluster (it begins %.20q)", line)
	}
	if format > Format {
		return nil, 0, fmt.Errorf("snapshot has format %d, this member knows up to %d: upgrade it before it joins members that wrote this",
			format, Format)
	}
	if format < 1 {
		return nil, 0, fmt.Errorf("snapshot has format %d, the first was 1: it is damaged", format)
	}
	if b, err := in.Peek(1); err == nil && b[0] != '{' {
		return nil, 0, fmt.Errorf("read snapshot: the state is not an object but begins %q", b)
	}
	dec := json.NewDecoder(in)
	dec.DisallowUnknownFields()
	s := &State{}
	if err := dec.Decode(s); err != nil {
		return nil, 0, fmt.Errorf("read snapshot: %w", err)
	}
	rest, err := io.ReadAll(io.LimitReader(io.MultiReader(dec.Buffered(), in), 2))
	if err != nil {
		return nil, 0, fmt.Errorf("read snapshot: %w", err)
	}
	if string(rest) != "\n" {
		return nil, 0, fmt.Errorf("read snapshot: a line feed and no more is wanted after its end, not %q", rest)
	}
	if err := s.sound(); err != nil {
		return nil, 0, fmt.Errorf("read snapshot: %w", err)
	}
	return s, index, nil
}

// sound says why this cannot be a state that Apply made, or nil. A member that
// started from such a state would differ from the others, or place what is owned.
func (s *State) sound() error {
	for name, h := range s.Hosts {
		if h == nil || h.Name != name {
			return fmt.Errorf("host %q is not the one that is kept under its name", name)
		}
	}
	for id, t := range s.Tokens {
		if t == nil || t.ID != id {
			return fmt.Errorf("token %q is not the one that is kept under its id", id)
		}
	}
	for uuid, vm := range s.VMs {
		if vm == nil || vm.UUID != uuid {
			return fmt.Errorf("VM %q is not the one that is kept under its UUID", uuid)
		}
		if err := s.soundOwner(vm); err != nil {
			return err
		}
	}
	return nil
}

// maxXML bounds a domain definition, bytes.
const maxXML = 1 << 20

// PackXML compresses a domain's definition for the state.
func PackXML(xml string) ([]byte, error) {
	if len(xml) > maxXML {
		return nil, invalid("domain definition of %d bytes is larger than %d", len(xml), maxXML)
	}
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, xml); err != nil {
		return nil, fmt.Errorf("pack domain definition: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("pack domain definition: %w", err)
	}
	return b.Bytes(), nil
}

// UnpackXML is the inverse of PackXML.
func UnpackXML(packed []byte) (string, error) {
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return "", fmt.Errorf("unpack domain definition: %w", err)
	}
	xml, err := io.ReadAll(io.LimitReader(r, maxXML+1))
	if err != nil {
		return "", fmt.Errorf("unpack domain definition: %w", err)
	}
	if len(xml) > maxXML {
		return "", fmt.Errorf("unpack domain definition: larger than %d bytes", maxXML)
	}
	return string(xml), nil
}
