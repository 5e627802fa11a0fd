package sim

import (
	"fmt"
	"sync"

	"github.com/holdfast-ha/holdfast/storagehb"
	"github.com/holdfast-ha/holdfast/storagehb/format"
)

// locks are those by which one process of a machine at a time uses a heartbeat volume
// (storagehb/apart): they fall with the process, which is not before its I/O has ended.
type locks struct {
	mu   sync.Mutex
	used map[format.UUID]*user
}

// user is the process that does the I/O of one volume for one life of an agent.
type user struct {
	of     *locks // whose lock guards what follows
	life   *life
	busy   int
	closed bool
}

// take lets a life use a volume, or says that another still does.
func (l *locks) take(id format.UUID, by *life) (*user, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if u := l.used[id]; u != nil && !u.closed && (u.busy > 0 || !u.life.ended()) {
		return nil, fmt.Errorf("another process of this host %w", storagehb.ErrHeld)
	}
	if l.used == nil {
		l.used = map[format.UUID]*user{}
	}
	l.used[id] = &user{of: l, life: by}
	return l.used[id], nil
}

// clear is the end of all processes, and of the memory that the locks were in.
func (l *locks) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.used = nil
}

// begin begins an I/O, which a process that is gone does not.
func (u *user) begin() error {
	u.of.mu.Lock()
	defer u.of.mu.Unlock()
	if u.life.ended() {
		return errKilled
	}
	u.busy++
	return nil
}

func (u *user) end() {
	u.of.mu.Lock()
	defer u.of.mu.Unlock()
	u.busy--
}

func (u *user) close() {
	u.of.mu.Lock()
	defer u.of.mu.Unlock()
	u.closed = true
}
