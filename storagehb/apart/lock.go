package apart

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/holdfast-ha/holdfast/storagehb"
)

// lock is what a process holds for as long as it has a volume open that it may write
// to. The kernel lets go of it with the process, which is not before the last of its
// threads has come back from the storage.
type lock struct{ file *os.File }

// hold takes the lock at path, a file of this host that it makes where there is none.
// It does not wait: where another process has the lock, the error is
// storagehb.ErrHeld and names it.
func hold(path string) (*lock, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("hold the lock of the volume: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("hold the lock of the volume: %w", err)
	}
	l := &lock{f}
	_, err = ignoringEINTR(func() (int, error) { return 0, unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) })
	switch {
	case err == nil:
		l.sign()
		return l, nil
	case errors.Is(err, unix.EWOULDBLOCK):
		err = fmt.Errorf("%s %w", l.holder(), storagehb.ErrHeld)
	default:
		err = fmt.Errorf("hold the lock of the volume: %w", &os.PathError{Op: "flock", Path: path, Err: err})
	}
	l.release()
	return nil, err
}

// sign leaves word of who has the lock, for people alone: where that cannot be written
// the lock is as good.
func (l *lock) sign() {
	text := strconv.Itoa(os.Getpid()) + "\n"
	if err := l.file.Truncate(0); err == nil {
		_, _ = l.file.WriteAt([]byte(text), 0)
	}
}

// holder is who has the lock, as far as its file says.
func (l *lock) holder() string {
	b := make([]byte, 20)
	n, _ := l.file.ReadAt(b, 0)
	if pid, err := strconv.Atoi(strings.TrimSpace(string(b[:n]))); err == nil && pid > 0 {
		return fmt.Sprintf("process %d of this host", pid)
	}
	return "another process of this host"
}

func (l *lock) release() {
	if l != nil {
		_ = l.file.Close() // which lets go of it: no other process has this file open by this description
	}
}
